// The update from the same rules, as operations of XLA.
#include <algorithm>

#include "custom_ops/xla/element.h"
// The rules follow their vocabulary.
#include "custom_ops/rules/rules.h"
#include "custom_ops/xla/operands.h"

namespace tfopt {
namespace {

using xla::XlaOp;

// A weight's step, as expressions.
struct Element {
  XlaOp gradient, weight, keep;
  std::vector<XlaOp> slots, scalars, following;
};

// A rule's struct of values, from a list of them.
template <class Values>
Values as_struct(const std::vector<XlaOp>& list) {
  Values made;
  std::copy(list.begin(), list.end(), reinterpret_cast<XlaOp*>(&made));
  return made;
}

// Updates the slots, and the weight to the iterate; returns the point for the weight to hold.
template <class R>
XlaOp advance(Element& element) {
  using Slots = typename R::template Slots<XlaOp>;
  using Scalars = typename R::template Scalars<XlaOp>;
  Slots slots = as_struct<Slots>(element.slots);
  const Scalars now = as_struct<Scalars>(element.scalars);
  XlaOp& iterate = element.weight;
  if constexpr (R::kLooksAhead) iterate = iterate - R::template ahead<XlaOp>(slots, now);
  iterate = iterate * element.keep;
  R::template update<XlaOp>(element.gradient, iterate, slots, now);
  if constexpr (R::kSlots > 0) {
    const XlaOp* values = reinterpret_cast<const XlaOp*>(&slots);
    element.slots.assign(values, values + R::kSlots);
  }
  if constexpr (R::kLooksAhead)
    return iterate + R::template ahead<XlaOp>(slots, as_struct<Scalars>(element.following));
  return iterate;
}

struct Lowering {
  const char* name;
  RuleFacts facts;
  XlaOp (*advance)(Element&);
};

const Lowering kLowerings[] = {
#define TFOPT_RULE(name, Struct) \
  {#name, {Struct::kSlots, Struct::kScalars, Struct::kLooksAhead}, advance<Struct>},
#include "custom_ops/rules/index.inc"
#undef TFOPT_RULE
};

const Lowering* find_lowering(const std::string& rule) {
  for (const Lowering& one : kLowerings)
    if (rule == one.name) return &one;
  return nullptr;
}

// Expressions of one update, weight by weight.
class Expressions {
 public:
  explicit Expressions(const Operands& operands) : operands_(operands), lowering_(*find_lowering(operands.rule)) {}

  std::vector<XlaOp> all() const {
    std::vector<XlaOp> made(operands_.variables.size());
    for (int i = 0; i < operands_.count(); ++i) advance_weight(i, made);
    return made;
  }

 private:
  void advance_weight(int i, std::vector<XlaOp>& made) const {
    const int count = operands_.count(), slots = operands_.slots;
    Element element = element_of(i);
    made[i] = xla::ConvertElementType(lowering_.advance(element), operands_.narrow);
    for (int k = 0; k < slots; ++k) made[(k + 1) * count + i] = element.slots[k];
    if (operands_.averaged) {
      const int place = (slots + 1) * count + i;
      const XlaOp mean = operands_.variables[place];
      made[place] = mean + (element.weight - mean) * widen(operands_.average_rate);
    }
    if (operands_.accumulated) made[accumulator(i)] = xla::ZerosLike(operands_.variables[accumulator(i)]);
  }

  int accumulator(int i) const { return static_cast<int>(operands_.variables.size()) - operands_.count() + i; }

  Element element_of(int i) const {
    Element element;
    element.weight = widen(operands_.variables[i]);
    for (int k = 0; k < operands_.slots; ++k)
      element.slots.push_back(operands_.variables[(k + 1) * operands_.count() + i]);
    element.scalars = row(operands_.scalars, i);
    if (lowering_.facts.looks_ahead) element.following = row(operands_.following, i);
    element.keep = at(operands_.keep, {operands_.groups[i]});
    const XlaOp factor = operands_.one_factor ? widen(operands_.factors) : at(operands_.factors, {i});
    XlaOp gradient = widen(operands_.gradients[i]);
    if (operands_.accumulated) gradient = operands_.variables[accumulator(i)] + gradient;
    element.gradient = cut(gradient * factor, widen(operands_.bound));
    return element;
  }

  // Cut off at ±bound; NaN stays.
  static XlaOp cut(XlaOp x, XlaOp bound) {
    const XlaOp below = xla::Select(xla::Gt(x, bound), bound, x);
    return xla::Select(xla::Lt(below, -bound), -bound, below);
  }

  XlaOp widen(XlaOp x) const { return xla::ConvertElementType(x, operands_.wide); }

  // One number of a list or a matrix.
  XlaOp at(XlaOp list, std::vector<int64_t> place) const {
    std::vector<int64_t> end = place;
    for (int64_t& one : end) ++one;
    const XlaOp cut = xla::Slice(list, place, end, std::vector<int64_t>(place.size(), 1));
    return widen(xla::Reshape(cut, {}));
  }

  std::vector<XlaOp> row(XlaOp matrix, int i) const {
    std::vector<XlaOp> made;
    for (int k = 0; k < lowering_.facts.scalars; ++k) made.push_back(at(matrix, {operands_.groups[i], k}));
    return made;
  }

  const Operands& operands_;
  const Lowering& lowering_;
};

}  // namespace

const RuleFacts* find_facts(const std::string& rule) {
  const Lowering* found = find_lowering(rule);
  return found ? &found->facts : nullptr;
}

std::vector<XlaOp> update_by_operations(const Operands& operands) { return Expressions(operands).all(); }

}  // namespace tfopt
