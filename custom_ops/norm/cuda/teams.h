// Starts work on teams of threads that add up pairs of numbers, always in the same order. Without nvcc it runs here
// in loops, as in custom_ops/apply/cuda/launch.h.
#pragma once
#include <stdint.h>

#include <vector>

#include "custom_ops/apply/cuda/launch.h"

namespace tfopt {
namespace cuda {

struct alignas(16) Pair {
  double first, second;
};

TFOPT_ELEMENT void add(Pair& sum, const Pair& more) {
  sum.first += more.first;
  sum.second += more.second;
}

// What every pass begins with: the teams that there are, and the first of a launch.
struct Teams {
  int64_t first, teams;
};

#if defined(__CUDACC__)
constexpr int64_t kMostBlocks = int64_t{1} << 30;  // of a launch; a grid has a little more
#else
constexpr int64_t kMostBlocks = 100;  // so that tests start several launches
#endif

// Calls start(blocks) until all teams are started.
template <int kTeam, class Pass, class Start>
const char* start_launches(int64_t teams, Pass& pass, Start start) {
  constexpr int64_t kOfBlock = kThreads / kTeam;
  const char* fault = nullptr;
  pass.teams = teams;
  for (pass.first = 0; !fault && pass.first < teams; pass.first += kMostBlocks * kOfBlock) {
    const int64_t blocks = (teams - pass.first + kOfBlock - 1) / kOfBlock;
    fault = start(static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks));
  }
  return fault;
}

#if defined(__CUDACC__)

// The sum over a team, in all of its threads; `turn` counts the sums that a block has taken before.
template <int kTeam>
__device__ Pair team_sum(Pair sum, int64_t turn) {
  constexpr int kWarp = 32, kWarps = kTeam / kWarp;
  for (int distance = (kTeam < kWarp ? kTeam : kWarp) / 2; distance > 0; distance /= 2)
    add(sum, {__shfl_xor_sync(~0u, sum.first, distance), __shfl_xor_sync(~0u, sum.second, distance)});
  if constexpr (kWarps > 1) {
    // Two sets: no thread writes to one that others still read, with one barrier a turn.
    __shared__ Pair warps[2][kThreads / kWarp];
    const int warp = threadIdx.x / kWarp, first = warp / kWarps * kWarps;
    if (threadIdx.x % kWarp == 0) warps[turn % 2][warp] = sum;
    __syncthreads();
    sum = warps[turn % 2][first];
    for (int k = 1; k < kWarps; ++k) add(sum, warps[turn % 2][first + k]);
  }
  return sum;
}

template <int kTeam>
__device__ int64_t team_of(const Teams& pass) {
  return pass.first + int64_t{blockIdx.x} * (kThreads / kTeam) + threadIdx.x / kTeam;
}

// To have more than one block at a time nvcc would spill registers.
template <class Work, int kTeam, class Pass>
__global__ void __launch_bounds__(kThreads, 1) run_kernel(const __grid_constant__ Pass pass) {
  const int64_t team = team_of<kTeam>(pass);
  if (team < pass.teams) Work::run(pass, team, threadIdx.x % kTeam);
}

template <class Work, int kTeam, class Pass>
__global__ void __launch_bounds__(kThreads) total_kernel(const __grid_constant__ Pass pass) {
  const int64_t team = team_of<kTeam>(pass);
  const int thread = threadIdx.x % kTeam;
  Pair sum = {0, 0};
  if (team < pass.teams) sum = Work::sum(pass, team, thread);
  sum = team_sum<kTeam>(sum, 0);
  if (team < pass.teams && thread == 0) Work::finish(pass, team, sum);
}

template <class Work, class Pass>
__global__ void __launch_bounds__(kThreads, Work::kBlocks) held_kernel(const __grid_constant__ Pass pass) {
  const int64_t team = team_of<Work::kTeam>(pass);
  const int thread = threadIdx.x % Work::kTeam;
  typename Work::Own own = {};
  TFOPT_ROLLED
  for (int64_t step = 0; step < Work::steps(pass); ++step) {
    Pair sum = {0, 0};
    const bool there = team < pass.teams && Work::read(pass, team, step, thread, own, sum);
    sum = team_sum<Work::kTeam>(sum, step);
    if (there) Work::write(pass, team, step, thread, own, sum);
  }
  if (team < pass.teams) Work::finish(pass, team, thread, own);
}

template <class Work, class Pass>
__global__ void __launch_bounds__(kThreads) tile_kernel(const __grid_constant__ Pass pass) {
  __shared__ Pair shared[kThreads * Work::kWidth];
  const int64_t block = pass.first + blockIdx.x;
  Work::sum(pass, block, threadIdx.x, shared + threadIdx.x * Work::kWidth);
  __syncthreads();
  Work::finish(pass, block, threadIdx.x, shared);
}

#define TFOPT_START(kernel, team)                                                                        \
  start_launches<team>(teams, pass, [&](unsigned blocks) { return start_kernel<Pass>(kernel, blocks, pass, stream); })

// Work::run(pass, team, thread) for all of them; null, or what went wrong.
template <class Work, int kTeam, class Pass>
const char* start_runs(int64_t teams, Pass& pass, void* stream) {
  auto* const kernel = run_kernel<Work, kTeam, Pass>;
  return TFOPT_START(kernel, kTeam);
}

// Work::finish(pass, team, sum) with the sum of Work::sum(pass, team, thread) over a team.
template <class Work, int kTeam, class Pass>
const char* start_totals(int64_t teams, Pass& pass, void* stream) {
  auto* const kernel = total_kernel<Work, kTeam, Pass>;
  return TFOPT_START(kernel, kTeam);
}

// For each of Work::steps(pass) Work::read, which says whether there is anything and what it adds to a sum over the
// team, then Work::write with that sum; Work::finish at the end. `own` stays with a thread.
template <class Work, class Pass>
const char* start_held(int64_t teams, Pass& pass, void* stream) {
  auto* const kernel = held_kernel<Work, Pass>;
  return TFOPT_START(kernel, Work::kTeam);
}

// Work::sum writes the kWidth pairs of each thread, then Work::finish finds those of all threads of the block.
template <class Work, class Pass>
const char* start_tiles(int64_t teams, Pass& pass, void* stream) {
  auto* const kernel = tile_kernel<Work, Pass>;
  return TFOPT_START(kernel, kThreads);
}

#undef TFOPT_START

#else

// Calls visit(team) for the teams of a launch.
template <int kTeam, class Pass, class Visit>
const char* visit_teams(int64_t teams, Pass& pass, Visit visit) {
  return start_launches<kTeam>(teams, pass, [&](unsigned blocks) -> const char* {
    const int64_t behind = pass.first + int64_t{blocks} * (kThreads / kTeam);
    for (int64_t team = pass.first; team < pass.teams && team < behind; ++team) visit(team);
    return nullptr;
  });
}

template <class Work, int kTeam, class Pass>
const char* start_runs(int64_t teams, Pass& pass, void*) {
  return visit_teams<kTeam>(teams, pass, [&](int64_t team) {
    for (int thread = 0; thread < kTeam; ++thread) Work::run(pass, team, thread);
  });
}

template <class Work, int kTeam, class Pass>
const char* start_totals(int64_t teams, Pass& pass, void*) {
  return visit_teams<kTeam>(teams, pass, [&](int64_t team) {
    Pair sum = {0, 0};
    for (int thread = 0; thread < kTeam; ++thread) add(sum, Work::sum(pass, team, thread));
    Work::finish(pass, team, sum);
  });
}

template <class Work, class Pass>
const char* start_held(int64_t teams, Pass& pass, void*) {
  std::vector<typename Work::Own> own(Work::kTeam);
  return visit_teams<Work::kTeam>(teams, pass, [&](int64_t team) {
    for (auto& one : own) one = {};
    for (int64_t step = 0; step < Work::steps(pass); ++step) {
      Pair sum = {0, 0};
      bool there = false;
      for (int thread = 0; thread < Work::kTeam; ++thread)
        there = Work::read(pass, team, step, thread, own[thread], sum);
      for (int thread = 0; there && thread < Work::kTeam; ++thread)
        Work::write(pass, team, step, thread, own[thread], sum);
    }
    for (int thread = 0; thread < Work::kTeam; ++thread) Work::finish(pass, team, thread, own[thread]);
  });
}

template <class Work, class Pass>
const char* start_tiles(int64_t teams, Pass& pass, void*) {
  std::vector<Pair> shared(kThreads * Work::kWidth);
  return visit_teams<kThreads>(teams, pass, [&](int64_t block) {
    for (int thread = 0; thread < kThreads; ++thread) Work::sum(pass, block, thread, &shared[thread * Work::kWidth]);
    for (int thread = 0; thread < kThreads; ++thread) Work::finish(pass, block, thread, shared.data());
  });
}

#endif

}  // namespace cuda
}  // namespace tfopt
