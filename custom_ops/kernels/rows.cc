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

absl::Status check_factors(OpKernelContext* context, const Tensor& factors, const Vectors& rows) {
  if (factors.shape() == TensorShape({rows.count()})) return absl::OkStatus();
  return refused(context, "factors have shape ", factors.shape().DebugString(), ", expected one for each of ",
                 rows.count(), " rows.");
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
    OP_REQUIRES_OK(context, check_factors(context, factors, held.rows()));
    Tensor* to = nullptr;
    OP_REQUIRES_OK(context, allocate_pooled(context, 0, TensorShape({held.rows().size}), &to));
    CombinationPlan plan(table(), held.rows(), factors.vec<double>().data(), to->data());
    share(context, plan.blocks(), plan.elements_of_block(),
          [&plan](int64_t begin, int64_t end) { plan.run(begin, end); });
  }

 private:
  RowInputs inputs_;
};

class RowMove : public OpKernel {
 public:
  explicit RowMove(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, inputs_.configure(context, kEnds));
  }

  void Compute(OpKernelContext* context) override {
    HeldRows held;
    if (!inputs_.none()) OP_REQUIRES_OK(context, held.read(inputs_, context));
    Vectors rows = held.rows();
    rows.type = inputs_.type();
    if (inputs_.none()) rows.size = context->input(0).NumElements();
    Ends ends;
    OP_REQUIRES_OK(context, read_ends(context, rows.size, &ends));
    Tensor *s = nullptr, *y = nullptr, *products = nullptr, *of_s = nullptr, *largest = nullptr;
    OP_REQUIRES_OK(context, allocate_pooled(context, 0, TensorShape({rows.size}), &s));
    OP_REQUIRES_OK(context, allocate_pooled(context, 1, TensorShape({rows.size}), &y));
    OP_REQUIRES_OK(context, context->allocate_output(2, TensorShape({rows.count() + 2, 2}), &products));
    OP_REQUIRES_OK(context, context->allocate_output(3, TensorShape({}), &of_s));
    OP_REQUIRES_OK(context, context->allocate_output(4, TensorShape({}), &largest));
    MovePlan plan(table(), rows, ends, s->data(), y->data());
    share(context, plan.blocks(), plan.elements_of_block(),
          [&plan](int64_t begin, int64_t end) { plan.run(begin, end); });
    plan.finish(products->flat<double>().data(), of_s->scalar<double>().data(), largest->scalar<double>().data());
  }

 private:
  static constexpr int kEnds = 4;

  absl::Status read_ends(OpKernelContext* context, int64_t size, Ends* ends) const {
    if (size == 0) return refused(context, "expected at least one element.");
    const void** places[] = {&ends->point, &ends->iterate, &ends->gradient, &ends->last_gradient};
    for (int i = 0; i < kEnds; ++i) {
      const Tensor& vector = context->input(inputs_.between() + i);
      if (vector.shape() != TensorShape({size}))
        return refused(context, "(point, iterate, gradient, last_gradient): number ", i, " has shape ",
                       vector.shape().DebugString(), ", expected ", size, " elements as the others have.");
      *places[i] = vector.data();
    }
    return absl::OkStatus();
  }

  RowInputs inputs_;
};

class RowDescent : public OpKernel {
 public:
  explicit RowDescent(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, inputs_.configure(context));
  }

  void Compute(OpKernelContext* context) override {
    HeldRows held;
    OP_REQUIRES_OK(context, held.read(inputs_, context));
    const Tensor &factors = context->input(inputs_.end()), &gradient = context->input(inputs_.end() + 1);
    OP_REQUIRES_OK(context, check_factors(context, factors, held.rows()));
    OP_REQUIRES(context, gradient.shape() == TensorShape({held.rows().size}),
                refused(context, "the gradient has shape ", gradient.shape().DebugString(), ", expected ",
                        held.rows().size, " elements as the rows have."));
    Tensor *to = nullptr, *products = nullptr;
    OP_REQUIRES_OK(context, allocate_pooled(context, 0, TensorShape({held.rows().size}), &to));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({2}), &products));
    CombinationPlan plan(table(), held.rows(), factors.vec<double>().data(), to->data(), gradient.data());
    share(context, plan.blocks(), plan.elements_of_block(),
          [&plan](int64_t begin, int64_t end) { plan.run(begin, end); });
    plan.finish(products->flat<double>().data());
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
TFOPT_ON_CPU(RowMove);
TFOPT_ON_CPU(RowDescent);
TFOPT_ON_CPU(WriteRow);

}  // namespace
}  // namespace tfopt
