// Sparse coding on CPU: divides the samples over TensorFlow's threads.
#include "custom_ops/codes/loops.h"

#include <vector>

#include "custom_ops/apply/table.h"
#include "custom_ops/kernels/gradients.h"
#include "custom_ops/kernels/resources.h"
#include "tensorflow/core/lib/core/threadpool.h"

namespace tfopt {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

// Rough time of a sample per atom, for the division of the work.
constexpr int64_t kCyclesPerAtom = 200;

absl::Status require_shape(OpKernelContext* context, int input, const char* name, const TensorShape& shape) {
  if (context->input(input).shape() == shape) return absl::OkStatus();
  return refused(context, "(", name, "): expected shape ", shape.DebugString(), ", got ",
                 context->input(input).shape().DebugString(), ".");
}

absl::Status require_square(OpKernelContext* context, const char* name) {
  const Tensor& matrix = context->input(0);
  if (matrix.dims() == 2 && matrix.dim_size(0) == matrix.dim_size(1)) return absl::OkStatus();
  return refused(context, "(", name, "): expected a square matrix, got shape ", matrix.shape().DebugString(), ".");
}

class OfCodes : public OpKernel {
 public:
  explicit OfCodes(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("T", &dtype_));
  }

 protected:
  const CodesLoops& loops() const { return *table().codes[type_of(dtype_)]; }
  int64_t bytes() const { return tensorflow::DataTypeSize(dtype_); }

  // An output with the elements of an input.
  static absl::Status copy(OpKernelContext* context, int input, Tensor** made) {
    const Tensor& from = context->input(input);
    TF_RETURN_IF_ERROR(context->forward_input_or_allocate_output({input}, 0, from.shape(), made));
    if ((*made)->data() != from.data() && from.TotalBytes())
      memcpy((*made)->data(), from.data(), from.TotalBytes());
    return absl::OkStatus();
  }

 private:
  tensorflow::DataType dtype_;
};

class SparseCodes : public OfCodes {
 public:
  using OfCodes::OfCodes;

  void Compute(OpKernelContext* context) override {
    OP_REQUIRES_OK(context, check(context));
    Tensor* codes = nullptr;
    OP_REQUIRES_OK(context, copy(context, 3, &codes));
    const int64_t samples = codes->dim_size(0), atoms = codes->dim_size(1);
    if (samples == 0 || atoms == 0) return;
    const Lasso lasso = {context->input(0).data(), atoms, context->input(4).scalar<double>()(),
                         context->input(5).scalar<double>()(), context->input(6).scalar<int32_t>()()};
    const char *targets = bytes_of(context->input(1)), *squares = bytes_of(context->input(2));
    char* to = static_cast<char*>(codes->data());
    const CodesLoops& run = loops();
    context->device()->tensorflow_cpu_worker_threads()->workers->ParallelFor(
        samples, atoms * kCyclesPerAtom, [&, row = atoms * bytes()](int64_t begin, int64_t end) {
          std::vector<double> scratch(atoms);
          run.encode(lasso, targets + begin * row, squares + begin * bytes(), to + begin * row, end - begin,
                     scratch.data());
        });
  }

 private:
  static const char* bytes_of(const Tensor& tensor) { return static_cast<const char*>(tensor.data()); }

  static absl::Status check(OpKernelContext* context) {
    TF_RETURN_IF_ERROR(require_square(context, "gram"));
    const int64_t atoms = context->input(0).dim_size(0);
    const Tensor& target = context->input(1);
    if (target.dims() != 2 || target.dim_size(1) != atoms)
      return refused(context, "(target): expected [samples, ", atoms, "], got shape ", target.shape().DebugString(), ".");
    TF_RETURN_IF_ERROR(require_shape(context, 2, "squares", TensorShape({target.dim_size(0)})));
    TF_RETURN_IF_ERROR(require_shape(context, 3, "start", target.shape()));
    TF_RETURN_IF_ERROR(require_shape(context, 4, "l1", TensorShape({})));
    TF_RETURN_IF_ERROR(require_shape(context, 5, "tolerance", TensorShape({})));
    return require_shape(context, 6, "passes", TensorShape({}));
  }
};

class SparseAtoms : public OfCodes {
 public:
  explicit SparseAtoms(OpKernelConstruction* context) : OfCodes(context) {
    OP_REQUIRES_OK(context, context->GetAttr("passes", &passes_));
  }

  void Compute(OpKernelContext* context) override {
    OP_REQUIRES_OK(context, check(context));
    Tensor* atoms = nullptr;
    OP_REQUIRES_OK(context, copy(context, 2, &atoms));
    std::vector<double> scratch(atoms->dim_size(1));
    loops().fit_rows({context->input(0).data(), context->input(1).data(), atoms->dim_size(0), atoms->dim_size(1), passes_},
                     atoms->data(), scratch.data());
  }

 private:
  static absl::Status check(OpKernelContext* context) {
    TF_RETURN_IF_ERROR(require_square(context, "codes_by_codes"));
    const int64_t atoms = context->input(0).dim_size(0);
    const Tensor& right = context->input(1);
    if (right.dims() != 2 || right.dim_size(0) != atoms)
      return refused(context, "(codes_by_inputs): expected [", atoms, ", features], got shape ",
                     right.shape().DebugString(), ".");
    return require_shape(context, 2, "start", right.shape());
  }

  int passes_;
};

REGISTER_KERNEL_BUILDER(Name("TfoptSparseCodes").Device(tensorflow::DEVICE_CPU), SparseCodes);
REGISTER_KERNEL_BUILDER(Name("TfoptSparseAtoms").Device(tensorflow::DEVICE_CPU), SparseAtoms);

}  // namespace
}  // namespace tfopt
