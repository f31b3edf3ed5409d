// Groups too large to be held: sums over tiles, and once those are put together the results of each tile.
#pragma once
#include "custom_ops/norm/cuda/access.h"

namespace tfopt {
namespace cuda {

// x − shift and its square; or of the backward pass ∇y, times γ where weighted, and its product with x − mean.
template <class Given>
TFOPT_ELEMENT void add_terms(float x, float centre, float upstream, float& first, float& second) {
  const float from_centre = x - centre;
  if constexpr (kIsBackward<Given>) {
    first += upstream;
    second += upstream * from_centre;
  } else {
    first += from_centre;
    second += from_centre * from_centre;
  }
}

// What a thread takes its elements from: the first of them; or in the backward pass the mean of the group.
template <class T, class Given>
TFOPT_ELEMENT float centre_of(const Given& pass, int64_t sample, int64_t group, int64_t first) {
  if constexpr (kIsBackward<Given>) {
    return pass.mean[sample * pass.is.groups + group];
  } else {
    return read_one<T>(pass.x, sample * pass.is.sample + first);
  }
}

// What a thread has summed of n elements, as all threads of the group have it: about the group's first element.
template <class T, class Given>
TFOPT_ELEMENT Pair shared_sum(const Given& pass, const Pair& sum, int64_t n, float centre, int64_t sample,
                              int64_t group) {
  if constexpr (kIsBackward<Given>) {
    return sum;
  } else {
    return moved(sum, n, centre, read_one<T>(pass.x, sample * pass.is.sample + group * pass.is.width));
  }
}

// y, or ∇x, in the place of x.
template <int n, class Given>
TFOPT_ELEMENT void finish_elements(const Coefficients* of, int step, const float* gamma, const float* beta, float* x,
                                   const float* upstream) {
  for (int v = 0; v < n; ++v) {
    const Coefficients& by = of[v * step];
    const float from_mean = x[v] - by.mean, scale = by.inverse * gamma[v];
    if constexpr (kIsBackward<Given>) {
      x[v] = upstream[v] * scale - from_mean * by.slope - by.common;
    } else {
      x[v] = from_mean * scale + beta[v];
    }
  }
}

template <int n, class T, class Given>
TFOPT_ELEMENT void store_result(const Given& pass, const float* from, int64_t i) {
  if constexpr (kIsBackward<Given>) {
    store<n, T>(from, pass.by_x, i);
  } else {
    store<n, T>(from, pass.y, i);
  }
}

template <int n, class Given>
TFOPT_ELEMENT void read_both_parameters(const Given& pass, int64_t element, float* gamma, float* beta) {
  read_parameters<n>(pass, pass.gamma, element, gamma);
  if constexpr (!kIsBackward<Given>) read_parameters<n>(pass, pass.beta, element, beta);
}

// Rows, or accesses of a row, that a thread has on their way at once, and adds up in float.
constexpr int kAtOnce = 4;

// -- Columns ---------------------------------------------------------------------------------------------

// A tile of columns: `across` threads side by side with kWide columns each, `down` of such rows at once.
template <int kWide>
struct ColumnTiling {
  int64_t of_row;  // tiles side by side
  int across, down;

  TFOPT_ELEMENT ColumnTiling of(const Layout& is) {
    const int64_t accesses = (is.row + kWide - 1) / kWide, tiles = (accesses + kMostAcross - 1) / kMostAcross;
    const int across = static_cast<int>((accesses + tiles - 1) / tiles);
    return {tiles, across, kThreads / across};
  }
};

// Where a thread goes: from row to row, `step` of them, down the columns from this one on.
struct ColumnPlace {
  int64_t sample, tile, column, begin, end;
  int step;
  bool there;

