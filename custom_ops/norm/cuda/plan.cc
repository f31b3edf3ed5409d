#include "custom_ops/norm/cuda/plan.h"

#include <algorithm>

#include "custom_ops/norm/layout.h"

namespace tfopt {
namespace cuda {
namespace {

// Shorter pieces with the same numbers are not worth a team of threads.
constexpr int64_t kShort = 32;
// Blocks that keep a large GPU busy, and threads.
constexpr int64_t kBlocks = 1056, kBusyThreads = kBlocks * 256;
// Rows that a thread should take of a tile of columns, at least and at most.
constexpr int64_t kFewRows = 4, kManyRows = 64;
// Threads of a block, and floats in an access.
constexpr int64_t kThreadsOfTile = 256, kWideFloats = 4;
// Elements of a tile of stretches.
constexpr int64_t kSmallTile = 1024, kLargeTile = 16384;
// Tiles begin where accesses of 16 bytes may, for every type.
constexpr int64_t kMostWide = 8;
// Rows whose sums for γ and β a team keeps, in float; teams that share them.
constexpr int64_t kShortStrip = 4, kLongStrip = 64, kTeams = 528;
// Pairs that one team gathers, and teams for a parameter.
constexpr int64_t kGathered = 8192, kMostParts = 64;
// Elements that a thread adds up of a parameter taken apart, at least.
constexpr int64_t kOfPart = 16;

int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t even(int64_t n) { return n + n % 2; }

// Elements in a row that share a parameter.
bool long_runs(const Layout& is) { return is.parameters == 1 || is.run >= kShort; }

void set_shape(Layout& is, int64_t inner, int64_t width) {
  is.inner = inner;
  is.width = width;
  is.row = is.groups * width;
  is.sample = inner * is.row;
}

// One group: rows may begin anywhere. As short as the parameters' period they make columns.
void join_rows(Layout& is) {
  const int64_t all = is.sample;
  set_shape(is, 1, all);
  if (all > kMostHeld && !long_runs(is)) set_shape(is, all / period_of(is), period_of(is));
}

Way way_of(const Layout& is) {
  if (is.outer * is.sample == 0) return kEmpty;
  if (is.inner == 1 && is.width <= kMostHeld) return kHeldRows;
  const bool short_pieces = is.width < kShort || !long_runs(is);
  return is.inner > 1 && short_pieces ? kTiledColumns : kTiledStretches;
}

void divide_held(Layout& is) {
  const int64_t teams = is.width <= 256 ? 4 * kTeams : kTeams;
  is.strip = std::clamp(ceiling(statistics_of(is), teams), kShortStrip, kLongStrip);
  is.strips = ceiling(is.outer, is.strip);
}

void divide_columns(Layout& is) {
  const int64_t accesses = ceiling(is.row, kWideFloats), across = ceiling(accesses, kMostAcross);
  const int64_t down = kThreadsOfTile / ceiling(accesses, across);
  is.tile_rows = std::clamp(ceiling(is.outer * is.inner * across, kBlocks), kFewRows * down, kManyRows * down);
  is.tiles = ceiling(is.inner, is.tile_rows);
}

void divide_stretches(Layout& is) {
  is.length = long_runs(is) ? std::min(is.width, is.run) : is.width;
  is.columns = is.row / is.length;
  is.weighted = is.weighted || is.run < is.length;
  const int64_t size = std::clamp(is.outer * is.sample / kBlocks, kSmallTile, kLargeTile);
  is.pieces = ceiling(is.length, size);
  is.tile_length = ceiling(ceiling(is.length, is.pieces), kMostWide) * kMostWide;
  is.pieces = ceiling(is.length, is.tile_length);
  is.tile_rows = std::clamp<int64_t>(is.pieces > 1 ? 1 : size / is.length, 1, is.inner);
  is.tiles = ceiling(is.inner, is.tile_rows) * is.pieces;
}

}  // namespace

Layout make_layout(const Geometry& geometry) {
  Layout is = {};
  is.outer = geometry.outer;
  is.groups = geometry.groups;
  is.parameters = geometry.parameters;
  is.run = geometry.run;
  set_shape(is, geometry.inner, geometry.width);
  is.way = kEmpty;
  if (geometry.size() == 0) return is;
  if (is.groups == 1) join_rows(is);
  if (is.parameters == 1) is.run = is.row;
  is.way = way_of(is);
  is.length = 1;
  is.columns = is.row;
  is.weighted = period_of(is) > is.row;
  is.tile_length = is.pieces = is.tiles = 1;
  if (is.way == kHeldRows) divide_held(is);
  if (is.way == kTiledColumns) divide_columns(is);
  if (is.way == kTiledStretches) divide_stretches(is);
  return is;
}

int64_t separate_layers(const Layout& is) {
  const int64_t elements = is.outer * is.sample / is.parameters;
  const int64_t busy = long_runs(is) ? kBlocks : kBusyThreads, least = long_runs(is) ? kOfPart * 256 : kOfPart;
  return std::max<int64_t>(1, std::min(busy / is.parameters, elements / least));
}

Gathering make_gathering(const Layout& is) {
  Gathering made = {is.parameters, is.way == kHeldRows ? is.strips : is.outer * is.tiles, is.columns,
                    is.row / period_of(is), period_of(is) / is.length, is.run / is.length, 1, 0};
  if (is.weighted) made = {is.parameters, separate_layers(is), is.parameters, 1, is.parameters, 1, 1, 0};
  made.parts = std::clamp<int64_t>(entries_of(made) / kGathered, 1, kMostParts);
  made.entries_of_part = ceiling(entries_of(made), made.parts);
  return made;
}

Workspace forward_workspace(const Layout& is) {
  const bool tiled = is.way == kTiledColumns || is.way == kTiledStretches;
  Workspace made = {};
  made.partial = tiled ? 2 * statistics_of(is) : 0;
  made.separate = made.gathered = made.size = made.partial + (tiled ? 2 * is.outer * is.tiles * is.columns : 0);
  return made;
}

Workspace backward_workspace(const Layout& is) {
  Workspace made = forward_workspace(is);
  if (is.way == kEmpty) return made;
  // Held rows leave two floats for each of their columns.
  if (is.way == kHeldRows) made.separate = made.partial + even(is.strips * is.row);
  const Gathering gathering = make_gathering(is);
  made.gathered = made.separate + (is.weighted ? 2 * gathering.layers * gathering.columns : 0);
  made.size = made.gathered + (gathering.parts > 1 ? 2 * gathering.parameters * gathering.parts : 0);
  return made;
}

}  // namespace cuda
}  // namespace tfopt
