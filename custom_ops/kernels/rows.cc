// Products and sums of rows on CPU: divides the work over TensorFlow's threads.
#include "custom_ops/apply/rows.h"

#include <algorithm>
#include <cstring>

#include "custom_ops/kernels/gradients.h"
#include "custom_ops/kernels/pool_allocator.h"
#include "custom_ops/kernels/resources.h"
#include "custom_ops/kernels/row_inputs.h"
#include "tensorflow/core/lib/core/threadpool.h"

namespace tfopt {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

// Fewer elements are not worth the hand-over to another thread.
constexpr int64_t kAlone = 1 << 16;
// Of a row that is written; one thread writes fewer at once.
constexpr int64_t kBytesAlone = 1 << 20;

// Calls run(begin, end) for blocks of `size` elements each.
template <class Run>
void share(OpKernelContext* context, int64_t blocks, int64_t size, const Run& run) {
  if (blocks * size <= kAlone) return run(0, blocks);
  // An element takes about a cycle.
  context->device()->tensorflow_cpu_worker_threads()->workers->ParallelFor(blocks, size, run);
}

class RowProducts : public OpKernel {
 public:
  explicit RowProducts(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, inputs_.configure(context));
  }

  void Compute(OpKernelContext* context) override {
    HeldRows held;
    OP_REQUIRES_OK(context, held.read(inputs_, context));
    Vectors vectors;
    OP_REQUIRES_OK(context, read_vectors(context, held.rows(), &vectors));
    Tensor* products = nullptr;
    const TensorShape shape({held.rows().count(), vectors.count()});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &products));
    ProductsPlan plan(table(), held.rows(), vectors);
    share(context, plan.blocks(), plan.elements_of_block(),
          [&plan](int64_t begin, int64_t end) { plan.run(begin, end); });
    plan.finish(products->flat<double>().data());
  }

 private:
  absl::Status read_vectors(OpKernelContext* context, const Vectors& rows, Vectors* vectors) const {
    vectors->type = rows.type;
    vectors->size = rows.size;
    for (int i = inputs_.end(); i < context->num_inputs(); ++i) {
      const Tensor& vector = context->input(i);
      if (vector.shape() != TensorShape({rows.size}))
        return refused(context, "vector ", i - inputs_.end(), " has shape ", vector.shape().DebugString(),
                       ", expected ", rows.size, " elements as the rows have.");
      vectors->add(vector.data(), 1);
    }
    return absl::OkStatus();
  }

  RowInputs inputs_;
};

class RowCombination : public OpKernel {
 public:
  explicit RowCombination(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, inputs_.configure(context));
  }

  void Compute(OpKernelContext* context) override {
    HeldRows held;
    OP_REQUIRES_OK(context, held.read(inputs_, context));
    const Tensor& factors = context->input(inputs_.end());
    OP_REQUIRES(context, factors.shape() == TensorShape({held.rows().count()}),
                refused(context, "factors have shape ", factors.shape().DebugString(), ", expected one for each of ",
                        held.rows().count(), " rows."));
    Tensor* to = nullptr;
    OP_REQUIRES_OK(context, allocate_pooled(context, 0, TensorShape({held.rows().size}), &to));
    const CombinationPlan plan(table(), held.rows(), factors.vec<double>().data(), to->data());
    share(context, plan.blocks(), plan.elements_of_block(),
          [&plan](int64_t begin, int64_t end) { plan.run(begin, end); });
  }

 private:
  RowInputs inputs_;
};

class WriteRow : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    OP_REQUIRES(context, context->input(1).NumElements() == 1, refused(context, "(index): expected a scalar."));
    const int64_t index = *static_cast<const int32_t*>(context->input(1).data());
    LockedVariables variables;
    OP_REQUIRES_OK(context, variables.acquire(context, 1, false));
    tensorflow::Var* variable = variables[0];
    OP_REQUIRES_OK(context, check(context, *variable, index));
    if (index < 0) return;
    OP_REQUIRES_OK(context, own_buffer(context, variable, copy_on_cpu));
    const Tensor& row = context->input(2);
    const int64_t bytes = row.TotalBytes();
    char* to = static_cast<char*>(variable->tensor()->data()) + index * bytes;
    const char* from = static_cast<const char*>(row.data());
    if (bytes <= kBytesAlone) return void(std::memcpy(to, from, bytes));
    context->device()->tensorflow_cpu_worker_threads()->workers->ParallelFor(
        bytes, 1, [to, from](int64_t begin, int64_t end) { std::memcpy(to + begin, from + begin, end - begin); });
  }

 private:
  static absl::Status check(OpKernelContext* context, tensorflow::Var& variable, int64_t index) {
    const Tensor &row = context->input(2), &matrix = *variable.tensor();
    if (!variable.is_initialized || !matrix.IsInitialized()) return refused(context, "the variable is not initialised.");
    if (matrix.dtype() != row.dtype())
      return refused(context, "the variable holds ", tensorflow::DataTypeString(matrix.dtype()), ", the row ",
                     tensorflow::DataTypeString(row.dtype()), ".");
    if (matrix.dims() != 2 || row.shape() != TensorShape({matrix.dim_size(1)}))
      return refused(context, "a row of shape ", row.shape().DebugString(), " does not fit a variable of shape ",
                     matrix.shape().DebugString(), ".");
    if (index >= matrix.dim_size(0))
      return refused(context, "(index): expected less than ", matrix.dim_size(0), ", got ", index, ".");
    return absl::OkStatus();
  }
};

#define TFOPT_ON_CPU(name) REGISTER_KERNEL_BUILDER(Name("Tfopt" #name).Device(tensorflow::DEVICE_CPU), name)

TFOPT_ON_CPU(RowProducts);
TFOPT_ON_CPU(RowCombination);
TFOPT_ON_CPU(WriteRow);

}  // namespace
}  // namespace tfopt
