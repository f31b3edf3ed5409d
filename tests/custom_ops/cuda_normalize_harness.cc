// Runs the CUDA kernels for normalisation in loops, without a GPU, for a build with sanitizers, and compares with the
// formulas in double. Exit code 1 names the first difference.
#include <cstring>
#include <limits>

#include "custom_ops/apply/cuda/api.h"
#include "custom_ops/norm/cuda/access.h"
#include "normalize_reference.h"

namespace {

using tfopt::Geometry;
using tfopt::Type;
using tfopt::cuda::Layout;

// What their kernels tell apart, beside the geometries that all kernels share.
const Geometry kMore[] = {
    {7, 1, 1, 256, 256, 1},       {70, 1, 1, 1024, 1024, 1},      // rows held by a warp, by half a block
    {3, 1, 1, 4096, 4096, 1},     {3, 1, 1, 8192, 8192, 1},       // by a block
    {2, 1, 3, 8192, 6, 4096},     {700, 1, 4, 24, 32, 3},         // a few runs in a row; many strips
    {3, 1, 1, 8200, 8200, 1},     {3, 1, 1, 20001, 20001, 1},     // too long to be held, per element
    {2, 1, 3, 9000, 54000 / 2, 1}, {2, 1, 2, 9000, 6000, 3},      // several groups of them; short runs
    {3, 1, 1, 40000, 1, 1},       {2, 1, 3, 40000, 3, 40000},     // and uniform
    {2, 90, 3, 64, 6, 32},        {2, 90, 3, 64, 90, 192},        // rows of stretches; a parameter for each
    {1, 40, 3, 20000, 3, 20000},  {2, 3, 2, 20000, 4, 10000},     // long stretches
    {2, 300, 4, 8, 9600, 1},      {1, 500, 40, 8, 320, 1},        // columns: per element, many of them
    {1, 3000, 264, 1, 264, 1},    {1, 3000, 33, 8, 33, 8},        // next to each other in tiles; runs
    {2, 800, 2, 4, 100, 64},      {2, 16, 2, 16, 8, 64},          // runs of several rows
    {400, 3, 2, 2, 4, 1},         {5000, 1, 1, 8, 8, 1},          // many samples
    {700, 1, 1, 130, 1, 1},       {9, 1, 1, 72, 6, 1},            // much to gather; an access of the last and first
};

[[noreturn]] void fail(const char* what) {
  std::printf("%s\n", what);
  std::exit(1);
}

tfopt_geometry plain(const Geometry& is) {
  return {is.outer, is.inner, is.groups, is.width, is.parameters, is.run};
}

// Memory for sums, filled with what no result may come from.
struct Workspace {
  explicit Workspace(int64_t size) : numbers(size, std::numeric_limits<double>::quiet_NaN()) {}
  std::vector<double> numbers;
};

// Both passes over a problem's buffers; ∇x takes the place of ∇y, `by_x`.
struct Steps {
  Steps(const Case& c, const Problem& p, const Buffer& by_x)
      : forward_space(size(c, tfopt_cuda_normalize_workspace)),
        backward_space(size(c, tfopt_cuda_normalize_backward_workspace)) {
    const auto floats = Problem::floats;
    forward = {c.type, plain(c.is), kEpsilon, p.x.data(), floats(p.gamma), floats(p.beta), p.y.data(), floats(p.mean),
               floats(p.variance), forward_space.numbers.data(), static_cast<int64_t>(forward_space.numbers.size())};
    backward = {c.type, plain(c.is), kEpsilon, p.x.data(), by_x.data(), floats(p.gamma), floats(p.mean),
                floats(p.variance), by_x.data(), floats(p.by_gamma), floats(p.by_beta), backward_space.numbers.data(),
                static_cast<int64_t>(backward_space.numbers.size())};
  }

  static int64_t size(const Case& c, int64_t (*workspace)(const tfopt_geometry*)) {
    const tfopt_geometry geometry = plain(c.is);
    return workspace(&geometry);
  }

