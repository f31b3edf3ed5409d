// What the kernels offer: one table of functions per instruction set. Raw pointers only; neither TensorFlow
// nor the C++ library, whose inline functions would carry wide instructions into code for every machine.
#pragma once
#include <stdint.h>

// For the library with the lowering to XLA, which calls into this one.
#define TFOPT_SHARED __attribute__((visibility("default")))

namespace tfopt {

constexpr int kMostSlots = 3;
constexpr int kMostScalars = 8;

// What is the same for all elements of a variable in one step.
struct Step {
  const double* scalars;
  const double* following;  // the coming step's scalars, for rules that look ahead
  double keep;              // factor on the iterate: 1 − λε
  double factor;            // factor on the gradient: clipping, unscaling
};

// Updates n elements of a variable and its slots.
typedef void (*Update)(const void* gradient, void* weight, void* const* slots, int64_t n, const Step& step);

// What an update may do in its pass beside the rule, for n elements of a variable. Where it does not, the buffer
// is one of n zeros.
struct Beside {
  void* accumulator;  // added to the gradient, and zeroed
  void* average;      // moves towards the iterate
  double bound;       // the gradient, once multiplied, is cut off at ±bound; NaN stays
  double average_rate;
};

typedef void (*UpdateBeside)(const void* gradient, void* weight, void* const* slots, int64_t n, const Step& step,
                             const Beside& beside);

// A sum of squares in two parts: what is too large to be squared is kept apart, divided by 2^600.
struct Squares {
  double plain, large;
};

struct RuleKernel {
  const char* name;
  const char* slot_names;    // comma-separated, in order
  const char* scalar_names;  // comma-separated, in order
  int slots;
  int scalars;
  bool looks_ahead;
  Update update_float;
  Update update_double;
  UpdateBeside update_beside_float;
  UpdateBeside update_beside_double;
};

enum Type { kFloat, kDouble, kHalf, kBfloat16, kTypes };

constexpr int64_t size_of(Type type) { return type == kDouble ? 8 : type == kFloat ? 4 : 2; }
constexpr Type compute_type(Type type) { return type == kDouble ? kDouble : kFloat; }

// Rows that are worked on side by side: memory gives several streams at once faster than one after the other.
constexpr int kRowsAtOnce = 4;

// Loops over a stretch of n floats or doubles of several vectors; all sums are double.
struct StretchKernel {
  void (*widen)(const void* from, double* to, int64_t n);
  void (*narrow)(const double* from, void* to, int64_t n);
  // to[i * count + k] += the product of row i of kRowsAtOnce with vector k of `count`, which lie `stride` apart.
  void (*add_products)(const void* const* rows, const double* vectors, int64_t stride, int count, int64_t n,
                       double* to);
  void (*add_products_of_one)(const void* const* row, const double* vectors, int64_t stride, int count, int64_t n,
                              double* to);
  // sums += factors[0] rows[0] + …, kRowsAtOnce of them.
  void (*add_multiples)(const void* const* rows, const double* factors, double* sums, int64_t n);
  void (*add_multiple)(const void* row, double factor, double* sums, int64_t n);
  // to = factors[0] rows[0] + factors[1] rows[1].
  void (*sum_of_two)(const void* const* rows, const double* factors, void* to, int64_t n);
  // The largest absolute value, or one before, of `largest`.
  double (*largest)(const double* values, double largest, int64_t n);
};

struct NormalizeLoops;  // custom_ops/norm/loops.h
struct CodesLoops;      // custom_ops/codes/loops.h

struct Table {
  const char* instructions;
  const RuleKernel* rules;
  int count;
  // Between half precisions and float.
  void (*widen[kTypes])(const void* from, float* to, int64_t n);
  void (*narrow[kTypes])(const float* from, void* to, int64_t n);
  // sum ← left + right, in float or double; the sum may be either of them.
  void (*add[2])(const void* left, const void* right, void* sum, int64_t n);
  // The sum of squares of n floats or doubles.
  Squares (*squares[2])(const void* values, int64_t n);
  const StretchKernel* stretch[2];
  const NormalizeLoops* normalize[kTypes];
  const CodesLoops* codes[2];
};

// The tables this library holds, widest instructions first.
extern const Table* const kTables[];
extern const int kTableCount;

// The table in use: the widest this machine can run, unless `use_instructions` chose another.
TFOPT_SHARED const Table& table();

// Uses the named table, or the widest for an empty name; false if there is none or the machine cannot run it.
bool use_instructions(const char* name);

// Place of the rule of that name in every table, or -1.
TFOPT_SHARED int find_rule(const char* name);

}  // namespace tfopt
