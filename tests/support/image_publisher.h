// The smallest thing that uses capture as a publisher does: it applies each commit to an image file. "Published" is: in
// the image, with the position in a state file behind it, after `ack_delay`, the time a bus would take. Both files
// survive kill -9.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "ltx/base/result.h"
#include "publisher/capture.h"

namespace runnel::testing {

class ImagePublisher {
 public:
  struct Options {
    std::string directory;  // of image and state
    std::chrono::microseconds ack_delay{0};
    publisher::CaptureOptions capture;
  };
  struct State {
    publisher::WalPosition position;
    uint32_t page_count = 0;
    uint64_t commits = 0;
    uint64_t images = 0;   // times the image was compared as a whole
    uint64_t resumes = 0;  // starts that went on where the last one ended
  };

  static Result<std::unique_ptr<ImagePublisher>> Open(const Options& options, publisher::WakeHub& hub);
  ~ImagePublisher();

  // One turn: Step, read all that is there, acknowledge what is due.
  Status Turn();
  void Wait(publisher::Clock::time_point latest);
  bool quiet() const { return in_flight_.empty() && at_end_; }  // everything seen is published

  publisher::Capture& capture() { return *capture_; }
  const State& state() const { return state_; }
  static std::string ImagePath(const std::string& directory) { return directory + "/image"; }

 private:
  struct Message {
    publisher::CommitFrames commit;
    std::vector<std::byte> pages;
    publisher::Clock::time_point due;
  };
  explicit ImagePublisher(Options options) : options_(std::move(options)) {}
  Status Start();
  Status CompareImage();
  Status ReadAll(publisher::Clock::time_point deadline);
  Status AckDue(publisher::Clock::time_point now);
  Status Apply(const Message& message);
  Status SaveState();
  bool Drain(publisher::Clock::time_point deadline);

  Options options_;
  std::unique_ptr<publisher::Capture> capture_;
  int image_ = -1;
  int state_file_ = -1;
  State state_;
  std::deque<Message> in_flight_;
  size_t in_flight_bytes_ = 0;
  bool at_end_ = false;
};

// Compares the database, fully checkpointed by a stock connection, with the image. "" when they are equal and sound.
std::string CompareWithImage(const std::string& db_path, const std::string& directory);

}  // namespace runnel::testing
