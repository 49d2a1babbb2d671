#include "subscriber/feed/transaction.h"

#include <algorithm>
#include <random>
#include <utility>

#include "ltx/base/check.h"
#include "subscriber/feed/map_walk.h"

namespace runnel::feed {

using sqlite::Image;

namespace {

// The trees were walked as one forest: looks for the table whose tree is wrong by itself.
Error NameTable(const Image& image, const Schema& schema, const Shortcuts& shortcuts, const Error& error) {
  for (const TableDef& table : schema.tables) {
    Result<PageMap> alone = PageMap::Build(image, {table.root}, shortcuts);
    if (!alone.ok()) return alone.error().With("table " + table.name);
  }
  return error;
}

}  // namespace

Result<std::unique_ptr<Feed>> Feed::Open(const sqlite::PageSource& source, FeedOptions options) {
  std::unique_ptr<Feed> feed(new Feed(std::move(options)));
  feed->hash_seed_ = feed->options_.hash_seed != 0 ? feed->options_.hash_seed : std::random_device()();
  TRY_ASSIGN(Image image, Image::Of(source));
  TRY_ASSIGN(feed->schema_, ReadSchema(image, nullptr));
  if (image.page_count() == 0) return feed;
  Result<PageMap> map = PageMap::Build(image, feed->schema_.Roots(), feed->options_.shortcuts);
  if (!map.ok()) return NameTable(image, feed->schema_, feed->options_.shortcuts, map.error());
  feed->map_ = std::move(*map);
  return feed;
}

Status Feed::Verify(const sqlite::PageSource& source) const {
  TRY_ASSIGN(Image image, Image::Of(source));
  TRY_ASSIGN(PageMap fresh, PageMap::Build(image, schema_.Roots(), options_.shortcuts));
  std::optional<Pgno> wrong = map_.FirstDifference(fresh);
  if (!wrong) return Ok();
  return sqlite::PageError(*wrong, "the page map says parent " + std::to_string(map_.ParentOf(*wrong).raw()) +
                                       ", the image " + std::to_string(fresh.ParentOf(*wrong).raw()));
}

Result<std::unique_ptr<Transaction>> Feed::Begin(const FeedCommit& commit) {
  CHECK(!busy_, "one transaction at a time");
  auto where = [&commit] { return "txid " + ToString(commit.txid); };  // only for errors: it costs memory
  Result<Image> before = Image::Of(commit.before);
  if (!before.ok()) return before.error().With(where() + ", before");
  Result<Image> after = Image::Of(commit.after);
  if (!after.ok()) return after.error().With(where());
  if (before->page_count() != 0 && before->layout().page_size != after->layout().page_size) {
    return Error(Errc::kRefused, where() + ": another page size is another lineage");
  }
  std::unique_ptr<Transaction> transaction(new Transaction(*this, commit, *before, *after));
  TRY(transaction->Start(commit.pages));
  return transaction;
}

void Feed::Expect(Pgno pgno) const {
  map_.Fetch(pgno);
  for (const PageSet* pages : {&changed_, &marks_.dirty, &visited_}) pages->Fetch(pgno);
}

Transaction::Transaction(Feed& feed, const FeedCommit& commit, Image before, Image after)
    : feed_(feed),
      txid_(commit.txid),
      before_(before),
      after_(after),
      view_{before_,
            after_,
            feed.changed_,
            feed.marks_,
            feed.map_,
            feed.spots_,
            commit.differences,
            feed.shared_,
            feed.options_.shortcuts} {
  feed_.busy_ = true;
}

Transaction::~Transaction() {
  table_.reset();
  feed_.changed_.Clear();
  feed_.marks_.Clear();
  feed_.visited_.Clear();
  feed_.shared_.Clear();
  feed_.spots_.Clear();
  feed_.forgotten_.Clear();
  feed_.busy_ = false;
}

Error Transaction::Locate(const Error& error, const TableDef* table) const {
  std::string where = "txid " + ToString(txid_);
  return error.With(table != nullptr ? where + ", table " + table->name : where);
}

Status Transaction::Start(const std::vector<Pgno>& pages) {
  feed_.changed_.Reserve(after_.page_count());
  for (Pgno pgno : pages) {
    if (pgno.raw() == 0 || pgno.raw() > after_.page_count()) {
      return Locate(sqlite::PageError(pgno, "in the commit, but not in the image after it"), nullptr);
    }
    feed_.changed_.Add(pgno);
  }
  feed_.map_.Mark(feed_.changed_, before_.page_count(), after_.page_count(), view_.shortcuts, feed_.marks_);
  Status compared = CompareTables();
  if (!compared.ok()) return Locate(compared.error(), nullptr);
  return CheckTrees();
}

// True where sqlite_schema can differ. Page 1 is in most commits for its header's sake.
Result<bool> Transaction::SchemaTouched() const {
  if (before_.page_count() == 0) return true;
  const PageSet& dirty = view_.marks.dirty;
  if (!dirty.Contains(Pgno(1))) return false;
  TRY_ASSIGN(Bytes old_page, before_.Page(Pgno(1)));
  TRY_ASSIGN(Bytes new_page, after_.Page(Pgno(1)));
  if (before_.encoding() != after_.encoding()) return true;
  if (AsText(old_page.subspan(sqlite::kDbHeaderBytes)) != AsText(new_page.subspan(sqlite::kDbHeaderBytes))) return true;
  TRY_ASSIGN(sqlite::BtreePage page, sqlite::BtreePage::Read(after_, Pgno(1)));
  for (uint32_t i = 0; !page.leaf() && i <= page.cell_count(); ++i) {
    TRY_ASSIGN(Pgno child, page.Child(i));
    if (dirty.Contains(child)) return true;
  }
  for (uint32_t i = 0; page.leaf() && i < page.cell_count(); ++i) {
    sqlite::Cell cell;
    TRY(page.ReadCell(i, cell));
    if (cell.overflow.raw() != 0 && dirty.Contains(cell.overflow)) return true;
  }
  return false;
}

Status Transaction::CompareTables() {
  TRY_ASSIGN(bool touched, SchemaTouched());
  if (touched) {
    TRY_ASSIGN(Schema schema, ReadSchema(after_, &feed_.schema_));
    if (schema.rows != feed_.schema_.rows) new_schema_ = std::make_unique<Schema>(std::move(schema));
  }
  if (new_schema_ != nullptr) {
    TRY_ASSIGN(SchemaDiff diff, CompareSchemas(feed_.schema_, *new_schema_, view_));
    schema_changes_ = std::move(diff.changes);
    pairs_ = std::move(diff.pairs);
    TellRenamesAcrossTheBorder();
  } else {
    for (Pgno root : view_.marks.roots) {
      const TableDef* table = feed_.schema_.FindByRoot(root);
      if (table != nullptr) pairs_.push_back(TablePair{table, table, {}, true});
    }
  }
  std::erase_if(pairs_, [this](const TablePair& pair) { return !feed_.options_.wants(*pair.after); });
  return Ok();
}

// A table that was not reported and now is, is new to whoever listens, with all its rows; one that no longer is, is
// gone.
void Transaction::TellRenamesAcrossTheBorder() {
  using Kind = SchemaChange::Kind;
  for (SchemaChange& change : schema_changes_) {
    if (change.kind != Kind::kAlterTable) continue;
    bool was = feed_.options_.wants(*change.before);
    bool is = feed_.options_.wants(*change.after);
    if (was == is) continue;
    change.kind = is ? Kind::kCreateTable : Kind::kDropTable;
    change.column_map.clear();
    if (!is) {
      change.after = nullptr;
      continue;
    }
    std::erase_if(pairs_, [&change](const TablePair& pair) { return pair.after == change.after; });
    pairs_.push_back(TablePair{nullptr, change.after, {}, true});
    change.before = nullptr;
  }
  std::stable_sort(schema_changes_.begin(), schema_changes_.end(),
                   [](const SchemaChange& a, const SchemaChange& b) { return a.kind < b.kind; });
}

// The changed part of the new trees must be a forest; what the map needs is collected on the way.
Status Transaction::CheckTrees() {
  feed_.visited_.Reserve(after_.page_count());
  MapWalk walk(after_, before_, view_.changed, view_.marks, view_.shortcuts, feed_.visited_, feed_.spots_);
  if (new_schema_ != nullptr || view_.marks.dirty.Contains(Pgno(1))) {
    Status walked = walk.Tree(Pgno(1));
    if (!walked.ok()) return Locate(walked.error().With("sqlite_schema"), nullptr);
  }
  feed_.leaves_.clear();
  if (new_schema_ == nullptr) FindKnownLeaves(view_, feed_.leaves_);
  for (const TableDef& table : schema().tables) {
    if (!view_.marks.dirty.Contains(table.root)) continue;
    std::span<const TreeLeaf> leaves = KnownLeavesOf(table.root);
    Status walked = leaves.empty() ? walk.Tree(table.root) : walk.Leaves(table.root, leaves);
    if (!walked.ok()) return Locate(walked.error(), &table);
  }
  update_ = walk.TakeUpdate();
  feed_.forgotten_.Reserve(before_.page_count());
  if (!view_.shortcuts.no_forgetting) FindForgottenPages(view_, update_.links, feed_.forgotten_);
  return Ok();
}

std::span<const TreeLeaf> Transaction::KnownLeavesOf(Pgno root) const {
  auto [first, last] = std::equal_range(feed_.leaves_.begin(), feed_.leaves_.end(), TreeLeaf{root, 0, Pgno()},
                                        [](const TreeLeaf& a, const TreeLeaf& b) { return a.root < b.root; });
  return {first, last};
}

Result<bool> Transaction::Next(Change& change) {
  change = Change();
  if (schema_next_ < schema_changes_.size()) {
    change.schema = &schema_changes_[schema_next_++];
    change.ordinal = ++ordinal_;
    return true;
  }
  while (true) {
    if (!table_) {
      at_end_ = pair_next_ == pairs_.size();
      if (at_end_) return false;
      const FeedOptions& options = feed_.options_;
      table_.emplace(view_, pairs_[pair_next_], feed_.table_scratch_, options.limits, feed_.hash_seed_);
    }
    Result<bool> more = table_->Next(row_);
    if (!more.ok()) return Locate(more.error(), pairs_[pair_next_].after);
    if (*more) break;
    table_.reset();
    ++pair_next_;
  }
  change.row = &row_;
  change.ordinal = ++ordinal_;
  return true;
}

void Transaction::Finish() {
  CHECK(at_end_, "not all changes were taken");
  // Tables that are gone take pages with them which nothing else names.
  if (new_schema_ != nullptr && !view_.shortcuts.no_forgetting) feed_.map_.ForgetLeaves();
  feed_.map_.Apply(update_, feed_.changed_, feed_.visited_, feed_.forgotten_, after_.page_count());
  if (new_schema_ == nullptr) return;
  feed_.table_scratch_.decoder.Keep(*new_schema_);
  schema_changes_.clear();
  pairs_.clear();
  feed_.schema_ = std::move(*new_schema_);
  new_schema_.reset();
}

}  // namespace runnel::feed
