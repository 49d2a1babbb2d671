#include "subscriber/feed/cell_merge.h"

#include <utility>

namespace runnel::feed {

using sqlite::CellAt;

Result<bool> RowidMerge::Next(CellChange& change) {
  if (!started_) {
    started_ = true;
    if (before_ != nullptr) {
      TRY_ASSIGN(has_before_, before_->Next());
    }
    TRY_ASSIGN(has_after_, after_.Next());
  }
  if (!has_before_ && !has_after_) return false;
  change = CellChange();
  int64_t before_id = has_before_ ? before_->at().cell.rowid : 0;
  int64_t after_id = has_after_ ? after_.at().cell.rowid : 0;
  bool take_before = has_before_ && (!has_after_ || before_id <= after_id);
  bool take_after = has_after_ && (!has_before_ || after_id <= before_id);
  if (take_before) {
    change.before = before_->at();
    TRY_ASSIGN(has_before_, before_->Next());
  }
  if (take_after) {
    change.after = after_.at();
    TRY_ASSIGN(has_after_, after_.Next());
  }
  return true;
}

Result<bool> KeyMerge::Next(CellChange& change) {
  while (ready_.empty()) {
    if (!runs_[0].live && !runs_[1].live) {
      for (int side : {0, 1}) Flush(side, runs_[side].first + runs_[side].waiting.size());
      if (ready_.empty()) return false;
      break;
    }
    TRY(Advance());
  }
  change = std::move(ready_.front());
  ready_.pop_front();
  return true;
}

// One cell of each side.
Status KeyMerge::Advance() {
  bool moved[2] = {false, false};
  for (int side : {0, 1}) {
    if (!runs_[side].live) continue;
    if (cursor(side) != nullptr) {
      TRY_ASSIGN(moved[side], cursor(side)->Next());
    }
    runs_[side].live = moved[side];
  }
  if (moved[0] && moved[1] && runs_[0].waiting.empty() && runs_[1].waiting.empty()) {
    CellChange pair{options_.before->at(), options_.after.at()};
    if (options_.equal_bytes(pair)) return Ok();  // in step: neither key nor hash needed
  }
  for (int side : {0, 1}) {
    if (moved[side]) TRY(Take(side, cursor(side)->at()));
  }
  return Ok();
}

Status KeyMerge::Take(int side, const CellAt& at) {
  Run& mine = runs_[side];
  Run& other = runs_[1 - side];
  TRY_ASSIGN(std::string key, KeyOf(side, at));
  auto partner = other.numbers.find(key);
  if (partner != other.numbers.end()) {
    uint64_t number = partner->second;
    Flush(side, mine.first + mine.waiting.size());
    Flush(1 - side, number);
    const CellAt& there = other.waiting.front().at;
    ready_.push_back(side == 0 ? CellChange{at, there} : CellChange{there, at});
    other.numbers.erase(other.waiting.front().key);
    other.waiting.pop_front();
    ++other.first;
    return Ok();
  }
  if (!other.live && other.waiting.empty()) {
    Emit(side, at);  // nothing can match any more
    return Ok();
  }
  uint64_t number = mine.first + mine.waiting.size();
  if (!mine.numbers.emplace(key, number).second) return sqlite::PageError(at.pgno, "a key twice in one table");
  mine.waiting.push_back({at, std::move(key)});
  return Ok();
}

Result<std::string> KeyMerge::KeyOf(int side, const CellAt& at) {
  const sqlite::Image& image = side == 0 ? options_.before_image : options_.after_image;
  TRY_ASSIGN(Bytes payload, sqlite::ReadPayload(image, at.pgno, at.cell, buffer_));
  Status decoded = sqlite::DecodeRecord(payload, fields_);
  if (!decoded.ok()) return sqlite::PageError(at.pgno, decoded.error().message());
  if (fields_.size() < options_.key_fields) return sqlite::PageError(at.pgno, "a record without all its key fields");
  std::string key;
  for (uint32_t i = 0; i < options_.key_fields; ++i) {
    const sqlite::Value& value = fields_[i];
    key += static_cast<char>(value.type);
    if (value.type == sqlite::ValueType::kInteger) key.append(reinterpret_cast<const char*>(&value.integer), 8);
    if (value.type == sqlite::ValueType::kReal) key.append(reinterpret_cast<const char*>(&value.real), 8);
    if (value.type < sqlite::ValueType::kText) continue;
    AppendBe32(key, static_cast<uint32_t>(value.bytes.size()));
    key.append(AsText(value.bytes));
  }
  return key;
}

void KeyMerge::Flush(int side, uint64_t up_to) {
  Run& run = runs_[side];
  for (; run.first < up_to; ++run.first) {
    Emit(side, run.waiting.front().at);
    run.numbers.erase(run.waiting.front().key);
    run.waiting.pop_front();
  }
}

void KeyMerge::Emit(int side, const CellAt& at) {
  ready_.push_back(side == 0 ? CellChange{at, std::nullopt} : CellChange{std::nullopt, at});
}

}  // namespace runnel::feed
