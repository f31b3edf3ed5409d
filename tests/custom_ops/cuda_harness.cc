// Runs the work of the CUDA kernels in loops, without a GPU, for a build with sanitizers. Weights and slots must
// be those of the CPU kernels bit for bit, averages those of the rule. Exit code 1 names the first difference.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "custom_ops/apply/apply.h"
#include "custom_ops/apply/cuda/api.h"
#include "custom_ops/apply/cuda/norm.h"
#include "custom_ops/apply/cuda/update.h"
#include "custom_ops/rules/facts.h"
#include "tests/custom_ops/buffer.h"

namespace {

using tfopt::Type;

constexpr int kManyGroups = 2 * tfopt::cuda::kGroups + 3;

struct Case {
  int rule;
  Type weight, gradient;
  bool gradients, averages, accumulators;
  bool shifted;      // one buffer of each variable
  int groups, factors;
  double bound, average_rate;
  std::vector<int64_t> sizes;
};

[[noreturn]] void fail(const Case& c, const std::string& what, size_t variable) {
  std::printf("%s, weights %d, gradients %d (%d), averages %d, accumulators %d, shifted %d: %s of variable %zu\n",
              tfopt::kRuleFacts[c.rule].name, c.weight, c.gradient, c.gradients, c.averages, c.accumulators,
              c.shifted, what.c_str(), variable);
  std::exit(1);
}

// The iterate by the rule alone, one element, in the type A.
template <class A>
using Iterate = A (*)(A g, A p, const A* slots, const tfopt::Step& step, double bound);

template <class R, class A>
A iterate(A g, A p, const A* slots, const tfopt::Step& step, double bound) {
  typename R::template Slots<A> state;
  typename R::template Scalars<A> now;
  for (int k = 0; k < R::kSlots; ++k) reinterpret_cast<A*>(&state)[k] = slots[k];
  for (int k = 0; k < R::kScalars; ++k) reinterpret_cast<A*>(&now)[k] = static_cast<A>(step.scalars[k]);
  if constexpr (R::kLooksAhead) p = p - R::template ahead<A>(state, now);
  p = p * static_cast<A>(step.keep);
  g = g * static_cast<A>(step.factor);
  R::template update<A>(std::fmin(std::fmax(g, static_cast<A>(-bound)), static_cast<A>(bound)), p, state, now);
  return p;
}

template <class A>
const Iterate<A> kIterates[] = {
#define TFOPT_RULE(name, Struct) iterate<tfopt::Struct, A>,
#include "custom_ops/rules/index.inc"
#undef TFOPT_RULE
};

// A variable as the GPU's kernels and as the CPU's are to update it.
struct Row {
  Buffer gradient, weight, average, accumulator;
  std::vector<Buffer> slots;
  Buffer plain_gradient, plain_weight, expected_average;
  std::vector<Buffer> plain_slots;
  tfopt::Step step;
};

// What the accumulator holds in addition to the gradient, for kernels that know gradients only.
Buffer total_gradient(const Case& c, const Row& row) {
  if (!c.accumulators) return row.gradient.copy();
  Buffer total(tfopt::compute_type(c.weight), row.weight.size());
  for (int64_t i = 0; i < total.size(); ++i)
    total.set(i, (c.gradients ? row.gradient.get(i) : 0.0) + row.accumulator.get(i));
  return total;
}

template <class A>
void expect_average(const Case& c, Row& row) {
  for (int64_t i = 0; i < row.weight.size(); ++i) {
    A slots[tfopt::kMostSlots] = {};
    for (size_t k = 0; k < row.slots.size(); ++k) slots[k] = static_cast<A>(row.slots[k].get(i));
    const A p = kIterates<A>[c.rule](static_cast<A>(row.plain_gradient.get(i)), static_cast<A>(row.weight.get(i)),
                                     slots, row.step, c.bound);
    const A old = static_cast<A>(row.average.get(i));
    row.expected_average.set(i, tfopt::toward(old, p, static_cast<A>(c.average_rate)));
  }
}

Row make_row(const Case& c, size_t variable, const tfopt::Step& step) {
  const Type compute = tfopt::compute_type(c.weight);
  const int count = tfopt::kRuleFacts[c.rule].slots;
  const int64_t n = c.sizes[variable];
  const auto shifted = [&](size_t which) { return c.shifted && variable % (count + 4) == which; };
  Row row{Buffer(c.gradient, n, shifted(0)), Buffer(c.weight, n, shifted(1)), Buffer(compute, n, shifted(2)),
          Buffer(compute, n, shifted(3)), {}, Buffer(compute, 0), Buffer(compute, 0), Buffer(compute, n), {}, step};
  for (int k = 0; k < count; ++k) {
    row.slots.emplace_back(compute, n, shifted(4 + k));
    for (int64_t i = 0; i < n; ++i) row.slots[k].set(i, 0.5 + 0.5 * random_number());
    row.plain_slots.push_back(row.slots[k].copy());
  }
  row.plain_gradient = total_gradient(c, row);
  row.plain_weight = row.weight.copy();
  c.weight == tfopt::kDouble ? expect_average<double>(c, row) : expect_average<float>(c, row);
  return row;
}

void update_on_cpu(const Case& c, std::vector<Row>& rows) {
  const Type gradient = c.accumulators ? tfopt::compute_type(c.weight) : c.gradient;
  tfopt::Plan plan(tfopt::table(), c.rule, c.weight, gradient, 0, c.bound);
  for (Row& row : rows) {
    tfopt::Variable one;
    one.gradient.values = row.plain_gradient.data();
    one.weight = row.plain_weight.data();
    for (size_t k = 0; k < row.slots.size(); ++k) one.slots[k] = row.plain_slots[k].data();
    one.step = row.step;
    plan.add(one, row.weight.size());
  }
  plan.run(0, plan.size());
}

void check(const Case& c, const std::vector<Row>& rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    if (!row.weight.same(row.plain_weight)) fail(c, "weight", i);
    for (size_t k = 0; k < row.slots.size(); ++k)
      if (!row.slots[k].same(row.plain_slots[k])) fail(c, "slot", i);
    if (c.averages && !row.average.same(row.expected_average)) fail(c, "average", i);
    for (int64_t k = 0; c.accumulators && k < row.weight.size(); ++k)
      if (row.accumulator.get(k) != 0) fail(c, "accumulator", i);
  }
}

