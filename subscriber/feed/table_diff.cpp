#include "subscriber/feed/table_diff.h"

#include <algorithm>

namespace runnel::feed {

using sqlite::Value;

namespace {

TreePair TreesOf(const TablePair& pair) {
  TreePair trees;
  if (pair.before != nullptr) trees.before_root = pair.before->root;
  trees.after_root = pair.after->root;
  trees.without_rowid = pair.after->without_rowid;
  trees.key_fields = pair.after->key_fields;
  trees.skip_unchanged = pair.skip_unchanged;
  return trees;
}

bool SameValues(const std::vector<Value>& a, const std::vector<Value>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), sqlite::Same);
}

}  // namespace

TableDiff::TableDiff(const CommitView& view, const TablePair& pair, TableScratch& scratch,
                     const TableDiffLimits& limits, uint64_t hash_seed)
    : view_(view),
      pair_(pair),
      decoder_(scratch.decoder),
      limits_(limits),
      hasher_(hash_seed),
      trees_(TreesOf(pair)),
      buffer_(scratch.buffer),
      before_(scratch.before),
      after_(scratch.after),
      moved_(scratch.moved) {
  buffer_.clear();
}

Result<bool> TableDiff::Next(RowChange& change) {
  if (phase_ == Phase::kStart) {
    netting_ = pair_.before != nullptr && pair_.after->hidden_rowid();
    phase_ = Phase::kDeletes;
    if (netting_) TRY(Net());
    // A new table has no rows to delete.
    if (phase_ != Phase::kDone && (pair_.before == nullptr || view_.shortcuts.no_order)) phase_ = Phase::kRest;
    TRY(Rewind());
  }
  while (phase_ != Phase::kDone) {
    TRY_ASSIGN(bool more, NextPair());
    if (!more) {
      phase_ = phase_ == Phase::kDeletes ? Phase::kRest : Phase::kDone;
      TRY(Rewind());
      continue;
    }
    TRY_ASSIGN(Effect effect, DecodePair());
    TRY_ASSIGN(bool reported, Emit(effect, change));
    if (reported) return true;
  }
  return false;
}

Status TableDiff::Rewind() {
  buffer_next_ = 0;
  update_next_ = 0;
  source_.reset();  // before the next one: both would use the same scratch
  if (!buffer_complete_ && phase_ != Phase::kDone) source_ = std::make_unique<TreeDiff>(view_, trees_);
  return Ok();
}

Result<bool> TableDiff::NextPair() {
  if (source_ == nullptr) {
    if (buffer_next_ == buffer_.size()) return false;
    cells_ = buffer_[buffer_next_++];
    return true;
  }
  TRY_ASSIGN(bool more, source_->Next(cells_));
  if (buffer_overflown_) return more;
  if (!more) {
    buffer_complete_ = true;
    return false;
  }
  if (buffer_.size() < limits_.buffered_changes_max) {
    buffer_.push_back(cells_);
  } else {
    buffer_overflown_ = true;
    buffer_.clear();
  }
  return true;
}

Result<TableDiff::Effect> TableDiff::DecodePair() {
  if (cells_.before) {
    TRY(decoder_.Decode(*pair_.before, view_.before, *cells_.before, before_));
    ToNewColumns(before_);
  }
  if (cells_.after) TRY(decoder_.Decode(*pair_.after, view_.after, *cells_.after, after_));
  if (!cells_.before) return Effect::kInsert;
  if (!cells_.after) return Effect::kDelete;
  if (SameValues(before_.values, after_.values)) return Effect::kNone;
  if (!pair_.after->without_rowid) {
    for (int column : pair_.after->primary_key) {
      size_t i = static_cast<size_t>(column);
      if (!Same(before_.values[i], after_.values[i])) return Effect::kReplace;
    }
  }
  return Effect::kUpdate;
}

void TableDiff::ToNewColumns(Row& row) {
  if (pair_.column_map.empty()) return;
  moved_.clear();
  for (size_t i = 0; i < pair_.column_map.size(); ++i) {
    int old = pair_.column_map[i];
    moved_.push_back(old >= 0 ? row.values[static_cast<size_t>(old)] : pair_.after->columns[i].default_value.View());
  }
  row.values.swap(moved_);
}

