// The targets of the custom calls: they run the kernels on XLA's threads.
#include "custom_ops/apply/share.h"
#include "custom_ops/xla/buffers.h"
#include "custom_ops/xla/normalize_buffers.h"
#include "custom_ops/xla/row_buffers.h"
#include "custom_ops/xla/target.h"
#include "xla/ffi/api/ffi.h"

namespace xla::ffi {
// TensorFlow's own; its header takes the place of the one above and cannot go beside it.
const XLA_FFI_Api* GetXlaFfiApi();
}  // namespace xla::ffi

namespace tfopt {
namespace {

using xla::ffi::Error;
using xla::ffi::Ffi;
using xla::ffi::RemainingArgs;
using xla::ffi::RemainingRets;
using xla::ffi::Span;
using xla::ffi::ThreadPool;

// Elements that a thread takes at once: long enough to hide the hand-over, short enough to share evenly.
constexpr int64_t kBlock = 1 << 16;

Error fused_update(ThreadPool pool, std::string_view rule, bool averaged, Span<const int32_t> groups,
                   RemainingArgs from, RemainingRets to) {
  const Buffers buffers(from, to);
  UpdateCall call(rule, averaged, groups, buffers);
  if (Error error = call.check(); error.failure()) return error;
  const Plan plan = call.plan();
  run_shared(pool, plan.size(), kBlock, [&plan](int64_t begin, int64_t end) { plan.run(begin, end); });
  return Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kUpdate, fused_update,
                       Ffi::Bind()
                           .Ctx<ThreadPool>()
                           .Attr<std::string_view>(kRuleAttribute)
                           .Attr<bool>(kAveragedAttribute)
                           .Attr<Span<const int32_t>>(kGroupsAttribute)
                           .RemainingArgs()
                           .RemainingRets());

Error global_norm(ThreadPool pool, RemainingArgs from, RemainingRets to) {
  const Buffers buffers(from, to);
  NormCall call(buffers);
  if (Error error = call.check(); error.failure()) return error;
  NormPlan plan = call.plan();
  run_shared(pool, plan.blocks(), 1, [&plan](int64_t begin, int64_t end) { plan.run(begin, end); });
  call.finish(plan);
  return Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kNorm, global_norm, Ffi::Bind().Ctx<ThreadPool>().RemainingArgs().RemainingRets());

// Blocks of rows that a thread takes at once.
constexpr int64_t kRowBlocks = 4;

Error row_products(ThreadPool pool, RemainingArgs from, RemainingRets to) {
  const Buffers buffers(from, to);
  RowsCall call(kProductsTarget, buffers);
  if (Error error = call.check_products(); error.failure()) return error;
  ProductsPlan plan(table(), call.rows(), call.vectors());
  run_shared(pool, plan.blocks(), kRowBlocks, [&plan](int64_t begin, int64_t end) { plan.run(begin, end); });
  plan.finish(static_cast<double*>(call.result()));
  return Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kProducts, row_products, Ffi::Bind().Ctx<ThreadPool>().RemainingArgs().RemainingRets());

Error row_combination(ThreadPool pool, RemainingArgs from, RemainingRets to) {
  const Buffers buffers(from, to);
  RowsCall call(kCombinationTarget, buffers);
  if (Error error = call.check_combination(); error.failure()) return error;
  CombinationPlan plan(table(), call.rows(), call.factors(), call.result());
  run_shared(pool, plan.blocks(), kRowBlocks, [&plan](int64_t begin, int64_t end) { plan.run(begin, end); });
  return Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kCombination, row_combination,
                       Ffi::Bind().Ctx<ThreadPool>().RemainingArgs().RemainingRets());

template <class Plan>
void run_parts(ThreadPool& pool, Plan& plan) {
  run_shared(pool, plan.parts(), 1, [&plan](int64_t begin, int64_t end) { plan.start(begin, end); });
  plan.settle();
  if (plan.whole()) return;
  run_shared(pool, plan.parts(), 1, [&plan](int64_t begin, int64_t end) { plan.finish(begin, end); });
}

Error normalize(ThreadPool pool, int64_t run, float epsilon, RemainingArgs from, RemainingRets to) {
  const Buffers buffers(from, to);
  NormalizeCall call(kNormalizeTarget, run, epsilon, buffers);
  if (Error error = call.check_forward(); error.failure()) return error;
  NormalizePlan plan = call.forward();
  run_parts(pool, plan);
  return Error::Success();
}

Error normalize_backward(ThreadPool pool, int64_t run, float epsilon, RemainingArgs from, RemainingRets to) {
  const Buffers buffers(from, to);
  NormalizeCall call(kNormalizeBackwardTarget, run, epsilon, buffers);
  if (Error error = call.check_backward(); error.failure()) return error;
  NormalizeBackwardPlan plan = call.backward();
  run_parts(pool, plan);
  return Error::Success();
}

auto normalize_binding() {
  return Ffi::Bind()
      .Ctx<ThreadPool>()
      .Attr<int64_t>(kRunAttribute)
      .Attr<float>(kEpsilonAttribute)
      .RemainingArgs()
      .RemainingRets();
}

XLA_FFI_DEFINE_HANDLER(kNormalizeForward, normalize, normalize_binding());
XLA_FFI_DEFINE_HANDLER(kNormalizeBackward, normalize_backward, normalize_binding());

bool enter(const char* target, XLA_FFI_Handler* handler) {
  return Ffi::RegisterStaticHandler(xla::ffi::GetXlaFfiApi(), target, "Host", handler) == nullptr;
}

const bool kEntered = enter(kUpdateTarget, kUpdate) && enter(kNormTarget, kNorm) &&
                      enter(kProductsTarget, kProducts) && enter(kCombinationTarget, kCombination) &&
                      enter(kNormalizeTarget, kNormalizeForward) &&
                      enter(kNormalizeBackwardTarget, kNormalizeBackward);

}  // namespace

bool can_call() { return kEntered; }

}  // namespace tfopt