  template <int kWide>
  TFOPT_ELEMENT ColumnPlace of(const Layout& is, int64_t block, int thread) {
    const auto tiling = ColumnTiling<kWide>::of(is);
    const int64_t above = divide(block, tiling.of_row), sample = divide(above, is.tiles);
    const int down = thread / tiling.across;
    ColumnPlace to;
    to.sample = sample;
    to.tile = above - sample * is.tiles;
    to.column = ((block - above * tiling.of_row) * tiling.across + thread % tiling.across) * kWide;
    to.begin = to.tile * is.tile_rows + down;
    to.end = is.inner < (to.tile + 1) * is.tile_rows ? is.inner : (to.tile + 1) * is.tile_rows;
    to.step = tiling.down;
    to.there = down < tiling.down && to.column < is.row;
    return to;
  }
};

// Loads elements of kAtOnce rows from this one on, then calls visit(row, its elements of x and of ∇y, their place).
template <int kWide, class T, class Given, class Visit>
TFOPT_ELEMENT void visit_rows(const Given& pass, const ColumnPlace& place, int64_t from, Visit visit) {
  float x[kAtOnce][kWide], upstream[kAtOnce][kWide];
  const int64_t at = place.sample * pass.is.sample + place.column;
  TFOPT_UNROLLED
  for (int k = 0; k < kAtOnce; ++k) {
    const int64_t row = from + int64_t{k} * place.step;
    if (row < place.end) load_both<kWide, T>(pass, at + row * pass.is.row, x[k], upstream[k]);
  }
  TFOPT_UNROLLED
  for (int k = 0; k < kAtOnce; ++k) {
    const int64_t row = from + int64_t{k} * place.step;
    if (row < place.end) visit(row, x[k], upstream[k], at + row * pass.is.row);
  }
}

// Sums of each column of a tile.
template <class T, int kWide, class Given>
struct ColumnSums {
  static constexpr int kWidth = kWide;

  TFOPT_ELEMENT void sum(const Given& pass, int64_t block, int thread, Pair* to) {
    const Layout& is = pass.is;
    const ColumnPlace place = ColumnPlace::of<kWide>(is, block, thread);
    for (int v = 0; v < kWide; ++v) to[v] = {0, 0};
    if (!place.there || place.begin >= place.end) return;
    Pair sums[kWide] = {};
    float centre[kWide];
    for (int v = 0; v < kWide; ++v)
      centre[v] = centre_of<T>(pass, place.sample, divide(place.column + v, is.width),
                               place.begin * is.row + place.column + v);
    TFOPT_ROLLED
    for (int64_t row = place.begin; row < place.end; row += kAtOnce * place.step) {
      float first[kWide] = {}, second[kWide] = {};
      visit_rows<kWide, T>(pass, place, row, [&](int64_t i, const float* x, float* upstream, int64_t) {
        if (is.weighted && kIsBackward<Given>) weigh(pass, i * is.row + place.column, upstream);
        for (int v = 0; v < kWide; ++v) add_terms<Given>(x[v], centre[v], upstream[v], first[v], second[v]);
      });
      for (int v = 0; v < kWide; ++v) add(sums[v], {first[v], second[v]});
    }
    const int64_t rows = divide(place.end - place.begin + place.step - 1, place.step);
    for (int v = 0; v < kWide; ++v)
      to[v] = shared_sum<T>(pass, sums[v], rows, centre[v], place.sample, divide(place.column + v, is.width));
  }

  TFOPT_ELEMENT void weigh(const Given& pass, int64_t element, float* upstream) {
    float gamma[kWide];
    read_parameters<kWide>(pass, pass.gamma, element, gamma);
    for (int v = 0; v < kWide; ++v) upstream[v] *= gamma[v];
  }

