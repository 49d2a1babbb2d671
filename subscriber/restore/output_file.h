// The file a restore makes: under a name of its own until it is proven, then renamed into place.
//
// I1  At `path` is at every moment either what was there before or the whole new image.
// I2  Without Finish nothing is left behind, unless the process is killed: then a file ".NAME.restore-PID".
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "ltx/base/fs.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "subscriber/restore/image_sink.h"

namespace runnel::restore {

// Whether a restore may make this file. Errors: kRefused (a file is there and `replace` is not set; files of SQLite,
// -wal, -shm or -journal, are beside it, which belong to another database and would be applied to the new one; a
// subscriber's replica); kInvalid (a directory; no such directory).
Status CheckOutput(const std::string& path, bool replace);

class OutputFile : public ImageSink {
 public:
  // Errors: kIo, kExhausted.
  static Result<std::unique_ptr<OutputFile>> Create(const std::string& path);
  ~OutputFile() override;

  // Takes the room for the image at once, so that a disk that is too small is found before the work.
  Status Start(PageSize page_size, uint32_t page_count) override;
  Status Write(Pgno first, Bytes pages) override;

  const std::string& temporary() const { return temporary_; }

  // The image ends here: for what is changed behind the first one. One thread.
  Status SetPageCount(uint32_t page_count);

  // DURABLE: the image under its name. Errors: kRefused when a file appeared there meanwhile and `replace` is not set.
  Status Finish(bool replace);

 private:
  OutputFile(std::string path, std::string temporary, File file);
  void WriteBack(std::stop_token stop);

  const std::string path_;
  const std::string temporary_;
  File file_;
  PageSize page_size_;
  bool finished_ = false;
  std::atomic<uint64_t> written_{0};

  Mutex mutex_;
  CondVar wake_;
  std::jthread write_back_;  // last: it uses the file
};

}  // namespace runnel::restore