Result<bool> TableDiff::Emit(Effect effect, RowChange& change) {
  if (effect == Effect::kNone) return false;
  bool claimed = false;
  if (netting_ && effect == Effect::kUpdate) claimed = claimed_[update_next_++];
  if (view_.shortcuts.no_order && effect == Effect::kDelete) return EmitDelete(effect, claimed, change);
  if (view_.shortcuts.no_order && effect != Effect::kInsert) {
    change = Fill(RowChange::Op::kUpdate);
    return true;
  }
  return phase_ == Phase::kDeletes ? EmitDelete(effect, claimed, change) : EmitRest(effect, claimed, change);
}

RowChange TableDiff::Fill(RowChange::Op op) const {
  RowChange change;
  change.op = op;
  change.table = pair_.after;
  change.rowid = cells_.before ? cells_.before->cell.rowid : cells_.after->cell.rowid;
  if (op != RowChange::Op::kInsert) change.before = &before_;
  if (op != RowChange::Op::kDelete) change.after = &after_;
  return change;
}

bool TableDiff::EmitDelete(Effect effect, bool claimed, RowChange& change) {
  bool deletes = effect == Effect::kDelete || effect == Effect::kReplace;
  if (netting_) {
    if (effect == Effect::kInsert || claimed) return false;
    int64_t& more = net_[hasher_(before_.values)];
    if (more >= 0) return false;
    ++more;
    deletes = true;
  }
  if (!deletes) return false;
  change = Fill(RowChange::Op::kDelete);
  return true;
}

bool TableDiff::EmitRest(Effect effect, bool claimed, RowChange& change) {
  if (effect == Effect::kDelete) return false;
  if (netting_ && !claimed) {
    int64_t& more = net_[hasher_(after_.values)];
    if (more <= 0) return false;
    --more;
    change = Fill(RowChange::Op::kInsert);
    return true;
  }
  change = Fill(effect == Effect::kUpdate ? RowChange::Op::kUpdate : RowChange::Op::kInsert);
  return true;
}

// Hidden rowids: finds out what is left once equal rows under different rowids are set off against each other.
Status TableDiff::Net() {
  TRY(CountRows());
  if (netting_) return ClaimUpdates();
  // Too many different rows to count. A VACUUM or a rebuild keeps their order; anything else is reported by rowid,
  // which is right but can say "deleted" and "inserted" of equal rows.
  source_.reset();
  TRY_ASSIGN(bool same, SameRowsInOrder());
  if (same) phase_ = Phase::kDone;
  return Ok();
}

Status TableDiff::CountRows() {
  TRY(Rewind());
  while (true) {
    TRY_ASSIGN(bool more, NextPair());
    if (!more) return Ok();
    TRY_ASSIGN(Effect effect, DecodePair());
    if (effect == Effect::kNone) continue;
    if (effect != Effect::kInsert) --net_[hasher_(before_.values)];
    if (effect != Effect::kDelete) ++net_[hasher_(after_.values)];
    if (net_.size() > limits_.netted_rows_max) break;
  }
  netting_ = false;
  net_ = {};
  buffer_.clear();
  buffer_overflown_ = true;
  return Ok();
}

// An update stays one where both of its rows are part of the net change.
Status TableDiff::ClaimUpdates() {
  TRY(Rewind());
  while (true) {
    TRY_ASSIGN(bool more, NextPair());
    if (!more) return Ok();
    TRY_ASSIGN(Effect effect, DecodePair());
    if (effect != Effect::kUpdate) continue;
    int64_t& before = net_[hasher_(before_.values)];
    int64_t& after = net_[hasher_(after_.values)];  // a map's references stay valid
    claimed_.push_back(before < 0 && after > 0);
    if (!claimed_.back()) continue;
    ++before;
    --after;
  }
}

Result<bool> TableDiff::SameRowsInOrder() {
  sqlite::TreeCursor before(view_.before, pair_.before->root);
  sqlite::TreeCursor after(view_.after, pair_.after->root);
  while (true) {
    TRY_ASSIGN(bool has_before, before.Next());
    TRY_ASSIGN(bool has_after, after.Next());
    if (has_before != has_after) return false;
    if (!has_before) return true;
    cells_ = CellChange{before.at(), after.at()};
    TRY(DecodePair());
    if (!SameValues(before_.values, after_.values)) return false;
  }
}

}  // namespace runnel::feed