  // A thread for each column of the tile.
  TFOPT_ELEMENT void finish(const Given& pass, int64_t block, int thread, const Pair* shared) {
    const auto tiling = ColumnTiling<kWide>::of(pass.is);
    if (thread >= tiling.across * kWide) return;
    const ColumnPlace place = ColumnPlace::of<kWide>(pass.is, block, thread / kWide);
    const int64_t column = place.column + thread % kWide;
    if (column >= pass.is.row) return;
    Pair sum = {0, 0};
    for (int k = 0; k < tiling.down; ++k) add(sum, shared[k * tiling.across * kWide + thread]);
    pass.partial[(place.sample * pass.is.tiles + place.tile) * pass.is.columns + column] = sum;
  }
};

template <class T, int kWide, class Given>
struct ColumnResults {
  TFOPT_ELEMENT void run(const Given& pass, int64_t block, int thread) {
    const Layout& is = pass.is;
    const ColumnPlace place = ColumnPlace::of<kWide>(is, block, thread);
    if (!place.there) return;
    Coefficients by[kWide];
    float gamma[kWide], beta[kWide];
    for (int v = 0; v < kWide; ++v)
      by[v] = pass.coefficients[place.sample * is.groups + divide(place.column + v, is.width)];
    read_both_parameters<kWide>(pass, place.column, gamma, beta);
    TFOPT_ROLLED
    for (int64_t row = place.begin; row < place.end; row += kAtOnce * place.step)
      visit_rows<kWide, T>(pass, place, row, [&](int64_t i, float* x, const float* upstream, int64_t at) {
        if (is.weighted) read_both_parameters<kWide>(pass, i * is.row + place.column, gamma, beta);
        finish_elements<kWide, Given>(by, 1, gamma, beta, x, upstream);
        store_result<kWide, T>(pass, x, at);
      });
  }
};

// -- Stretches -------------------------------------------------------------------------------------------

// What a team goes along: elements [from, to) of the column's part of rows [begin, end).
struct StretchPlace {
  int64_t sample, column, begin, end, from, to;

  TFOPT_ELEMENT StretchPlace of(const Layout& is, int64_t team) {
    const int64_t above = divide(team, is.columns), sample = divide(above, is.tiles), tile = above - sample * is.tiles;
    const int64_t rows = divide(tile, is.pieces), piece = tile - rows * is.pieces;
    const int64_t end = (rows + 1) * is.tile_rows, to = (piece + 1) * is.tile_length;
    return {sample, team - above * is.columns, rows * is.tile_rows, end < is.inner ? end : is.inner,
            piece * is.tile_length, to < is.length ? to : is.length};
  }

  // The group, and the first of its elements in a row, counted from the start of the sample.
  TFOPT_ELEMENT int64_t group(const Layout& is, const StretchPlace& place) {
    return divide(place.column * is.length, is.width);
  }
  TFOPT_ELEMENT int64_t element(const Layout& is, const StretchPlace& place, int64_t row) {
    return row * is.row + place.column * is.length;
  }
};

// Calls visit(x, ∇y, element) for a thread's accesses to a row, kAtOnce at a time.
template <int kTeam, int kWide, class T, class Given, class Visit>
TFOPT_ELEMENT void visit_stretch(const Given& pass, const StretchPlace& place, int64_t row, int thread, Visit visit) {
  const int64_t element = StretchPlace::element(pass.is, place, row), sample = place.sample * pass.is.sample;
  constexpr int kStep = kTeam * kWide;
  TFOPT_ROLLED
  for (int64_t i = place.from + thread * kWide; i < place.to; i += kAtOnce * kStep) {
    float x[kAtOnce][kWide], upstream[kAtOnce][kWide];
    TFOPT_UNROLLED
    for (int k = 0; k < kAtOnce; ++k)
      if (i + k * kStep < place.to) load_both<kWide, T>(pass, sample + element + i + k * kStep, x[k], upstream[k]);
    TFOPT_UNROLLED
    for (int k = 0; k < kAtOnce; ++k)
      if (i + k * kStep < place.to) visit(x[k], upstream[k], element + i + k * kStep);
  }
}

// γ, or β, of elements: one for the whole row of a column, unless runs are shorter.
template <int n>
TFOPT_ELEMENT void read_stretch_parameters(const Pass& pass, const float* numbers, float of_row, int64_t element,
                                           float* to) {
  if (pass.is.run < pass.is.length) return read_parameters<n>(pass, numbers, element, to);
  for (int v = 0; v < n; ++v) to[v] = of_row;
}

template <class T, int kTeam, int kWide, class Given>
struct StretchSums {
  TFOPT_ELEMENT Pair sum(const Given& pass, int64_t at, int thread) {
    const Layout& is = pass.is;
    const StretchPlace place = StretchPlace::of(is, at);
    const int64_t start = place.from + thread * kWide, group = StretchPlace::group(is, place);
    if (start >= place.to) return {0, 0};
    const float centre =
        centre_of<T>(pass, place.sample, group, StretchPlace::element(is, place, place.begin) + start);
    Pair sum = {0, 0};
    int64_t n = 0;
    for (int64_t row = place.begin; row < place.end; ++row) {
      const float of_row = read_kept(pass.gamma + parameter_of(is, StretchPlace::element(is, place, row)));
      visit_stretch<kTeam, kWide, T>(pass, place, row, thread, [&](const float* x, float* upstream, int64_t element) {
        float first = 0, second = 0, gamma[kWide];
        if (is.weighted && kIsBackward<Given>) {
          read_stretch_parameters<kWide>(pass, pass.gamma, of_row, element, gamma);
          for (int v = 0; v < kWide; ++v) upstream[v] *= gamma[v];
        }
        for (int v = 0; v < kWide; ++v) add_terms<Given>(x[v], centre, upstream[v], first, second);
        add(sum, {first, second});
        n += kWide;
      });
    }
    return shared_sum<T>(pass, sum, n, centre, place.sample, group);
  }