// Everything a step of `groups` groups takes, each with its own numbers.
struct Numbers {
  std::vector<double> scalars, following, keep, factors;

  Numbers(const Case& c) {
    const int count = tfopt::kRuleFacts[c.rule].scalars;
    for (int k = 0; k < c.groups * count; ++k) {
      scalars.push_back(0.5 + 0.4 * random_number());
      following.push_back(0.5 + 0.4 * random_number());
    }
    for (int k = 0; k < c.groups; ++k) keep.push_back(0.9 + 0.1 * random_number());
    for (int k = 0; k < c.factors; ++k) factors.push_back(0.5 + 0.4 * random_number());
  }
};

void run(const Case& c) {
  const Numbers numbers(c);
  std::vector<Row> rows;
  std::vector<tfopt_tensor> tensors;
  for (size_t i = 0; i < c.sizes.size(); ++i) {
    const int group = static_cast<int>(i * 7 % c.groups), at = group * tfopt::kRuleFacts[c.rule].scalars;
    const double own = 0.5 + 0.1 * static_cast<double>(i % 3);
    const double factor = c.factors ? own * numbers.factors[c.factors > 1 ? i : 0] : own;
    rows.push_back(make_row(c, i, {&numbers.scalars[at], &numbers.following[at], numbers.keep[group], factor}));
    const Row& row = rows.back();
    tensors.push_back({c.gradients ? row.gradient.data() : nullptr, row.weight.data(), {},
                       c.averages ? row.average.data() : nullptr,
                       c.accumulators ? row.accumulator.data() : nullptr, row.weight.size(), own, group});
    for (size_t k = 0; k < row.slots.size(); ++k) tensors.back().slots[k] = row.slots[k].data();
  }
  const tfopt_update update = {tfopt::kRuleFacts[c.rule].name, c.weight, c.gradient,
                               static_cast<int32_t>(tensors.size()), c.groups, tensors.data(),
                               numbers.scalars.data(), numbers.following.data(), numbers.keep.data(), c.average_rate, c.bound,
                               numbers.factors.data(), c.factors};
  char message[200];
  if (tfopt_cuda_update(&update, nullptr, message, sizeof message)) fail(c, message, 0);
  update_on_cpu(c, rows);
  check(c, rows);
}

