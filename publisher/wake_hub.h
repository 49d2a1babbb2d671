// Wakes captures when their files are written. One inotify instance and one thread for all databases of the process,
// because the default limit is 128 instances a user; each database has a client with an eventfd to sleep on.
//
// Watches are one-shot: a watch that stays armed would cost the application an event a write. A client arms only before
// it sleeps. Without inotify (no instance left, not this kernel) everything still works by polling: available() says
// so.
//
// LIFETIME: the hub outlives its clients. THREAD: a client is armed and slept on by one thread; Notify comes from any.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "ltx/base/sync.h"

namespace runnel::publisher {

class WakeHub {
 public:
  // What woke a client, as bits.
  static constexpr uint32_t kWal = 1;  // the WAL was written; its watch is used up
  static constexpr uint32_t kDb = 2;   // the database file was written; its watch is used up
  static constexpr uint32_t kOverflow =
      4;                                // events were lost: anything may have happened, all watches must be armed again
  static constexpr uint32_t kWake = 8;  // somebody called Notify(kWake)
  static constexpr uint32_t kWorker = 16;  // the checkpoint worker has finished

  class Client;

  WakeHub();
  ~WakeHub();
  WakeHub(const WakeHub&) = delete;
  WakeHub& operator=(const WakeHub&) = delete;

  bool available() const { return inotify_ >= 0; }
  std::unique_ptr<Client> Attach(const std::string& db_path);

 private:
  struct Target {
    Client* client;
    uint32_t bit;
  };
  bool Arm(const std::string& path, Client* client, uint32_t bit);
  void Detach(Client* client);
  void Run();
  void Dispatch(int watch, uint32_t mask);

  int inotify_ = -1;
  int stop_ = -1;
  Mutex mutex_;
  std::unordered_map<int, std::vector<Target>> targets_ GUARDED_BY(mutex_);
  std::vector<Client*> clients_ GUARDED_BY(mutex_);
  std::jthread thread_;
};

class WakeHub::Client {
 public:
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Arms the one-shot watch if it is not armed. False: no watch, the caller polls.
  bool ArmWal() { return Arm(wal_path_, kWal); }
  bool ArmDb() { return Arm(db_path_, kDb); }

  // Any thread.
  void Notify(uint32_t bits);
  // The bits since the last call.
  uint32_t Take();
  // Sleeps until a bit is set or the time is over; takes no bits.
  void SleepFor(std::chrono::nanoseconds time);

 private:
  friend class WakeHub;
  Client(WakeHub& hub, std::string db_path);
  bool Arm(const std::string& path, uint32_t bit);

  WakeHub& hub_;
  const std::string db_path_;
  const std::string wal_path_;
  int event_ = -1;
  uint32_t armed_ = 0;
  std::atomic<uint32_t> bits_{0};
  std::atomic<bool> sleeping_{false};
};

}  // namespace runnel::publisher
