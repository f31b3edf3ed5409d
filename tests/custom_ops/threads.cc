// Runs a step on several threads, for a build with ThreadSanitizer: ranges that do not overlap need no lock.
// Compares with one thread, bit by bit. With the argument "overlap" the ranges do overlap, which the sanitizer
// must report.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "custom_ops/apply/apply.h"

namespace {

using tfopt::Type;

constexpr int kThreads = 4;
// Odd sizes, so that pieces end inside variables; several variables lie in one piece, and pieces in one variable.
constexpr int64_t kSizes[] = {1, 5000, 0, 17, 3001, 1, 1, 2049};
constexpr double kScalars[tfopt::kMostScalars] = {0.3, 0.2, 0.7, 0.4, 0.1, 0.6, 0.8, 0.9};
constexpr double kFollowing[tfopt::kMostScalars] = {0.4, 0.1, 0.5, 0.6, 0.2, 0.3, 0.7, 0.8};

// All buffers of a step.
struct Buffers {
  std::vector<std::vector<char>> kept;

  void* add(Type type, int64_t n, double scale) {
    kept.emplace_back(n * tfopt::size_of(type));
    char* at = kept.back().data();
    for (int64_t i = 0; i < n; ++i) {
      const double x = scale * (i % 13 + 1);
      if (type == tfopt::kDouble) reinterpret_cast<double*>(at)[i] = x;
      if (type == tfopt::kFloat) reinterpret_cast<float*>(at)[i] = static_cast<float>(x);
      // Small positive numbers in either half precision.
      if (type == tfopt::kHalf || type == tfopt::kBfloat16)
        reinterpret_cast<uint16_t*>(at)[i] = static_cast<uint16_t>(0x3c00 + i % 13);
    }
    return at;
  }
};

tfopt::Plan make_plan(const tfopt::Table& table, int rule, Type weight, bool averaged, Buffers& buffers) {
  const Type compute = tfopt::compute_type(weight);
  tfopt::Plan plan(table, rule, weight, weight, 0.25);
  for (const int64_t n : kSizes) {
    tfopt::Variable variable;
    variable.gradient = {buffers.add(weight, n, 0.01)};
    variable.weight = buffers.add(weight, n, 0.1);
    for (int k = 0; k < table.rules[rule].slots; ++k) variable.slots[k] = buffers.add(compute, n, 0.05);
    if (averaged) variable.average = buffers.add(compute, n, 0.1);
    variable.step = {kScalars, kFollowing, 0.9, 0.5};
    plan.add(variable, n);
  }
  return plan;
}

// Every thread takes each kThreads-th piece, so that neighbours are always in different threads' hands.
void run_on_threads(const tfopt::Plan& plan, int64_t piece, int64_t overlap) {
  std::vector<std::thread> threads;
  for (int k = 0; k < kThreads; ++k)
    threads.emplace_back([&plan, piece, overlap, k] {
      for (int64_t begin = k * piece; begin < plan.size(); begin += kThreads * piece)
        plan.run(begin, std::min(plan.size(), begin + piece + overlap));
    });
  for (std::thread& thread : threads) thread.join();
}

void check(const tfopt::Table& table, int rule, Type weight, bool averaged, int64_t overlap) {
  Buffers alone, shared;
  const tfopt::Plan expected = make_plan(table, rule, weight, averaged, alone);
  const tfopt::Plan plan = make_plan(table, rule, weight, averaged, shared);
  expected.run(0, expected.size());
  run_on_threads(plan, 711, overlap);
  if (overlap || alone.kept == shared.kept) return;
  std::printf("%s %s, weights %d: threads change the result\n", table.instructions, table.rules[rule].name, weight);
  std::exit(1);
}

// Choosing the table while others ask for it is no race either.
void choose_while_others_ask() {
  std::vector<std::thread> threads;
  for (int k = 0; k < kThreads; ++k)
    threads.emplace_back([k] {
      for (int i = 0; i < 1000; ++i)
        if (k == 0) tfopt::use_instructions(i % 2 ? "baseline" : "");
        else if (!tfopt::table().count) std::exit(1);
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

int main(int count, char** arguments) {
  const int64_t overlap = count > 1 && !std::strcmp(arguments[1], "overlap") ? 8 : 0;
  choose_while_others_ask();
  int cases = 0;
  for (int k = 0; k < tfopt::kTableCount; ++k) {
    const tfopt::Table& table = *tfopt::kTables[k];
    if (!tfopt::use_instructions(table.instructions)) continue;
    for (int rule = 0; rule < table.count; ++rule)
      for (const Type weight : {tfopt::kFloat, tfopt::kDouble, tfopt::kHalf, tfopt::kBfloat16})
        for (const bool averaged : {false, true}) {
          check(table, rule, weight, averaged, overlap);
          ++cases;
        }
  }
  std::printf("%d cases\n", cases);
}
