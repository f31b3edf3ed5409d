// The passes over tensors of one type. Compiled once for each: TFOPT_TYPE is float, Half or Bfloat16, TFOPT_KERNELS
// the name of the table it makes.
#include "custom_ops/norm/cuda/held.h"
#include "custom_ops/norm/cuda/tiles.h"

namespace tfopt {
namespace cuda {
namespace {

using T = TFOPT_TYPE;
constexpr int kWide = kAccess / sizeof(T);

const char* hold(ForwardPass& pass, void* stream) {
  const int64_t teams = statistics_of(pass.is);
  return pass.wide ? start_held_rows<HeldForward, T, kWide>(teams, pass, stream)
                   : start_held_rows<HeldForward, T, 1>(teams, pass, stream);
}

const char* hold_backward(BackwardPass& pass, void* stream) {
  const int64_t teams = pass.is.strips * pass.is.groups;
  return pass.wide ? start_held_rows<HeldBackward, T, kWide>(teams, pass, stream)
                   : start_held_rows<HeldBackward, T, 1>(teams, pass, stream);
}

template <class Given>
const char* sum(Given& pass, void* stream) {
  return pass.wide ? start_tile_sums<T, kWide>(pass, stream) : start_tile_sums<T, 1>(pass, stream);
}

template <class Given>
const char* apply(Given& pass, void* stream) {
  return pass.wide ? start_tile_results<T, kWide>(pass, stream) : start_tile_results<T, 1>(pass, stream);
}

// Σ∇y and Σ∇y x̂ of a parameter's elements, a part of them, where tiles have summed γ ∇y.
template <int kTeam>
struct Separate {
  TFOPT_ELEMENT Pair sum(const BackwardPass& pass, int64_t team, int thread) {
    const Layout& is = pass.is;
    const int64_t layer = divide(team, is.parameters), parameter = team - layer * is.parameters;
    const int64_t behind = (layer + 1) * pass.of_layer, end = behind < pass.of_parameter ? behind : pass.of_parameter;
    Pair sum = {0, 0};
    for (int64_t k = layer * pass.of_layer + thread; k < end; k += kTeam) {
      const int64_t repeat = is.run == 1 ? k : divide(k, is.run);
      add(sum, terms(pass, repeat * period_of(is) + parameter * is.run + k - repeat * is.run));
    }
    return sum;
  }

  TFOPT_ELEMENT Pair terms(const BackwardPass& pass, int64_t at) {
    const Layout& is = pass.is;
    const int64_t sample = divide(at, is.sample), group = divide(remainder(at - sample * is.sample, is.row), is.width);
    const Coefficients by = pass.coefficients[sample * is.groups + group];
    const float upstream = read_one<T>(pass.upstream, at);
    return {upstream, upstream * ((read_one<T>(pass.x, at) - by.mean) * by.inverse)};
  }

  TFOPT_ELEMENT void finish(const BackwardPass& pass, int64_t team, const Pair& sum) { pass.separate[team] = sum; }
};

const char* separate(BackwardPass& pass, void* stream) {
  const int64_t teams = pass.layers * pass.is.parameters;
  // A team goes along a run, where it is as long as that.
  if (pass.is.run < 32) return start_totals<Separate<1>, 1>(teams, pass, stream);
  return start_totals<Separate<kThreads>, kThreads>(teams, pass, stream);
}

}  // namespace

const NormalizeKernels TFOPT_KERNELS = {hold,          sum<ForwardPass>,  apply<ForwardPass>, hold_backward,
                                        sum<BackwardPass>, apply<BackwardPass>, separate};

}  // namespace cuda
}  // namespace tfopt
