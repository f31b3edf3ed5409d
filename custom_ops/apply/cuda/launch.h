// Starts work on many blocks of threads. Without nvcc the same work runs here in loops, block by block and
// thread by thread, which is how it is tested, with sanitizers, where there is no GPU.
#pragma once
#include <stdint.h>

#include "custom_ops/apply/table.h"
#include "custom_ops/rules/element.h"

namespace tfopt {
namespace cuda {

constexpr int kThreads = 256;
// What a kernel may take as parameters since CUDA 12.1; more tensors per launch are fewer launches.
constexpr int kParameterBytes = 32764;

TFOPT_ELEMENT void add(Squares& sum, const Squares& more) {
  sum.plain += more.plain;
  sum.large += more.large;
}

// Goes before a loop that is to stay one: copies of its body would take registers, hence threads. The other goes
// before one that must not stay a loop, for what it indexes to lie in registers.
#if defined(__CUDACC__)
#define TFOPT_ROLLED _Pragma("unroll 1")
#define TFOPT_UNROLLED _Pragma("unroll")
#else
#define TFOPT_ROLLED
#define TFOPT_UNROLLED
#endif

#if defined(__CUDACC__)

static_assert(CUDART_VERSION >= 12010, "kernels take 32,764 bytes of parameters since CUDA 12.1");

template <class Work, class Parameters>
__global__ void __launch_bounds__(kThreads) kernel(const __grid_constant__ Parameters parameters) {
  Work::run(parameters, blockIdx.x, threadIdx.x);
}

// The sum over a block; complete in thread 0.
__device__ inline Squares block_sum(Squares sum) {
  __shared__ Squares warps[kThreads / 32];
  for (int distance = 16; distance > 0; distance /= 2)
    add(sum, {__shfl_down_sync(~0u, sum.plain, distance), __shfl_down_sync(~0u, sum.large, distance)});
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  for (int k = 1; threadIdx.x == 0 && k < kThreads / 32; ++k) add(sum, warps[k]);
  return sum;
}

template <class Work, class Parameters>
__global__ void __launch_bounds__(kThreads) sum_kernel(const __grid_constant__ Parameters parameters) {
  const Squares sum = block_sum(Work::sum(parameters, blockIdx.x, threadIdx.x));
  if (threadIdx.x == 0) Work::finish(parameters, blockIdx.x, sum);
}

template <class Parameters>
const char* start_kernel(void (*function)(Parameters), unsigned blocks, Parameters& parameters, void* stream) {
  void* arguments[] = {&parameters};
  const cudaError_t error = cudaLaunchKernel(reinterpret_cast<const void*>(function), dim3(blocks),
                                             dim3(kThreads), arguments, 0, static_cast<cudaStream_t>(stream));
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

// Work::run(parameters, block, thread) for all of them; null, or what went wrong.
template <class Work, class Parameters>
const char* start(unsigned blocks, Parameters& parameters, void* stream) {
  return start_kernel<Parameters>(kernel<Work, Parameters>, blocks, parameters, stream);
}

// Work::finish(parameters, block, sum) with the sum of Work::sum(parameters, block, thread) over a block.
template <class Work, class Parameters>
const char* start_sums(unsigned blocks, Parameters& parameters, void* stream) {
  return start_kernel<Parameters>(sum_kernel<Work, Parameters>, blocks, parameters, stream);
}

#else

template <class Work, class Parameters>
const char* start(unsigned blocks, const Parameters& parameters, void*) {
  for (unsigned block = 0; block < blocks; ++block)
    for (unsigned thread = 0; thread < kThreads; ++thread) Work::run(parameters, block, thread);
  return nullptr;
}

template <class Work, class Parameters>
const char* start_sums(unsigned blocks, const Parameters& parameters, void*) {
  for (unsigned block = 0; block < blocks; ++block) {
    Squares sum = {0, 0};
    for (unsigned thread = 0; thread < kThreads; ++thread) add(sum, Work::sum(parameters, block, thread));
    Work::finish(parameters, block, sum);
  }
  return nullptr;
}

#endif

}  // namespace cuda
}  // namespace tfopt
