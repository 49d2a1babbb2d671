#include "subscriber/restore/plan.h"

#include <algorithm>
#include <numeric>
#include <string>

namespace runnel::restore {
namespace {

// TXIDs begin..end, each of which can be reached.
struct Stretch {
  Txid begin;
  Txid end;
};

std::vector<size_t> ByEnd(std::span<const PlanObject> objects) {
  std::vector<size_t> order(objects.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, [&](size_t a, size_t b) {
    const PlanObject& one = objects[a];
    const PlanObject& other = objects[b];
    return one.max_txid != other.max_txid ? one.max_txid < other.max_txid : one.min_txid < other.min_txid;
  });
  return order;
}

// All that can be reached, ascending. `from` itself is the first stretch unless it is 0.
std::vector<Stretch> AllReachable(std::span<const PlanObject> objects, Txid from) {
  std::vector<Stretch> stretches = {{from, from}};
  for (size_t index : ByEnd(objects)) {
    const PlanObject& object = objects[index];
    if (object.max_txid <= from || object.min_txid == Txid()) continue;
    // The lowest reachable TXID that is not before min-1.
    auto start = std::ranges::lower_bound(stretches, object.min_txid.Previous(), {}, &Stretch::end);
    if (start == stretches.end()) continue;
    const Txid first = std::max(start->begin, object.min_txid.Previous());
    if (first >= object.max_txid) continue;
    Stretch reached{object.segment ? first.Next() : object.max_txid, object.max_txid};
    while (!stretches.empty() && stretches.back().end.Next() >= reached.begin) {
      reached.begin = std::min(reached.begin, stretches.back().begin);
      reached.end = std::max(reached.end, stretches.back().end);
      stretches.pop_back();
    }
    stretches.push_back(reached);
  }
  return stretches;
}

// A TXID that can be reached, by what, and at which price.
struct Node {
  Txid txid;
  uint64_t cost = 0;
  size_t object = 0;
  size_t before = 0;  // index of the node it was reached from
};

// More nodes within one segment are in no sound archive; the rest is not worth the time.
constexpr std::ptrdiff_t kStartsTriedMax = 10000;

// Of reading an object from behind `start` to `end`. A segment's files are taken to be of one size.
uint64_t CostOf(const PlanObject& object, Txid start, Txid end) {
  if (!object.segment) return kObjectCostBytes + object.bytes;
  const double all = static_cast<double>(object.max_txid.raw() - object.min_txid.raw()) + 1;
  const uint64_t before = std::max(start, object.min_txid.Previous()).raw();
  const double share = static_cast<double>(end.raw() - before) / all;
  return kObjectCostBytes + static_cast<uint64_t>(share * static_cast<double>(object.bytes));
}

}  // namespace

Result<std::vector<PlanStep>> PlanRestore(std::span<const PlanObject> objects, Txid target, Txid from) {
  std::vector<PlanStep> steps;
  if (target == from && from != Txid()) return steps;
  // Objects that end at or before the target by their ends, segments that reach beyond it last.
  std::vector<size_t> order = ByEnd(objects);
  std::erase_if(order, [&](size_t i) { return objects[i].max_txid > target && !objects[i].segment; });
  std::vector<Node> nodes = {{from, 0, 0, 0}};
  // Indexes of nodes with ascending TXID and ascending cost: a dearer node before a cheaper one is never the better
  // start.
  std::vector<size_t> starts = {0};
  std::optional<Node> best;
  auto settle = [&] {
    if (!best) return;
    while (!starts.empty() && nodes[starts.back()].cost >= best->cost) starts.pop_back();
    starts.push_back(nodes.size());
    nodes.push_back(*best);
    best.reset();
  };
  for (size_t index : order) {
    const PlanObject& object = objects[index];
    const Txid end = std::min(object.max_txid, target);
    if (end <= from || object.min_txid == Txid() || object.min_txid > end) continue;
    if (best && best->txid != end) settle();
    auto start =
        std::ranges::lower_bound(starts, object.min_txid.Previous(), {}, [&](size_t i) { return nodes[i].txid; });
    if (start == starts.end()) continue;
    // For a level object the first start is the cheapest. Of a segment less is read from a later one.
    const auto tried_end = object.segment ? starts.end() : start + 1;
    if (tried_end - start > kStartsTriedMax) start = tried_end - kStartsTriedMax;
    for (; start < tried_end; ++start) {
      const uint64_t cost = nodes[*start].cost + CostOf(object, nodes[*start].txid, end);
      if (!best || cost < best->cost) best = Node{end, cost, index, *start};
    }
  }
  settle();
  if (nodes.back().txid != target || nodes.size() == 1) {
    return Error(Errc::kNotFound, "TXID " + ToString(target) + " cannot be reached exactly; " +
                                      Describe(ReachableAround(objects, target, from)));
  }
  for (size_t node = nodes.size() - 1; node != 0; node = nodes[node].before) {
    steps.push_back({nodes[node].object, nodes[nodes[node].before].txid, nodes[node].txid});
  }
  std::ranges::reverse(steps);
  return steps;
}

Reachable ReachableAround(std::span<const PlanObject> objects, Txid target, Txid from) {
  Reachable reachable;
  for (const Stretch& stretch : AllReachable(objects, from)) {
    if (stretch.end == Txid()) continue;
    const Txid begin = std::max(stretch.begin, Txid(1));
    if (begin <= target) reachable.at_or_before = std::min(stretch.end, target);
    if (stretch.end > target) {
      reachable.behind = std::max(begin, target.Next());
      break;
    }
  }
  return reachable;
}

Result<Txid> NewestReachable(std::span<const PlanObject> objects, Txid from) {
  const std::vector<Stretch> stretches = AllReachable(objects, from);
  const Txid newest = stretches.back().end;
  std::optional<Txid> beyond;
  for (const PlanObject& object : objects) {
    if (object.max_txid > newest) beyond = std::min(beyond.value_or(object.min_txid), object.min_txid);
  }
  if (newest == Txid()) {
    return Error(Errc::kNotFound,
                 beyond ? "nothing holds a whole image: the oldest object begins at TXID " + ToString(*beyond)
                        : "nothing is there to restore from");
  }
  if (!beyond) return newest;
  return Error(Errc::kGap, "TXIDs between " + ToString(newest) + " and " + ToString(*beyond) + " are missing; --txid " +
                               ToString(newest) + " restores what is before the gap");
}

std::string Describe(const Reachable& reachable) {
  if (!reachable.at_or_before && !reachable.behind) return "no TXID can be reached";
  std::string text;
  if (reachable.at_or_before) text = ToString(*reachable.at_or_before) + " is the nearest before it";
  if (!reachable.behind) return text + ", nothing is behind it";
  return text + (text.empty() ? "nothing is before it, " : ", ") + ToString(*reachable.behind) + " the next behind it";
}

}  // namespace runnel::restore
