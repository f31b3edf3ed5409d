// The C functions: check, divide among launches, enqueue.
#include "custom_ops/apply/cuda/api.h"

#include <cstdio>
#include <exception>
#include <memory>
#include <vector>

#include "custom_ops/apply/cuda/check.h"
#include "custom_ops/apply/cuda/norm.h"
#include "custom_ops/apply/cuda/update.h"
#include "custom_ops/norm/cuda/check.h"
#include "custom_ops/norm/cuda/normalize.h"

namespace tfopt {
namespace cuda {
namespace {

static_assert(TFOPT_MOST_SLOTS == kMostSlots);
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
    update_->bound = static_cast<A>(step.bound);
    update_->gradient_type = step.gradient_type;
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
  const std::unique_ptr<Launch<A>> update_ = std::make_unique<Launch<A>>();
};

template <class A>
const char* run(const Kernels<A>& kernels, const tfopt_update& step, void* stream) {
  const RuleFacts* rule = find_facts(step.rule);
  return Launches<A>(step, *rule, kernels.start[rule - kRuleFacts], stream).run();
}

const char* run(const tfopt_update& step, void* stream) {
  switch (step.weight_type) {
    case TFOPT_DOUBLE: return run(kDoubleKernels, step, stream);
    case TFOPT_HALF: return run(kHalfKernels, step, stream);
    case TFOPT_BFLOAT16: return run(kBfloat16Kernels, step, stream);
    default: return run(kFloatKernels, step, stream);
  }
}

// Starts what was collected; the next launch goes on behind it.
const char* start(Norms& norms, int32_t type, void* stream) {
  const int count = norms.chunks.count;
  const char* fault = count ? start_norms(norms, static_cast<Type>(type), stream) : nullptr;
  norms.by_chunk += norms.chunks.total();
  norms.by_tensor += count;
  if (norms.each) norms.each += count;
  norms.chunks.count = 0;
  return fault;
}

const char* run(const tfopt_norms& step, void* stream) {
  const auto norms = std::make_unique<Norms>();
  norms->by_tensor = reinterpret_cast<Squares*>(step.workspace);
  norms->by_chunk = norms->by_tensor + step.count;
  norms->each = step.each;
  const char* fault = nullptr;
  for (int32_t i = 0; !fault && i < step.count; ++i) {
    const tfopt_values& one = step.values[i];
    if (!norms->chunks.has_room(one.size)) fault = start(*norms, step.type, stream);
    norms->tensors[norms->chunks.count] = {one.values, one.accumulator, one.size};
    norms->chunks.add(one.size);
  }
  if (!fault) fault = start(*norms, step.type, stream);
  GlobalNorm global = {reinterpret_cast<const Squares*>(step.workspace), step.count, step.limit, step.norm, step.factor};
  return fault ? fault : start_global_norm(global, stream);
}

bool all_aligned(std::initializer_list<const void*> all) {
  bool aligned = true;
  for (const void* one : all) aligned = aligned && is_aligned(one, kAccess);
  return aligned;
}

// What both passes take; the workspace begins at such an address too.
template <class Step>
void describe(const Step& step, std::initializer_list<const void*> tensors,
              std::initializer_list<const void*> parameters, Pass& pass) {
  pass.is = make_layout(as_geometry(step.geometry));
  pass.type = static_cast<Type>(step.type);
  const Layout& is = pass.is;
  const int64_t wide = kAccess / size_of(pass.type);
  const int64_t piece = is.way == kHeldRows ? is.width : is.way == kTiledColumns ? is.row : is.length;
  pass.wide = piece % wide == 0 && all_aligned(tensors);
  pass.direct = is.run == 1 && is.parameters % wide == 0 && all_aligned(parameters);
  pass.x = step.x;
  pass.gamma = step.gamma;
  pass.epsilon = static_cast<float>(step.epsilon);
  if (is.way != kEmpty) pass.share = 1.0 / static_cast<double>(is.inner * is.width);
}

const char* run(const tfopt_normalize& step, void* stream) {
  ForwardPass pass = {};
  describe(step, {step.x, step.y}, {step.gamma, step.beta}, pass);
  pass.beta = step.beta;
  pass.y = step.y;
  pass.mean = step.mean;
  pass.variance = step.variance;
  return start_normalize(pass, step.workspace, stream);
}

const char* run(const tfopt_normalize_backward& step, void* stream) {
  BackwardPass pass = {};
  describe(step, {step.x, step.upstream, step.by_x}, {step.gamma}, pass);
  pass.upstream = step.upstream;
  pass.mean = step.mean;
  pass.variance = step.variance;
  pass.by_x = step.by_x;
  pass.by_gamma = step.by_gamma;
  pass.by_beta = step.by_beta;
  return start_normalize(pass, step.workspace, stream);
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

int64_t tfopt_cuda_norms_workspace(const tfopt_values* values, int32_t count) {
  if (count <= 0 || !values) return 0;
  int64_t sums = count;
  for (int32_t i = 0; i < count; ++i) sums += values[i].size > 0 ? tfopt::cuda::chunks_of(values[i].size) : 0;
  return sums * static_cast<int64_t>(sizeof(tfopt::Squares) / sizeof(double));
}

int tfopt_cuda_norms(const tfopt_norms* norms, void* stream, char* message, size_t message_size) {
  return tfopt::cuda::guarded([=] { return tfopt::cuda::fault_of(norms); },
                              [=] { return tfopt::cuda::run(*norms, stream); }, message, message_size);
}

int64_t tfopt_cuda_normalize_workspace(const tfopt_geometry* geometry) {
  if (!geometry || !tfopt::cuda::fault_of(*geometry).empty()) return 0;
  return forward_workspace(tfopt::cuda::make_layout(tfopt::cuda::as_geometry(*geometry))).size;
}

int64_t tfopt_cuda_normalize_backward_workspace(const tfopt_geometry* geometry) {
  if (!geometry || !tfopt::cuda::fault_of(*geometry).empty()) return 0;
  return backward_workspace(tfopt::cuda::make_layout(tfopt::cuda::as_geometry(*geometry))).size;
}

int tfopt_cuda_normalize(const tfopt_normalize* step, void* stream, char* message, size_t message_size) {
  return tfopt::cuda::guarded([=] { return tfopt::cuda::fault_of(step); },
                              [=] { return tfopt::cuda::run(*step, stream); }, message, message_size);
}

int tfopt_cuda_normalize_backward(const tfopt_normalize_backward* step, void* stream, char* message,
                                  size_t message_size) {
  return tfopt::cuda::guarded([=] { return tfopt::cuda::fault_of(step); },
                              [=] { return tfopt::cuda::run(*step, stream); }, message, message_size);
}