  Workspace forward_space, backward_space;
  tfopt_normalize forward;
  tfopt_normalize_backward backward;
};

void check(const Case& c) {
  Problem p(c);
  Buffer upstream = p.upstream.copy();
  Steps steps(c, p, upstream);
  // Where shifted, ∇x takes the place of ∇y.
  if (!c.shifted) steps.backward.by_x = p.y.data();
  char message[200];
  if (tfopt_cuda_normalize(&steps.forward, nullptr, message, sizeof message)) fail(message);
  p.compare_forward();
  if (tfopt_cuda_normalize_backward(&steps.backward, nullptr, message, sizeof message)) fail(message);
  p.compare_gradients(c.shifted ? upstream : p.y);
  if (!c.shifted && !upstream.same(p.upstream)) fail("the upstream gradient has changed");
}

// -- The divisions that the geometries bring about -------------------------------------------------------

struct Seen {
  int ways[4] = {}, weighted[4] = {}, pieces = 0, parts = 0, rows = 0;

  void note(const Layout& is) {
    ++ways[is.way];
    if (is.way == tfopt::cuda::kEmpty) return;
    weighted[is.way] += is.weighted;
    pieces += is.pieces > 1;
    rows += is.way == tfopt::cuda::kTiledStretches && is.tile_rows > 1;
    parts += make_gathering(is).parts > 1;
  }

  bool all() const {
    using namespace tfopt::cuda;
    return ways[kEmpty] && ways[kHeldRows] && ways[kTiledColumns] > weighted[kTiledColumns] &&
           weighted[kTiledColumns] && ways[kTiledStretches] > weighted[kTiledStretches] &&
           weighted[kTiledStretches] && pieces && parts && rows;
  }
};

int check_all(const Geometry& is, Seen& seen) {
  if (const char* reason = is.refused()) fail(reason);
  seen.note(tfopt::cuda::make_layout(is));
  for (const Type type : {tfopt::kFloat, tfopt::kHalf, tfopt::kBfloat16})
    for (const bool shifted : {false, true}) check({"emulated", type, is, shifted});
  return 6;
}

// -- Numbers that go wrong with less care ----------------------------------------------------------------

// A constant has no variance, and comes out as β; a mean far above the deviation costs no digits.
void check_extremes(const Geometry& is) {
  const Case c = {"extremes", tfopt::kFloat, is, false};
  Problem p(c);
  Steps steps(c, p, p.upstream);
  for (int64_t i = 0; i < is.size(); ++i) p.x.set(i, 0.1);
  if (tfopt_cuda_normalize(&steps.forward, nullptr, nullptr, 0)) fail("refused");
  for (int64_t k = 0; k < is.statistics(); ++k) {
    compare(c, "mean of a constant", k, p.mean.get(k), 0.1f, 0);
    compare(c, "variance of a constant", k, p.variance.get(k), 0, 0);
  }
  for (int64_t i = 0; i < is.size(); ++i)
    compare(c, "y of a constant", i, p.y.get(i), p.beta.get(i % is.sample() / is.run % is.parameters), 0);
  for (int64_t i = 0; i < is.size(); ++i) p.x.set(i, 1e4 + (i / is.row() + i % is.width) % 2);
  if (tfopt_cuda_normalize(&steps.forward, nullptr, nullptr, 0)) fail("refused");
  for (int64_t k = 0; k < is.statistics(); ++k) compare(c, "variance far from zero", k, p.variance.get(k), 0.25, 1e-3);
}

// A variance that one element makes up keeps its digits, wherever the element lies.
void check_outlier(const Geometry& is) {
  const Case c = {"outlier", tfopt::kFloat, is, false};
  Problem p(c);
  Steps steps(c, p, p.upstream);
  const float outlier = 1234.567f;
  const double share = 1.0 / is.count(), spread = double{outlier} * outlier * share * (1 - share);
  for (const int64_t at : {int64_t{0}, is.sample() / 2, is.sample() - 1}) {
    for (int64_t i = 0; i < is.size(); ++i) p.x.set(i, i % is.sample() == at ? outlier : 0);
    if (tfopt_cuda_normalize(&steps.forward, nullptr, nullptr, 0)) fail("refused");
    for (int64_t k = 0; k < is.statistics(); ++k)
      compare(c, "variance", k, p.variance.get(k), k % is.groups == at % is.row() / is.width ? spread : 0,
              1e-5 * spread);
  }
}

// What is not a number stays in its group.
void check_nan(const Geometry& is) {
  const Case c = {"not a number", tfopt::kFloat, is, false};
  Problem p(c);
  Steps steps(c, p, p.upstream);
  p.x.set(is.sample() + is.width + 1, NAN);
  if (tfopt_cuda_normalize(&steps.forward, nullptr, nullptr, 0)) fail("refused");
  if (tfopt_cuda_normalize_backward(&steps.backward, nullptr, nullptr, 0)) fail("refused");
  for (int64_t i = 0; i < is.size(); ++i) {
    const bool within = i / is.sample() == 1 && i % is.row() / is.width == 1;
    if (std::isnan(p.y.get(i)) != within || std::isnan(p.upstream.get(i)) != within)
      fail("a NaN has spread, or is lost");
  }
}

// Of tensors that no test can hold.
void check_divisions() {
  for (const int64_t a : {int64_t{0}, int64_t{1}, (int64_t{1} << 32) - 1, int64_t{1} << 32, (int64_t{1} << 40) + 12345,
                          (int64_t{1} << 61) - 1})
    for (const int64_t b : {int64_t{1}, int64_t{3}, (int64_t{1} << 32) - 1, int64_t{1} << 32, (int64_t{1} << 40) - 1})
      if (tfopt::cuda::divide(a, b) != a / b || tfopt::cuda::remainder(a, b) != a % b) fail("a division is wrong");
}

// -- Bad arguments ---------------------------------------------------------------------------------------

const Geometry kGroups = {2, 30, 4, 2, 8, 1};

struct Fault {
  const char* says;
  void (*make)(Steps& steps);
};

template <class T>
T* odd(T* pointer) {
  return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(pointer) + 1);
}

