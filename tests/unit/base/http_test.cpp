#include "ltx/base/http.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <thread>

#include <gtest/gtest.h>

#include "ltx/base/fs.h"
#include "ltx/base/sync.h"
#include "ltx/base/time.h"
#include "tests/support/temp_dir.h"

namespace runnel {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kPatience(10000);

class HttpTest : public ::testing::Test {
 protected:
  void Serve(HttpRoutes routes, HttpOptions options = {.listen = "127.0.0.1:0"}) {
    Result<std::unique_ptr<HttpServer>> server = HttpServer::Start(std::move(options), std::move(routes));
    ASSERT_TRUE(server.ok()) << server.error().message();
    server_ = std::move(*server);
  }
  HttpResponse Get(const std::string& target) {
    Result<HttpResponse> response = HttpGet(server_->address(), target, kPatience);
    return response.ok() ? *response : HttpResponse{.status = 0, .body = response.error().message()};
  }
  static HttpRoutes::Page Echo(const std::string& path) {
    return {.path = path, .answer = [](const HttpRequest& request) {
              return HttpResponse{.content_type = "text/plain",
                                  .body = request.path + " " + request.Query("db", "none")};
            }};
  }
  // A page that answers when the server stops.
  HttpRoutes::Page Waiter() {
    return {.path = "/wait",
            .answer =
                [this](const HttpRequest& request) {
                  waiting_.Set(waiting_.Get() + 1);
                  Status slept = SleepUntil(DeadlineIn(kPatience), request.stop);
                  return HttpResponse{.body = slept.ok() ? "slept" : "stopped"};
                },
            .waits = true};
  }

  Latest<int> waiting_{0};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpTest, AnswersAPageWithItsQuery) {
  Serve({.pages = {Echo("/a"), Echo("/b")}});
  EXPECT_NE(server_->port(), 0);
  HttpResponse response = Get("/b?db=my%20app&x=1");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "/b my app");
  EXPECT_EQ(response.content_type, "text/plain");
  EXPECT_EQ(Get("/a").body, "/a none");
  EXPECT_EQ(Get("/c").status, 404);
}

TEST_F(HttpTest, KeepsTheStatusOfItsHandlers) {
  Serve({.pages = {{.path = "/readyz", .answer = [](const HttpRequest&) {
                      return HttpResponse{.status = 503, .content_type = "text/plain", .body = "behind\n"};
                    }}}});
  HttpResponse response = Get("/readyz");
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.body, "behind\n");
}

TEST_F(HttpTest, TwoServersDoNotShareAPort) {
  Serve({.pages = {Echo("/a")}});
  Result<std::unique_ptr<HttpServer>> second = HttpServer::Start({.listen = server_->address()}, {});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.code(), Errc::kIo);
  EXPECT_NE(second.error().message().find(server_->address()), std::string::npos);
}

TEST_F(HttpTest, ServesOnAUnixSocketAndTakesOverAStaleOne) {
  testing::TempDir dir;
  std::string path = (dir / "node.sock").string();
  {
    // A socket file whose owner is gone.
    Fd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  Serve({.pages = {Echo("/a")}}, {.listen = "unix:" + path});
  EXPECT_EQ(Get("/a?db=x").body, "/a x");
  EXPECT_FALSE(HttpServer::Start({.listen = "unix:" + path}, {}).ok());  // in use
  server_.reset();
  EXPECT_FALSE(*FileExists(path));
  ASSERT_TRUE(WriteFileAtomically(path, AsBytes("data")).ok());
  EXPECT_FALSE(HttpServer::Start({.listen = "unix:" + path}, {}).ok());  // not a socket: kept
  EXPECT_EQ(*ReadFile(path, 100), "data");
}

TEST_F(HttpTest, RefusesAddressesItCannotUnderstand) {
  for (const char* listen : {"", "9091", ":9091", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:x", "unix:"}) {
    Result<std::unique_ptr<HttpServer>> server = HttpServer::Start({.listen = listen}, {});
    EXPECT_TRUE(!server.ok() && server.code() == Errc::kInvalid) << listen;
  }
}

TEST_F(HttpTest, WaitingRequestsEndWithTheServer) {
  Serve({.pages = {Waiter()}});
  std::string address = server_->address();
  Result<HttpResponse> answer = Error(Errc::kTimeout, "not asked");
  std::jthread client([&] { answer = HttpGet(address, "/wait", kPatience); });
  ASSERT_TRUE(waiting_.WaitFor([](int n) { return n == 1; }, std::stop_token(), DeadlineIn(kPatience)).ok());
  SteadyTime before = std::chrono::steady_clock::now();
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - before, seconds(5));
  client.join();
  ASSERT_TRUE(answer.ok()) << answer.error().message();
  EXPECT_EQ(answer->body, "stopped");
}

TEST_F(HttpTest, WaitersCannotTakeTheLastThreads) {
  Serve({.pages = {Waiter(), Echo("/metrics")}}, {.listen = "127.0.0.1:0", .threads_max = 4});
  std::string address = server_->address();
  std::vector<std::jthread> clients;
  for (int i = 0; i < 2; ++i) {
    clients.emplace_back([address] { (void)HttpGet(address, "/wait", kPatience); });
  }
  ASSERT_TRUE(waiting_.WaitFor([](int n) { return n == 2; }, std::stop_token(), DeadlineIn(kPatience)).ok());
  EXPECT_EQ(Get("/wait").status, 503);
  EXPECT_EQ(Get("/metrics").status, 200);
  server_.reset();
}

TEST_F(HttpTest, StreamsEventsUntilTheHandlerEnds) {
  HttpRoutes routes;
  routes.streams.push_back({.path = "/events", .run = [](const HttpRequest& request, const SendEvent& send) {
                              EXPECT_TRUE(send("position", request.Query("db")));
                              EXPECT_TRUE(send("", ""));
                              EXPECT_TRUE(send("", "two\nlines"));
                            }});
  Serve(std::move(routes));
  HttpResponse response = Get("/events?db=app");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.content_type, "text/event-stream");
  EXPECT_EQ(response.body, "event: position\ndata: app\n\n: keep-alive\n\ndata: two\ndata: lines\n\n");
}

TEST_F(HttpTest, AStreamLearnsThatTheServerStops) {
  Latest<bool> running(false);
  HttpRoutes routes;
  routes.streams.push_back({.path = "/events", .run = [&running](const HttpRequest& request, const SendEvent& send) {
                              send("first", "1");
                              running.Set(true);
                              (void)SleepUntil(DeadlineIn(kPatience), request.stop);
                              EXPECT_FALSE(send("late", "2"));
                            }});
  Serve(std::move(routes));
  std::string address = server_->address();
  std::jthread client([address] { (void)HttpGet(address, "/events", kPatience); });
  ASSERT_TRUE(running.WaitFor([](bool now) { return now; }, std::stop_token(), DeadlineIn(kPatience)).ok());
  server_.reset();
}

TEST_F(HttpTest, NobodyListeningIsUnavailable) {
  Serve({});
  std::string address = server_->address();
  server_.reset();
  EXPECT_EQ(HttpGet(address, "/", kPatience).code(), Errc::kUnavailable);
}

}  // namespace
}  // namespace runnel
