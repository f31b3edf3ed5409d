// The C functions: check, divide among launches, enqueue.
#include "custom_ops/apply/cuda/api.h"

#include <cstdio>
#include <exception>
#include <memory>
#include <vector>

#include "custom_ops/apply/cuda/check.h"
#include "custom_ops/apply/cuda/norm.h"
#include "custom_ops/apply/cuda/update.h"

namespace tfopt {
namespace cuda {
namespace {

static_assert(TFOPT_MOST_SLOTS == kMostSlots && TFOPT_NORM_WORKSPACE == kNormBlocks);
static_assert(TFOPT_FLOAT == int{kFloat} && TFOPT_DOUBLE == int{kDouble} && TFOPT_HALF == int{kHalf} &&
              TFOPT_BFLOAT16 == int{kBfloat16});

bool all_aligned(const tfopt_tensor& tensor, int slots) {
  bool aligned = true;
  for (int k = 0; k < slots; ++k) aligned = aligned && is_aligned(tensor.slots[k], kAccess);
  for (const void* one : {tensor.gradient, static_cast<const void*>(tensor.weight),
                          static_cast<const void*>(tensor.average), static_cast<const void*>(tensor.accumulator)})
    aligned = aligned && is_aligned(one, kAccess);
  return aligned;
}

// Collects tensors and starts a launch whenever it is full.
template <class A>
class Launches {
 public:
  Launches(const tfopt_update& step, const RuleFacts& rule, StartUpdate<A> start, void* stream)
      : step_(step), rule_(rule), start_(start), stream_(stream), places_(step.group_count, -1) {
    update_->factors = step.factor_count ? step.factors : nullptr;
    update_->average_rate = static_cast<A>(step.average_rate);
  }

  // Null, or what went wrong.
  const char* run() {
    const char* fault = nullptr;
    for (int32_t i = 0; !fault && i < step_.tensor_count; ++i)
      if (step_.tensors[i].size) fault = add(i);
    return fault ? fault : flush();
  }

 private:
  const char* add(int32_t i) {
    const tfopt_tensor& tensor = step_.tensors[i];
    const bool has_group = places_[tensor.group] >= 0 || groups_.size() < kGroups;
    const char* fault = has_group && update_->chunks.has_room(tensor.size) ? nullptr : flush();
    UpdateTensor& to = update_->tensors[update_->chunks.count];
    to = {tensor.gradient, tensor.weight, {}, tensor.average, tensor.accumulator, tensor.size, tensor.factor,
          step_.factor_count > 1 ? i : 0, place_of(tensor.group), all_aligned(tensor, rule_.slots)};
    for (int k = 0; k < rule_.slots; ++k) to.slots[k] = tensor.slots[k];
    update_->chunks.add(tensor.size);
    return fault;
  }

  // The place of a group in the launch, where it is put unless it is there.
  int16_t place_of(int32_t group) {
    if (places_[group] >= 0) return places_[group];
    const int16_t place = places_[group] = static_cast<int16_t>(groups_.size());
    groups_.push_back(group);
    Group<A>& to = update_->groups[place];
    for (int k = 0; k < rule_.scalars; ++k) {
      const int64_t at = int64_t{group} * rule_.scalars + k;
      to.scalars[k] = static_cast<A>(step_.scalars[at]);
      to.following[k] = static_cast<A>((rule_.looks_ahead ? step_.following : step_.scalars)[at]);
    }
    to.keep = static_cast<A>(step_.keep[group]);
    return place;
  }

  const char* flush() {
    const char* fault = update_->chunks.count ? start_(*update_, stream_) : nullptr;
    for (const int32_t group : groups_) places_[group] = -1;
    groups_.clear();
    update_->chunks.count = 0;
    return fault;
  }

