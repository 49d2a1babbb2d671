// The published examples: "Signature Calculations for the Authorization Header" in the S3 API reference (four
// requests), and AWS's aws4_testsuite (requests to the imaginary service "service").
#include "subscriber/archive/store/s3_sign.h"

#include <string>

#include <gtest/gtest.h>

namespace runnel::store {
namespace {

struct Vector {
  const char* name;
  SignableRequest request;
  SigningScope scope;
  S3Credentials credentials;
  const char* signature;
};

const S3Credentials kManual{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
const S3Credentials kSuite{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""};
const SigningScope kManualScope{.region = "us-east-1", .service = "s3", .date_time = "20130524T000000Z"};
const SigningScope kSuiteScope{.region = "us-east-1", .service = "service", .date_time = "20150830T123600Z"};

Vector Manual(const char* name, const char* method, const char* path, NameValues query, NameValues headers,
              std::string_view body, const char* signature) {
  const std::string hash = Sha256Hex(AsBytes(body));
  headers.emplace_back("Host", "examplebucket.s3.amazonaws.com");
  headers.emplace_back("x-amz-content-sha256", hash);
  headers.emplace_back("x-amz-date", "20130524T000000Z");
  return {name, {method, path, std::move(query), std::move(headers), hash}, kManualScope, kManual, signature};
}

Vector Suite(const char* name, const char* method, const char* path, NameValues query, NameValues headers,
             const char* signature) {
  headers.emplace_back("Host", "example.amazonaws.com");
  headers.emplace_back("X-Amz-Date", "20150830T123600Z");
  return {name, {method, path, std::move(query), std::move(headers), Sha256Hex({})}, kSuiteScope, kSuite, signature};
}

std::vector<Vector> Vectors() {
  return {
      Manual("manual GET object", "GET", "/test.txt", {}, {{"Range", "bytes=0-9"}}, "",
             "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
      Manual("manual PUT object", "PUT", "/test$file.text", {},
             {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
             "Welcome to Amazon S3.", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
      Manual("manual GET lifecycle", "GET", "/", {{"lifecycle", ""}}, {}, "",
             "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
      Manual("manual list objects", "GET", "/", {{"max-keys", "2"}, {"prefix", "J"}}, {}, "",
             "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
      Suite("get-vanilla", "GET", "/", {}, {}, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
      Suite("get-vanilla-query-order-key-case", "GET", "/", {{"Param2", "value2"}, {"Param1", "value1"}}, {},
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
      Suite("get-vanilla-query-unreserved", "GET", "/",
            {{"-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
              "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"}},
            {}, "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
      Suite("get-unreserved", "GET", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", {}, {},
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
      Suite("get-utf8", "GET", "/\xe1\x88\xb4", {}, {},
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
      Suite("get-header-value-trim", "GET", "/", {}, {{"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\""}},
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
      Suite("post-vanilla", "POST", "/", {}, {}, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
      Suite("post-header-key-sort", "POST", "/", {}, {{"My-Header1", "value1"}},
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"),
      Suite("post-header-value-case", "POST", "/", {}, {{"My-Header1", "VALUE1"}},
            "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"),
  };
}

TEST(S3Sign, MatchesThePublishedExamples) {
  for (const Vector& vector : Vectors()) {
    const std::string authorization = Authorization(vector.request, vector.scope, vector.credentials);
    EXPECT_TRUE(authorization.ends_with(std::string("Signature=") + vector.signature))
        << vector.name << "\n"
        << authorization << "\n"
        << CanonicalRequest(vector.request);
  }
}

TEST(S3Sign, WritesTheWholeHeaderOfTheManualsExample) {
  const Vector get = Vectors()[0];
  EXPECT_EQ(Authorization(get.request, get.scope, get.credentials),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(S3Sign, BuildsTheManualsCanonicalRequestAndStringToSign) {
  const Vector list = Vectors()[3];
  EXPECT_EQ(CanonicalRequest(list.request),
            "GET\n/\nmax-keys=2&prefix=J\nhost:examplebucket.s3.amazonaws.com\n"
            "x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\nx-amz-date:"
            "20130524T000000Z\n\n"
            "host;x-amz-content-sha256;x-amz-date\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(StringToSign(list.request, list.scope),
            "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"
            "df57d21db20da04d7fa30298dd4488ba3a2b47ca3a489c74750e0f1e7df1b9b7");
}

TEST(S3Sign, ChangesWithEveryPartOfTheRequest) {
  const Vector base = Vectors()[1];
  const std::string signature = Authorization(base.request, base.scope, base.credentials);
  Vector changed = base;
  changed.request.path += "x";
  EXPECT_NE(Authorization(changed.request, base.scope, base.credentials), signature);
  changed = base;
  changed.request.headers[0].second = "Fri, 24 May 2013 00:00:01 GMT";
  EXPECT_NE(Authorization(changed.request, base.scope, base.credentials), signature);
  changed = base;
  changed.request.payload_sha256[0] = '0';
  EXPECT_NE(Authorization(changed.request, base.scope, base.credentials), signature);
  changed = base;
  changed.credentials.secret_access_key += "x";
  EXPECT_NE(Authorization(base.request, base.scope, changed.credentials), signature);
}

TEST(S3Sign, EncodesEveryByteThatIsNotUnreserved) {
  EXPECT_EQ(UriEncode("a b+c=d/e%f~g_h-i.j", true), "a%20b%2Bc%3Dd/e%25f~g_h-i.j");
  EXPECT_EQ(UriEncode("a/b", false), "a%2Fb");
  EXPECT_EQ(UriEncode("\xc3\xa4\xff", true), "%C3%A4%FF");
}

TEST(S3Sign, SortsQueriesByTheirEncodedForm) {
  EXPECT_EQ(CanonicalQuery({{"uploadId", "x~y"}, {"partNumber", "1"}}), "partNumber=1&uploadId=x~y");
  EXPECT_EQ(CanonicalQuery({{"prefix", "ltx/0/ +"}, {"list-type", "2"}}), "list-type=2&prefix=ltx%2F0%2F%20%2B");
  EXPECT_EQ(CanonicalQuery({{"uploads", ""}}), "uploads=");
  EXPECT_EQ(CanonicalQuery({}), "");
}

TEST(S3Sign, FormatsTheDateAsAmazonWantsIt) {
  EXPECT_EQ(FormatAmzDate(WallTime(std::chrono::microseconds(1369353600000000 + 999999))), "20130524T000000Z");
}

}  // namespace
}  // namespace runnel::store
