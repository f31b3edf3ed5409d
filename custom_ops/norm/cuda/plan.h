// How normalisation divides among blocks of threads. It goes by the geometry alone, not by type, address or device,
// and with it the order of all sums.
#pragma once
#include <stdint.h>

#include "custom_ops/rules/element.h"

namespace tfopt {

struct Geometry;

namespace cuda {

// Rows that threads hold in registers, between reading them for the sums and writing the results.
constexpr int64_t kMostHeld = 8192;
// Accesses side by side in a tile of columns, at most.
constexpr int64_t kMostAcross = 32;

enum Way {
  kEmpty,
  kHeldRows,        // a group lies in one piece that threads hold
  kTiledColumns,    // each thread goes down a few columns of a sample's rows
  kTiledStretches,  // teams of threads go along pieces of a row
};

// The geometry, of which equals are put together, as columns of `length` elements: each belongs to one group, and
// unless `weighted` has one parameter.
struct Layout {
  int64_t outer, inner, groups, width, parameters, run;
  Way way;
  int64_t row, sample;
  int64_t length, columns;  // length * columns = row
  bool weighted;            // sums over a column are of γ ∇y, and those for parameters are taken apart
  // A tile is `tile_rows` rows of a sample, or where they are long `tile_length` elements of a row's column.
  int64_t tile_rows, tile_length, pieces, tiles;  // pieces of a column's row; tiles of a sample
  int64_t strip, strips;                          // held rows of a group that a team sums for γ and β; their number
};

TFOPT_ELEMENT int64_t period_of(const Layout& is) { return is.parameters * is.run; }
TFOPT_ELEMENT int64_t statistics_of(const Layout& is) { return is.outer * is.groups; }

// How sums of pairs that lie as [layers, columns] go into parameters: each has `span` columns in a row, again
// `step` columns behind, `repeats` times; cut into `parts`.
struct Gathering {
  int64_t parameters, layers, columns, repeats, step, span;
  int64_t parts, entries_of_part;
};

TFOPT_ELEMENT int64_t entries_of(const Gathering& of) { return of.layers * of.repeats * of.span; }

Layout make_layout(const Geometry& geometry);

// Where `weighted`: the passes over the tensors that the sums for each parameter divide into.
int64_t separate_layers(const Layout& layout);

Gathering make_gathering(const Layout& layout);

// Doubles into the workspace at which each part of it begins; all are even.
struct Workspace {
  int64_t coefficients, partial, separate, gathered, size;
};

Workspace forward_workspace(const Layout& layout);
Workspace backward_workspace(const Layout& layout);

}  // namespace cuda
}  // namespace tfopt
