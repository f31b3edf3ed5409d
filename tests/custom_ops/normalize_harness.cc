// Normalises, forward and backward, without TensorFlow and on several threads, for builds with sanitizers, and compares
// with the formulas in double. Exit code 1 names the first difference.
#include <thread>

#include "custom_ops/norm/backward.h"
#include "custom_ops/norm/forward.h"
#include "normalize_reference.h"

namespace {

constexpr int kThreads = 3;
// So large that results go past the caches: floats in rows of odd lengths, and by columns, and bfloat16 in both.
const tfopt::Geometry kLarge[] = {{2100, 1, 1, 1001, 1001, 1}, {1, 190700, 11, 1, 11, 1}},
                      kLargeHalves[] = {{4200, 1, 1, 1001, 1001, 1}, {1, 381400, 11, 1, 11, 1}};

template <class Plan>
void run(Plan& plan) {
  const auto share = [&plan](auto work) {
    std::vector<std::thread> threads;
    for (int k = 0; k < kThreads; ++k)
      threads.emplace_back([&plan, work, k] { work(k * plan.parts() / kThreads, (k + 1) * plan.parts() / kThreads); });
    for (std::thread& thread : threads) thread.join();
  };
  share([&plan](int64_t begin, int64_t end) { plan.start(begin, end); });
  plan.settle();
  if (!plan.whole()) share([&plan](int64_t begin, int64_t end) { plan.finish(begin, end); });
}

void check(const tfopt::Table& table, const Case& c) {
  Problem p(c);
  const auto floats = Problem::floats;
  tfopt::NormalizePlan forward(table, p.is, {c.type, p.x.data(), floats(p.gamma), floats(p.beta), kEpsilon},
                               {p.y.data(), floats(p.mean), floats(p.variance)});
  run(forward);
  p.compare_forward();
  // Where shifted, ∇x takes the place of ∇y.
  Buffer upstream = p.upstream.copy();
  Buffer& by_x = c.shifted ? upstream : p.y;
  tfopt::NormalizeBackwardPlan backward(
      table, p.is,
      {c.type, p.x.data(), upstream.data(), floats(p.gamma), floats(p.mean), floats(p.variance), kEpsilon},
      {by_x.data(), floats(p.by_gamma), floats(p.by_beta)});
  run(backward);
  p.compare_gradients(by_x);
}

int check_all(const tfopt::Table& table, tfopt::Type type, const tfopt::Geometry& is) {
  if (const char* reason = is.refused()) {
    std::printf("refused: %s\n", reason);
    std::exit(1);
  }
  for (const bool shifted : {false, true}) check(table, {table.instructions, type, is, shifted});
  return 2;
}

}  // namespace

int main() {
  int cases = 0;
  for (int k = 0; k < tfopt::kTableCount; ++k) {
    const tfopt::Table& table = *tfopt::kTables[k];
    if (!tfopt::use_instructions(table.instructions)) continue;
    for (const tfopt::Type type : {tfopt::kFloat, tfopt::kHalf, tfopt::kBfloat16})
      for (const tfopt::Geometry& is : kGeometries) cases += check_all(table, type, is);
    for (const tfopt::Geometry& is : kLarge) cases += check_all(table, tfopt::kFloat, is);
    for (const tfopt::Geometry& is : kLargeHalves) cases += check_all(table, tfopt::kBfloat16, is);
  }
  std::printf("%d cases\n", cases);
}