// Of weights and gradients: all that compute in the same.
const std::pair<Type, Type> kTypes[] = {
    {tfopt::kFloat, tfopt::kFloat},        {tfopt::kFloat, tfopt::kHalf},        {tfopt::kFloat, tfopt::kBfloat16},
    {tfopt::kDouble, tfopt::kDouble},      {tfopt::kHalf, tfopt::kHalf},         {tfopt::kHalf, tfopt::kFloat},
    {tfopt::kHalf, tfopt::kBfloat16},      {tfopt::kBfloat16, tfopt::kBfloat16}, {tfopt::kBfloat16, tfopt::kFloat},
    {tfopt::kBfloat16, tfopt::kHalf},
};

int run_every_rule() {
  const int64_t chunk = tfopt::cuda::kChunk;
  const std::vector<int64_t> sizes = {0, 1, 3, 4, 5, 8, 9, 0, 1023, chunk - 1, chunk, chunk + 1, 2 * chunk + 17, 0};
  const std::vector<int64_t> many(2 * tfopt::cuda::kTensors + 5, 3);
  const int own = static_cast<int>(sizes.size());
  int cases = 0;
  for (int rule = 0; rule < tfopt::cuda::kRules; ++rule)
    for (const auto& [weight, gradient] : kTypes) {
      for (const bool shifted : {false, true}) {
        run({rule, weight, gradient, true, false, false, shifted, 2, 0, HUGE_VAL, 0, sizes});
        run({rule, weight, gradient, true, true, true, shifted, 1, 1, 0.2, 1, sizes});
        run({rule, weight, gradient, false, true, true, shifted, 2, own, HUGE_VAL, 0.25, sizes});
        cases += 3;
      }
      run({rule, weight, gradient, true, false, false, false, kManyGroups, static_cast<int>(many.size()), 0.2, 0,
           many});
      ++cases;
    }
  return cases;
}

// -- The norm --------------------------------------------------------------------------------------------

void expect_number(const char* what, double got, double expected) {
  const bool same = got == expected || (std::isnan(got) && std::isnan(expected));
  if (same || std::fabs(got - expected) <= 1e-14 * std::fabs(expected)) return;
  std::printf("norms: %s is %.17g, expected %.17g\n", what, got, expected);
  std::exit(1);
}

double root_of_squares(Type type, const Buffer& values, const Buffer* accumulator, long double& total) {
  long double sum = 0;
  for (int64_t i = 0; i < values.size(); ++i) {
    double x = values.get(i) + (accumulator ? accumulator->get(i) : 0);
    if (type != tfopt::kDouble) x = static_cast<float>(x);
    sum += static_cast<long double>(x) * x;
  }
  total += sum;
  return static_cast<double>(std::sqrt(sum));
}

void check_norms(Type type, const std::vector<Buffer>& buffers, const std::vector<Buffer>& accumulators,
                 double limit) {
  long double total = 0;
  std::vector<tfopt_values> values;
  std::vector<double> expected;
  for (size_t i = 0; i < buffers.size(); ++i) {
    const Buffer* accumulator = accumulators.empty() ? nullptr : &accumulators[i];
    values.push_back({buffers[i].data(), accumulator ? accumulator->data() : nullptr, buffers[i].size()});
    expected.push_back(root_of_squares(type, buffers[i], accumulator, total));
  }
  const int32_t count = static_cast<int32_t>(values.size());
  std::vector<double> workspace(tfopt_cuda_norms_workspace(values.data(), count), -1), each(count, -1);
  double norm = -1, factor = -1;
  char message[200];
  const tfopt_norms norms = {type, count, values.data(), workspace.data(), static_cast<int64_t>(workspace.size()),
                             &norm, each.data(), &factor, limit};
  if (tfopt_cuda_norms(&norms, nullptr, message, sizeof message)) {
    std::printf("norms: %s\n", message);
    std::exit(1);
  }
  const double all = static_cast<double>(std::sqrt(total));
  expect_number("the norm of all", norm, all);
  expect_number("the factor", factor, std::isfinite(all) ? limit / std::fmax(limit, all) : NAN);
  for (int32_t i = 0; i < count; ++i) expect_number("a norm", each[i], expected[i]);
}

