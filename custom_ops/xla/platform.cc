#include "custom_ops/xla/platform.h"

#include <atomic>

#include "custom_ops/xla/target.h"
#include "tensorflow/compiler/tf2xla/xla_compiler.h"

namespace tfopt {
namespace {

std::atomic<bool> portable{false};

}  // namespace

bool may_call(tensorflow::XlaOpKernelContext* context) {
  return context->compiler()->options().device_type.type_string() == kXlaCpu && !portable && can_call();
}

}  // namespace tfopt

// Whether programs lowered from now on must run without this library, which a program for export has to: they
// then consist of XLA's own operations on every platform.
extern "C" __attribute__((visibility("default"))) void tfopt_lower_portably(int on) { tfopt::portable = on != 0; }
