// Runs every rule, and the norms, without TensorFlow, on buffers of exactly their size, for a build with sanitizers, and
// compares with the same rule in double, element by element. Exit code 1 names the first difference.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "custom_ops/apply/apply.h"
#include "custom_ops/apply/half.h"
#include "custom_ops/apply/norm.h"
#include "custom_ops/rules/rules.h"

namespace {

using tfopt::Type;

// The rule by name, one element at a time, in double; returns the iterate.
using Reference = double (*)(double g, double& p, double* slots, const tfopt::Step& step);

template <class R>
double reference(double g, double& p, double* slots, const tfopt::Step& step) {
  using Slots = typename R::template Slots<double>;
  using Scalars = typename R::template Scalars<double>;
  Slots& state = *reinterpret_cast<Slots*>(slots);
  const Scalars& now = *reinterpret_cast<const Scalars*>(step.scalars);
  if constexpr (R::kLooksAhead) p -= R::template ahead<double>(state, now);
  p *= step.keep;
  R::template update<double>(g * step.factor, p, state, now);
  const double iterate = p;
  if constexpr (R::kLooksAhead)
    p += R::template ahead<double>(state, *reinterpret_cast<const Scalars*>(step.following));
  return iterate;
}

const Reference kReferences[] = {
#define TFOPT_RULE(name, Struct) reference<tfopt::Struct>,
#include "custom_ops/rules/index.inc"
#undef TFOPT_RULE
};

// Numbers in (-1, 1) that are the same everywhere.
double random_number() {
  static uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<double>(static_cast<int64_t>(state) >> 11) * 0x1p-52;
}

// A buffer of one type, exactly as long as its elements.
struct Buffer {
  Type type;
  std::vector<char> bytes;

  Buffer(Type type, int64_t n) : type(type), bytes(n * tfopt::size_of(type)) {}

  double get(int64_t i) const {
    const void* at = bytes.data() + i * tfopt::size_of(type);
    switch (type) {
      case tfopt::kDouble: return *static_cast<const double*>(at);
      case tfopt::kFloat: return *static_cast<const float*>(at);
      case tfopt::kHalf: return tfopt::half_to_float(*static_cast<const uint16_t*>(at));
      default: return tfopt::bfloat16_to_float(*static_cast<const uint16_t*>(at));
    }
  }

  void set(int64_t i, double x) {
    void* at = bytes.data() + i * tfopt::size_of(type);
    switch (type) {
      case tfopt::kDouble: *static_cast<double*>(at) = x; break;
      case tfopt::kFloat: *static_cast<float*>(at) = static_cast<float>(x); break;
      case tfopt::kHalf: *static_cast<uint16_t*>(at) = tfopt::float_to_half(static_cast<float>(x)); break;
      default: *static_cast<uint16_t*>(at) = tfopt::float_to_bfloat16(static_cast<float>(x));
    }
  }
};

struct Case {
  const tfopt::Table& table;
  int rule;
  Type weight, gradient;
  bool averaged, accumulated, by_rows;
  double bound;
};

[[noreturn]] void differ(const Case& c, const char* what, int64_t i, double got, double expected) {
  std::printf("%s %s, weights %d, gradients %d, averaged %d, accumulated %d, rows %d, bound %g: %s[%ld] is %.9g, "
              "expected %.9g\n",
              c.table.instructions, c.table.rules[c.rule].name, c.weight, c.gradient, c.averaged, c.accumulated,
              c.by_rows, c.bound, what, static_cast<long>(i), got, expected);
  std::exit(1);
}

void compare(const Case& c, const char* what, int64_t i, double got, double expected, Type type) {
  const double roundings[] = {2e-5, 1e-13, 2e-3, 1.6e-2};
  if (!(std::fabs(got - expected) <= roundings[type] * (1 + std::fabs(expected)))) differ(c, what, i, got, expected);
}

// One variable with all that belongs to it, and what it should become.
struct Row {
  std::vector<int64_t> indices;
  Buffer gradient, weight, average, accumulator;
  std::vector<tfopt::Rows> rows;  // none, or one
  std::vector<Buffer> slots;
  std::vector<double> expected_gradient, expected_weight, expected_average;
  std::vector<std::vector<double>> expected_slots;