  const tfopt_update& step_;
  const RuleFacts& rule_;
  const StartUpdate<A> start_;
  void* const stream_;
  std::vector<int16_t> places_;  // of each group in this launch, or -1
  std::vector<int32_t> groups_;  // in this launch
  const std::unique_ptr<Update<A>> update_ = std::make_unique<Update<A>>();
};

template <class A>
const char* run(const Kernels<A>& kernels, const tfopt_update& step, void* stream) {
  const RuleFacts* rule = find_facts(step.rule);
  const auto& starts = step.gradient_type == step.weight_type ? kernels.same : kernels.wide;
  return Launches<A>(step, *rule, starts[rule - kRuleFacts], stream).run();
}

const char* run(const tfopt_update& step, void* stream) {
  switch (step.weight_type) {
    case TFOPT_DOUBLE: return run(kDoubleKernels, step, stream);
    case TFOPT_HALF: return run(kHalfKernels, step, stream);
    case TFOPT_BFLOAT16: return run(kBfloat16Kernels, step, stream);
    default: return run(kFloatKernels, step, stream);
  }
}

const char* start(Norm& norm, int32_t type, void* stream) {
  norm.blocks = norm.first || norm.chunks.total() > kNormBlocks ? kNormBlocks : norm.chunks.total();
  const char* fault = start_norm(norm, static_cast<Type>(type), stream);
  norm.first = false;
  norm.chunks.count = 0;
  return fault;
}

const char* run_norm(int32_t type, const tfopt_values* values, int32_t count, double* workspace, void* stream) {
  const auto norm = std::make_unique<Norm>();
  norm->partial = workspace;
  norm->first = true;
  const char* fault = nullptr;
  for (int32_t i = 0; !fault && i < count; ++i) {
    if (!values[i].size) continue;
    if (!norm->chunks.has_room(values[i].size)) fault = start(*norm, type, stream);
    norm->tensors[norm->chunks.count] = {values[i].values, values[i].size};
    norm->chunks.add(values[i].size);
  }
  return fault ? fault : start(*norm, type, stream);
}

void say(const std::string& text, char* message, size_t size) {
  if (message && size) std::snprintf(message, size, "%s", text.c_str());
}

// What the C functions return: no exception leaves them.
template <class Check, class Run>
int guarded(Check check, Run run, char* message, size_t size) try {
  const std::string refused = check();
  if (!refused.empty()) {
    say(refused, message, size);
    return TFOPT_BAD_ARGUMENT;
  }
  const char* fault = run();
  say(fault ? fault : "", message, size);
  return fault ? TFOPT_DEVICE_ERROR : TFOPT_OK;
} catch (const std::exception& error) {
  say(error.what(), message, size);
  return TFOPT_DEVICE_ERROR;
}

}  // namespace
}  // namespace cuda
}  // namespace tfopt

const char* tfopt_cuda_rules(void) {
  static const std::string text = [] {
    std::string lines;
    for (const tfopt::RuleFacts& rule : tfopt::kRuleFacts)
      lines += std::string(rule.name) + ";" + rule.slot_names + ";" + rule.scalar_names + ";" +
               (rule.looks_ahead ? "1" : "0") + "\n";
    return lines;
  }();
  return text.c_str();
}

int tfopt_cuda_update(const tfopt_update* update, void* stream, char* message, size_t message_size) {
  return tfopt::cuda::guarded([=] { return tfopt::cuda::fault_of(update); },
                              [=] { return tfopt::cuda::run(*update, stream); }, message, message_size);
}

int tfopt_cuda_global_norm(int32_t type, const tfopt_values* values, int32_t count, double limit,
                           double* workspace, double* norm, double* factor, void* stream, char* message,
                           size_t message_size) {
  const auto run = [=]() -> const char* {
    const char* fault = tfopt::cuda::run_norm(type, values, count, workspace, stream);
    tfopt::cuda::NormTotal total = {workspace, limit, norm, factor};
    return fault ? fault : tfopt::cuda::start_total(total, stream);
  };
  return tfopt::cuda::guarded(
      [=] { return tfopt::cuda::fault_of(type, values, count, limit, workspace, norm); }, run, message,
      message_size);
}
