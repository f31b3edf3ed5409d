// Compiled without run-time type information: TensorFlow's library has none of its class Allocator to derive from.
#include "custom_ops/kernels/pool_allocator.h"

#include <cstdlib>
#include <cstring>

#include "custom_ops/norm/pool.h"
#include "tensorflow/core/framework/allocator.h"

namespace tfopt {
namespace {

class PoolAllocator : public tensorflow::Allocator {
 public:
  std::string Name() override { return "tfopt"; }
  void* AllocateRaw(size_t, size_t bytes) override { return pool_.take(static_cast<int64_t>(bytes)); }
  void DeallocateRaw(void* memory) override { pool_.give(memory); }

 private:
  Pool pool_;
};

bool wanted() {
  const char* wish = std::getenv("TFOPT_POOL");
  return !wish || std::strcmp(wish, "off");
}

// Lives as long as the process: tensors may be freed when everything else is gone.
PoolAllocator* allocator() {
  static PoolAllocator* const made = wanted() ? new PoolAllocator : nullptr;
  return made;
}

}  // namespace

absl::Status allocate_pooled(tensorflow::OpKernelContext* context, int output, const tensorflow::TensorShape& shape,
                             tensorflow::Tensor** made) {
  const tensorflow::DataType type = context->expected_output_dtype(output);
  const int64_t bytes = shape.num_elements() * tensorflow::DataTypeSize(type);
  if (bytes >= Pool::kLeast && allocator()) {
    const tensorflow::Tensor tensor(allocator(), type, shape);
    if (tensor.IsInitialized()) {
      context->set_output(output, tensor);
      *made = context->mutable_output(output);
      return absl::OkStatus();
    }
  }
  return context->allocate_output(output, shape, made);
}

}  // namespace tfopt