  tfopt::Gradient source() {
    return {gradient.bytes.data(), rows.empty() ? nullptr : rows.data(),
            accumulator.bytes.empty() ? nullptr : accumulator.bytes.data()};
  }
};

// Rows of `length` elements for a variable of n: some of them, in any order, one of them several times.
std::vector<int64_t> some_rows(int64_t n, int64_t length) {
  std::vector<int64_t> made;
  for (int64_t row = n / length - 1; row >= 0; row -= 3) made.push_back(row);
  if (!made.empty()) made.insert(made.end(), {made.front(), made.back(), made.front()});
  return made;
}

// The whole gradient, before it is multiplied and cut off.
void draw_gradient(const Case& c, Row& row, int64_t n, int64_t length) {
  const int64_t given = c.by_rows ? static_cast<int64_t>(row.indices.size()) * length : n;
  row.expected_gradient.assign(n, 0);
  for (int64_t i = 0; i < given; ++i) {
    row.gradient.set(i, random_number());
    row.expected_gradient[c.by_rows ? row.indices[i / length] * length + i % length : i] += row.gradient.get(i);
  }
  if (!c.accumulated) return;
  for (int64_t i = 0; i < n; ++i) {
    row.accumulator.set(i, random_number());
    row.expected_gradient[i] += row.accumulator.get(i);
  }
}

// One step of element i, in double.
void expect(const Case& c, Row& row, int64_t i, const tfopt::Step& step, double rate) {
  const int count = c.table.rules[c.rule].slots;
  row.weight.set(i, random_number());
  double p = row.weight.get(i), slots[tfopt::kMostSlots] = {};
  for (int k = 0; k < count; ++k) {
    row.slots[k].set(i, 0.5 + 0.5 * random_number() * random_number());
    slots[k] = row.slots[k].get(i);
  }
  tfopt::Step rest = step;
  rest.factor = 1;
  const double g = std::max(-c.bound, std::min(c.bound, row.expected_gradient[i] * step.factor));
  const double iterate = kReferences[c.rule](g, p, slots, rest);
  row.expected_weight.push_back(p);
  for (int k = 0; k < count; ++k) row.expected_slots[k].push_back(slots[k]);
  if (!c.averaged) return;
  row.average.set(i, random_number());
  row.expected_average.push_back(row.average.get(i) + (iterate - row.average.get(i)) * rate);
}

Row make_row(const Case& c, int64_t n, const tfopt::Step& step, double rate) {
  const Type compute = tfopt::compute_type(c.weight);
  const int count = c.table.rules[c.rule].slots;
  const int64_t length = n % 5 ? n % 3 ? 1 : 3 : n == 2500 ? 1250 : 5;
  const std::vector<int64_t> indices = c.by_rows ? some_rows(n, length) : std::vector<int64_t>();
  const int64_t given = c.by_rows ? static_cast<int64_t>(indices.size()) * length : n;
  Row row{indices, {c.gradient, given}, {c.weight, n}, {compute, c.averaged ? n : 0},
          {compute, c.accumulated ? n : 0}, {}, {}, {}, {}, {}, {}};
  if (c.by_rows) row.rows.emplace_back(indices.data(), static_cast<int64_t>(indices.size()), length);
  for (int k = 0; k < count; ++k) row.slots.emplace_back(compute, n);
  row.expected_slots.resize(count);
  draw_gradient(c, row, n, length);
  for (int64_t i = 0; i < n; ++i) expect(c, row, i, step, rate);
  return row;
}

void check_row(const Case& c, const Row& row) {
  const Type compute = tfopt::compute_type(c.weight);
  for (size_t i = 0; i < row.expected_weight.size(); ++i) {
    compare(c, "weight", i, row.weight.get(i), row.expected_weight[i], c.weight);
    for (size_t k = 0; k < row.slots.size(); ++k)
      compare(c, "slot", i, row.slots[k].get(i), row.expected_slots[k][i], compute);
    if (c.averaged) compare(c, "average", i, row.average.get(i), row.expected_average[i], compute);
    if (c.accumulated) compare(c, "accumulator", i, row.accumulator.get(i), 0, compute);
  }
}

// The norms before the update: the gradients' sums, before they are multiplied and cut off.
void check_norms(const Case& c, std::vector<Row>& rows) {
  tfopt::NormPlan plan(c.table, c.gradient);
  std::vector<tfopt::Rows> compact;
  compact.reserve(rows.size());
  double squares = 0;
  for (Row& row : rows) {
    tfopt::Gradient gradient = row.source();
    int64_t size = row.expected_gradient.size();
    if (gradient.rows && !gradient.accumulator) {
      compact.push_back(gradient.rows->compact());
      gradient.rows = &compact.back();
      size = compact.back().rows() * compact.back().length();
    }
    plan.add(gradient, size);
  }
  for (int64_t block = plan.blocks(); block > 0; --block) plan.run(block - 1, block);
  for (size_t k = 0; k < rows.size(); ++k) {
    double own = 0;
    for (const double g : rows[k].expected_gradient) own += g * g;
    squares += own;
    compare(c, "norm", k, plan.norm(k), std::sqrt(own), c.weight);
  }
  compare(c, "norm of all", 0, plan.global_norm(), std::sqrt(squares), c.weight);
}

void run(const Case& c) {
  const int64_t sizes[] = {0, 1, 7, 8, 9, 0, 15, 16, 17, 33, 1023, 1024, 1025, 2500, 0};
  const double scalars[tfopt::kMostScalars] = {0.3, 0.2, 0.7, 0.4, 0.1, 0.6, 0.8, 0.9};
  const double following[tfopt::kMostScalars] = {0.4, 0.1, 0.5, 0.6, 0.2, 0.3, 0.7, 0.8};
  const double rate = 0.25;
  const tfopt::Step step = {scalars, following, 0.9, 0.5};
  std::vector<Row> rows;
  for (const int64_t n : sizes) rows.push_back(make_row(c, n, step, rate));
  check_norms(c, rows);
  tfopt::Plan plan(c.table, c.rule, c.weight, c.gradient, rate, c.bound);
  for (Row& row : rows) {
    tfopt::Variable variable;
    variable.gradient = row.source();
    variable.weight = row.weight.bytes.data();
    for (size_t k = 0; k < row.slots.size(); ++k) variable.slots[k] = row.slots[k].bytes.data();
    if (c.averaged) variable.average = row.average.bytes.data();
    variable.step = step;
    plan.add(variable, row.expected_weight.size());
  }
  // In pieces that begin and end anywhere.
  for (int64_t begin = 0; begin < plan.size(); begin += 711) plan.run(begin, std::min(plan.size(), begin + 711));
  for (const Row& row : rows) check_row(c, row);
}

// All ways to give a gradient.
int run_all(const tfopt::Table& table, int rule, Type weight, Type gradient, bool averaged) {
  int cases = 0;
  for (const bool accumulated : {false, true})
    for (const bool by_rows : {false, true}) {
      run({table, rule, weight, gradient, averaged, accumulated, by_rows, cases % 2 ? 0.2 : HUGE_VAL});
      ++cases;
    }
  return cases;
}

// Every half and every bfloat16 survives the way through float; of the floats between, the nearest is taken.
template <class Widen, class Narrow>
void check_conversion(const char* name, Widen widen, Narrow narrow, uint16_t infinity) {
  for (uint32_t x = 0; x < 65536; ++x) {
    const bool nan = (x & 0x7fffu) > infinity;
    const float wide = widen(static_cast<uint16_t>(x));
    if (nan ? !(wide != wide) : narrow(wide) != x) {
      std::printf("%s %#x comes back as %#x\n", name, x, narrow(wide));
      std::exit(1);
    }
    if (nan || (x & 0x7fffu) >= infinity - 1u) continue;
    const float next = widen(static_cast<uint16_t>(x + 1)), middle = wide + (next - wide) / 2;
    const uint16_t even = x & 1u ? x + 1 : x;
    if (narrow(middle) != even || narrow(std::nextafter(middle, wide)) != x ||
        narrow(std::nextafter(middle, next)) != x + 1) {
      std::printf("%s %#x: floats beyond it are not rounded to the nearest\n", name, x);
      std::exit(1);
    }
  }
}

}  // namespace

int main() {
  check_conversion("half", [](uint16_t x) { return tfopt::half_to_float(x); },
                   [](float x) { return tfopt::float_to_half(x); }, 0x7c00u);
  check_conversion("bfloat16", [](uint16_t x) { return tfopt::bfloat16_to_float(x); },
                   [](float x) { return tfopt::float_to_bfloat16(x); }, 0x7f80u);
  int cases = 0;
  for (int k = 0; k < tfopt::kTableCount; ++k) {
    const tfopt::Table& table = *tfopt::kTables[k];
    if (!tfopt::use_instructions(table.instructions)) continue;
    for (int rule = 0; rule < table.count; ++rule)
      for (const Type weight : {tfopt::kFloat, tfopt::kDouble, tfopt::kHalf, tfopt::kBfloat16})
        for (const Type gradient : {weight, tfopt::compute_type(weight)})
          for (const bool averaged : {false, true}) cases += run_all(table, rule, weight, gradient, averaged);
  }
  std::printf("%d cases\n", cases);
}