void run_norms() {
  for (const Type type : {tfopt::kFloat, tfopt::kDouble, tfopt::kHalf, tfopt::kBfloat16}) {
    std::vector<Buffer> buffers, accumulators;
    check_norms(type, buffers, {}, 2);
    for (const int64_t n : {0, 1, 7, 4096, 4097, 0, 9000, 4096 * tfopt::cuda::kThreads + 5, 0}) {
      buffers.emplace_back(type, n, n % 2 == 1);
      accumulators.emplace_back(tfopt::compute_type(type), n, n == 4096);
    }
    check_norms(type, buffers, {}, 2);
    check_norms(type, buffers, accumulators, 1e6);
    if (type == tfopt::kDouble) {
      for (int64_t i = 0; i < 9000; i += 2) buffers[6].set(i, 1e200);
      check_norms(type, buffers, accumulators, 1);
    }
    for (int k = 0; k < 2 * tfopt::cuda::kNormTensors; ++k) buffers.emplace_back(type, k % 5);
    check_norms(type, buffers, {}, 2);
    for (const double odd : {INFINITY, NAN}) {
      buffers[3].set(100, odd);
      check_norms(type, buffers, {}, 2);
    }
  }
}

// -- Bad arguments ---------------------------------------------------------------------------------------

struct Step {
  Buffer gradient{tfopt::kFloat, 5}, weight{tfopt::kFloat, 5}, first{tfopt::kFloat, 5}, second{tfopt::kFloat, 5};
  double scalars[4] = {0.1, 0.1, 0.1, 0.1}, keep = 1, factors[2] = {1, 1};
  tfopt_tensor tensor = {gradient.data(), weight.data(), {first.data(), second.data(), nullptr}, nullptr, nullptr, 5,
                         1, 0};
  tfopt_update update = {"adam", TFOPT_FLOAT, TFOPT_FLOAT, 1, 1, &tensor, scalars, nullptr, &keep, 0, 1, nullptr, 0};
};

void* odd(const Buffer& buffer) { return buffer.data() + 1; }

struct Fault {
  const char* says;
  void (*make)(Step& step);
};

