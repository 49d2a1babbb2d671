// Random schemas and transactions. Statements may fail (constraints): they then roll back and the transaction goes on.
#pragma once

#include <string>
#include <vector>

#include "tests/unit/feed/captured_db.h"

namespace runnel::testing {

class Generator {
 public:
  Generator(CapturedDb& db, Random& random) : db_(db), random_(random), rows_max_(random.Chance(85) ? 150 : 900) {}

  // One transaction, or a statement outside of one.
  void Step();
  // The statements of the last step.
  const std::vector<std::string>& log() const { return log_; }

 private:
  struct Table {
    std::string name;
    std::vector<std::string> columns;  // all, with the generated ones
    std::vector<std::string> types;
    std::vector<std::string> plain;  // insertable, quoted
    std::vector<std::string> key;    // quoted
    bool without_rowid = false;
    bool strict = false;
    std::string quoted() const { return QuotedName(name); }
  };

  bool Run(const std::string& sql);
  void Load();
  Table* Pick();
  std::string Value();
  std::string ValueFor(const Table& table, const std::string& quoted_column);
  std::string List(const Table& table) const;
  std::string Values(const Table& table);
  std::string Where(const Table& table);
  std::string AnyPlain(const Table& table);
  std::string NewName(const char* prefix) { return prefix + std::to_string(++serial_); }

  void Create(std::string name);
  std::string TableBody(std::string& tail);
  void Fill(const Table& table, uint64_t rows);
  void ChangeRows();
  void ChangeKeys(const Table& table);
  void ReinsertAll(const Table& table);
  void WriteBlob(const Table& table);
  void ChangeSchema();
  void AddColumn(const Table& table);
  void Rebuild(const Table& table);
  void SwapNames(const Table& table);
  void CreateOther(const Table& table);
  void ChangeVirtualTable();

  CapturedDb& db_;
  Random& random_;
  const int64_t rows_max_;
  int serial_ = 0;
  bool stale_ = true;
  std::vector<Table> tables_;
  std::vector<std::string> log_;
};

}  // namespace runnel::testing