  TFOPT_ELEMENT void finish(const Given& pass, int64_t at, const Pair& sum) { pass.partial[at] = sum; }
};

template <class T, int kTeam, int kWide, class Given>
struct StretchResults {
  TFOPT_ELEMENT void run(const Given& pass, int64_t at, int thread) {
    const Layout& is = pass.is;
    const StretchPlace place = StretchPlace::of(is, at);
    const Coefficients by = pass.coefficients[place.sample * is.groups + StretchPlace::group(is, place)];
    for (int64_t row = place.begin; row < place.end; ++row) {
      float gamma_of_row, beta_of_row = 0;
      read_both_parameters<1>(pass, StretchPlace::element(is, place, row), &gamma_of_row, &beta_of_row);
      visit_stretch<kTeam, kWide, T>(pass, place, row, thread, [&](float* x, const float* upstream, int64_t element) {
        float gamma[kWide], beta[kWide] = {};
        read_stretch_parameters<kWide>(pass, pass.gamma, gamma_of_row, element, gamma);
        if constexpr (!kIsBackward<Given>)
          read_stretch_parameters<kWide>(pass, pass.beta, beta_of_row, element, beta);
        finish_elements<kWide, Given>(&by, 0, gamma, beta, x, upstream);
        store_result<kWide, T>(pass, x, place.sample * is.sample + element);
      });
    }
  }
};

// -- Starting them ---------------------------------------------------------------------------------------

// From so many elements on a tile of stretches keeps a whole block busy.
constexpr int64_t kTileOfBlock = 2048;

inline bool tile_of_block(const Layout& is) { return is.tile_rows * is.tile_length >= kTileOfBlock; }

template <class T, int kWide, class Given>
const char* start_tile_sums(Given& pass, void* stream) {
  const Layout& is = pass.is;
  const int64_t tiles = is.outer * is.tiles;
  if (is.way == kTiledColumns)
    return start_tiles<ColumnSums<T, kWide, Given>>(tiles * ColumnTiling<kWide>::of(is).of_row, pass, stream);
  if (tile_of_block(is))
    return start_totals<StretchSums<T, kThreads, kWide, Given>, kThreads>(tiles * is.columns, pass, stream);
  return start_totals<StretchSums<T, 32, kWide, Given>, 32>(tiles * is.columns, pass, stream);
}

template <class T, int kWide, class Given>
const char* start_tile_results(Given& pass, void* stream) {
  const Layout& is = pass.is;
  const int64_t tiles = is.outer * is.tiles;
  if (is.way == kTiledColumns)
    return start_runs<ColumnResults<T, kWide, Given>, kThreads>(tiles * ColumnTiling<kWide>::of(is).of_row, pass,
                                                                stream);
  if (tile_of_block(is))
    return start_runs<StretchResults<T, kThreads, kWide, Given>, kThreads>(tiles * is.columns, pass, stream);
  return start_runs<StretchResults<T, 32, kWide, Given>, 32>(tiles * is.columns, pass, stream);
}

}  // namespace cuda
}  // namespace tfopt