void make_both(Steps& s, void (*change)(tfopt_geometry& geometry)) {
  change(s.forward.geometry);
  change(s.backward.geometry);
}

// Of both passes.
const Fault kFaults[] = {
    {"type", [](Steps& s) { s.forward.type = s.backward.type = TFOPT_DOUBLE; }},
    {"type", [](Steps& s) { s.forward.type = s.backward.type = -1; }},
    {"type", [](Steps& s) { s.forward.type = s.backward.type = 4; }},
    {"epsilon", [](Steps& s) { s.forward.epsilon = s.backward.epsilon = -1; }},
    {"epsilon", [](Steps& s) { s.forward.epsilon = s.backward.epsilon = NAN; }},
    {"geometry", [](Steps& s) { make_both(s, [](tfopt_geometry& is) { is.outer = -1; }); }},
    {"geometry", [](Steps& s) { make_both(s, [](tfopt_geometry& is) { is.width = INT64_MIN; }); }},
    {"geometry", [](Steps& s) { make_both(s, [](tfopt_geometry& is) { is.inner = INT64_MAX; }); }},
    {"geometry", [](Steps& s) {
       make_both(s, [](tfopt_geometry& is) { is.outer = is.inner = int64_t{1} << 32, is.width = 0; });
     }},
    {"at least one", [](Steps& s) { make_both(s, [](tfopt_geometry& is) { is.parameters = 0; }); }},
    {"at least one", [](Steps& s) { make_both(s, [](tfopt_geometry& is) { is.run = INT64_MIN; }); }},
    {"parameters and run", [](Steps& s) {
       make_both(s, [](tfopt_geometry& is) { is.parameters = is.run = INT64_MAX; });
     }},
    {"whole number", [](Steps& s) { make_both(s, [](tfopt_geometry& is) { is.parameters = 7; }); }},
    {"straddle", [](Steps& s) { make_both(s, [](tfopt_geometry& is) { is.parameters = 3; }); }},
    {"x", [](Steps& s) { s.forward.x = s.backward.x = nullptr; }},
    {"x", [](Steps& s) { s.forward.x = s.backward.x = odd(s.forward.x); }},
    {"gamma", [](Steps& s) { s.forward.gamma = s.backward.gamma = nullptr; }},
    {"gamma", [](Steps& s) { s.forward.gamma = s.backward.gamma = odd(s.forward.gamma); }},
    {"mean", [](Steps& s) { s.forward.mean = nullptr, s.backward.mean = nullptr; }},
    {"mean", [](Steps& s) { s.forward.mean = odd(s.forward.mean), s.backward.mean = s.forward.mean; }},
    {"variance", [](Steps& s) { s.forward.variance = nullptr, s.backward.variance = nullptr; }},
    {"workspace", [](Steps& s) { s.forward.workspace = s.backward.workspace = nullptr; }},
    {"workspace", [](Steps& s) { ++s.forward.workspace, ++s.backward.workspace; }},
    {"workspace_size", [](Steps& s) { --s.forward.workspace_size, --s.backward.workspace_size; }},
    {"workspace_size", [](Steps& s) { s.forward.workspace_size = s.backward.workspace_size = INT64_MIN; }},
};
const Fault kForwardFaults[] = {
    {"beta", [](Steps& s) { s.forward.beta = nullptr; }},
    {"beta", [](Steps& s) { s.forward.beta = odd(s.forward.beta); }},
    {"y", [](Steps& s) { s.forward.y = nullptr; }},
    {"y", [](Steps& s) { s.forward.y = odd(s.forward.y); }},
};
const Fault kBackwardFaults[] = {
    {"upstream", [](Steps& s) { s.backward.upstream = nullptr; }},
    {"upstream", [](Steps& s) { s.backward.upstream = odd(s.backward.upstream); }},
    {"by_x", [](Steps& s) { s.backward.by_x = nullptr; }},
    {"by_x", [](Steps& s) { s.backward.by_x = odd(s.backward.by_x); }},
    {"by_gamma", [](Steps& s) { s.backward.by_gamma = nullptr; }},
    {"by_beta", [](Steps& s) { s.backward.by_beta = odd(s.backward.by_beta); }},
};