const Fault kFaults[] = {
    {"rule", [](Step& s) { s.update.rule = nullptr; }},
    {"rule", [](Step& s) { s.update.rule = "no such rule"; }},
    {"weight_type", [](Step& s) { s.update.weight_type = 4; }},
    {"weight_type", [](Step& s) { s.update.weight_type = -1; }},
    {"gradient_type", [](Step& s) { s.update.gradient_type = TFOPT_DOUBLE; }},
    {"gradient_type", [](Step& s) { s.update.gradient_type = 4; }},
    {"bound", [](Step& s) { s.update.bound = -1; }},
    {"bound", [](Step& s) { s.update.bound = NAN; }},
    {"tensor_count", [](Step& s) { s.update.tensor_count = -1; }},
    {"group_count", [](Step& s) { s.update.group_count = -1; }},
    {"tensors", [](Step& s) { s.update.tensors = nullptr; }},
    {"scalars", [](Step& s) { s.update.scalars = nullptr; }},
    {"scalars", [](Step& s) { s.scalars[3] = NAN; }},
    {"keep", [](Step& s) { s.update.keep = nullptr; }},
    {"keep", [](Step& s) { s.keep = INFINITY; }},
    {"average_rate", [](Step& s) { s.update.average_rate = NAN; }},
    {"factor_count", [](Step& s) { s.update.factor_count = 2; }},
    {"factors", [](Step& s) { s.update.factor_count = 1; }},
    {"following", [](Step& s) { s.update.rule = "nadam_lookahead"; }},
    {"slot 2", [](Step& s) { s.update.rule = "nadam_lookahead", s.update.following = s.scalars; }},
    {"group", [](Step& s) { s.tensor.group = 1; }},
    {"group", [](Step& s) { s.tensor.group = -1; }},
    {"group", [](Step& s) { s.update.group_count = 0; }},
    {"size", [](Step& s) { s.tensor.size = -1; }},
    {"size", [](Step& s) { s.tensor.size = INT64_MAX; }},
    {"gradient", [](Step& s) { s.tensor.gradient = nullptr; }},
    {"gradient", [](Step& s) { s.tensor.gradient = odd(s.gradient); }},
    {"weight", [](Step& s) { s.tensor.weight = nullptr; }},
    {"weight", [](Step& s) { s.tensor.weight = odd(s.weight); }},
    {"slot 1", [](Step& s) { s.tensor.slots[1] = nullptr; }},
    {"slot 0", [](Step& s) { s.tensor.slots[0] = odd(s.first); }},
    {"average", [](Step& s) { s.tensor.average = odd(s.first); }},
    {"accumulator", [](Step& s) { s.tensor.accumulator = odd(s.first); }},
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

void run_update_faults() {
  for (const Fault& fault : kFaults) {
    Step step;
    const Buffer before = step.weight.copy();
    fault.make(step);
    expect_refusal(fault.says,
                   [&](char* to, size_t size) { return tfopt_cuda_update(&step.update, nullptr, to, size); });
    if (!step.weight.same(before)) {
      std::printf("%s: refused, but the weight has changed\n", fault.says);
      std::exit(1);
    }
  }
  expect_refusal("update", [](char* to, size_t size) { return tfopt_cuda_update(nullptr, nullptr, to, size); });
}

struct NormsCall {
  Buffer buffer{tfopt::kFloat, 3};
  double workspace[4], norm, each, factor;
  tfopt_values values = {buffer.data(), nullptr, 3};
  tfopt_norms norms = {TFOPT_FLOAT, 1, &values, workspace, 4, &norm, &each, &factor, 1};
};

const struct {
  const char* says;
  void (*make)(NormsCall& call);
} kNormFaults[] = {
    {"type", [](NormsCall& c) { c.norms.type = 9; }},
    {"count", [](NormsCall& c) { c.norms.count = -1; }},
    {"values", [](NormsCall& c) { c.norms.values = nullptr; }},
    {"limit", [](NormsCall& c) { c.norms.limit = NAN; }},
    {"workspace", [](NormsCall& c) { c.norms.workspace = nullptr; }},
    {"workspace_size", [](NormsCall& c) { c.norms.workspace_size = 3; }},
    {"norm", [](NormsCall& c) { c.norms.norm = nullptr; }},
    {"each", [](NormsCall& c) { c.norms.each = reinterpret_cast<double*>(odd(c.buffer)); }},
    {"factor", [](NormsCall& c) { c.norms.factor = reinterpret_cast<double*>(odd(c.buffer)); }},
    {"values", [](NormsCall& c) { c.values.values = nullptr; }},
    {"values", [](NormsCall& c) { c.values.values = odd(c.buffer); }},
    {"accumulator", [](NormsCall& c) { c.values.accumulator = odd(c.buffer); }},
    {"size", [](NormsCall& c) { c.values.size = -1; }},
    {"size", [](NormsCall& c) { c.values.size = INT64_MAX; }},
};

void run_norm_faults() {
  for (const auto& fault : kNormFaults) {
    NormsCall call;
    fault.make(call);
    expect_refusal(fault.says,
                   [&](char* to, size_t size) { return tfopt_cuda_norms(&call.norms, nullptr, to, size); });
  }
  expect_refusal("norms", [](char* to, size_t size) { return tfopt_cuda_norms(nullptr, nullptr, to, size); });
}

}  // namespace

namespace tfopt {
namespace baseline {
extern const Table kTable;
}
// One instruction set, to the last bit the same arithmetic.
const Table& table() { return baseline::kTable; }
}  // namespace tfopt

int main() {
  run_update_faults();
  run_norm_faults();
  run_norms();
  std::printf("%d cases\n", run_every_rule());
}