// Calls with room for a message, with hardly any, and with none.
template <class Call>
void expect_refusal(const char* says, Call call) {
  char message[200] = "", little[3];
  const int codes[] = {call(message, sizeof message), call(little, sizeof little), call(nullptr, 0)};
  for (const int code : codes)
    if (code != TFOPT_BAD_ARGUMENT || !std::strstr(message, says)) {
      std::printf("expected a refusal that names %s, got %d: %s\n", says, code, message);
      std::exit(1);
    }
}

void refuse(const Fault& fault, bool forward) {
  const Case c = {"faults", tfopt::kFloat, kGroups, false};
  Problem p(c);
  Steps steps(c, p, p.upstream);
  const Buffer y = p.y.copy(), upstream = p.upstream.copy();
  fault.make(steps);
  expect_refusal(fault.says, [&](char* to, size_t size) {
    return forward ? tfopt_cuda_normalize(&steps.forward, nullptr, to, size)
                   : tfopt_cuda_normalize_backward(&steps.backward, nullptr, to, size);
  });
  if (!p.y.same(y) || !p.upstream.same(upstream)) fail("refused, but something was written");
}

void check_faults() {
  for (const Fault& fault : kFaults) refuse(fault, true), refuse(fault, false);
  for (const Fault& fault : kForwardFaults) refuse(fault, true);
  for (const Fault& fault : kBackwardFaults) refuse(fault, false);
  expect_refusal("no normalisation",
                 [](char* to, size_t size) { return tfopt_cuda_normalize(nullptr, nullptr, to, size); });
  expect_refusal("no normalisation",
                 [](char* to, size_t size) { return tfopt_cuda_normalize_backward(nullptr, nullptr, to, size); });
  const tfopt_geometry wrong = {2, 30, 4, 2, 7, 1};
  for (const tfopt_geometry* geometry : {static_cast<const tfopt_geometry*>(nullptr), &wrong})
    if (tfopt_cuda_normalize_workspace(geometry) || tfopt_cuda_normalize_backward_workspace(geometry))
      fail("a workspace for a wrong geometry");
}

}  // namespace

int main() {
  check_faults();
  check_divisions();
  // Held, as columns, as stretches.
  for (const Geometry& is : {Geometry{3, 1, 2, 1500, 3000, 1}, {3, 70, 4, 2, 8, 1}, {2, 1, 2, 9000, 4, 4500}}) {
    check_extremes(is);
    check_nan(is);
  }
  for (const Geometry& is : {Geometry{3, 1, 1, 8000, 8000, 1}, {2, 9000, 4, 2, 8, 1}, {2, 1, 2, 90000, 4, 45000}})
    check_outlier(is);
  Seen seen;
  int cases = 0;
  for (const Geometry& is : kGeometries) cases += check_all(is, seen);
  for (const Geometry& is : kMore) cases += check_all(is, seen);
  if (!seen.all()) fail("not every way of dividing was seen");
  std::printf("%d cases\n", cases);
}
