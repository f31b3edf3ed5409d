#include "custom_ops/apply/cuda/check.h"

#include "custom_ops/apply/cuda/chunks.h"
#include "custom_ops/apply/cuda/faults.h"

namespace tfopt {
namespace cuda {
namespace {

std::string at(int32_t i) { return "tensor " + std::to_string(i) + ": "; }

std::string fault_of_size(const std::string& where, int64_t size) {
  if (size >= 0 && size <= kMostElements) return "";
  return unlike(where + "size", "0 to " + std::to_string(kMostElements), size);
}

std::string fault_of_pointers(const tfopt_update& update, const RuleFacts& rule, int32_t i) {
  const tfopt_tensor& tensor = update.tensors[i];
  const Type weight = static_cast<Type>(update.weight_type), compute = compute_type(weight);
  const Type gradient = static_cast<Type>(update.gradient_type);
  std::string fault = fault_of_pointer(at(i) + "weight", tensor.weight, weight);
  for (int k = 0; fault.empty() && k < rule.slots; ++k)
    fault = fault_of_pointer(at(i) + "slot " + std::to_string(k), tensor.slots[k], compute);
  if (!fault.empty()) return fault;
  if (!tensor.gradient && !tensor.accumulator)
    return unlike(at(i) + "gradient", "memory, or an accumulator", "null");
  return first_of({fault_of_optional(at(i) + "gradient", tensor.gradient, gradient),
                   fault_of_optional(at(i) + "average", tensor.average, compute),
                   fault_of_optional(at(i) + "accumulator", tensor.accumulator, compute)});
}

std::string fault_of_tensor(const tfopt_update& update, const RuleFacts& rule, int32_t i) {
  const tfopt_tensor& tensor = update.tensors[i];
  if (tensor.group < 0 || tensor.group >= update.group_count)
    return unlike(at(i) + "group", "0 to " + std::to_string(update.group_count - 1), tensor.group);
  const std::string fault = fault_of_size(at(i), tensor.size);
  return fault.empty() && tensor.size ? fault_of_pointers(update, rule, i) : fault;
}

std::string fault_of_types(const tfopt_update& update) {
  if (!is_type(update.weight_type)) return unlike("weight_type", "0 to 3", update.weight_type);
  const Type weight = static_cast<Type>(update.weight_type);
  const int32_t gradient = update.gradient_type;
  if (is_type(gradient) && compute_type(static_cast<Type>(gradient)) == compute_type(weight)) return "";
  return unlike("gradient_type", "a type that computes in the same one as the weights'", gradient);
}

std::string fault_of_counts(const tfopt_update& update) {
  if (update.tensor_count < 0) return unlike("tensor_count", "0 or more", update.tensor_count);
  if (update.group_count < 0) return unlike("group_count", "0 or more", update.group_count);
  if (update.tensor_count && !update.tensors) return unlike("tensors", "a list", "null");
  const int32_t factors = update.factor_count;
  if (factors && factors != 1 && factors != update.tensor_count)
    return unlike("factor_count", "0, 1 or tensor_count", factors);
  return factors ? fault_of_pointer("factors", update.factors, kDouble) : "";
}

}  // namespace

std::string fault_of(const tfopt_update* update) {
  if (!update || !update->rule) return "no update, or no rule in it.";
  const RuleFacts* rule = find_facts(update->rule);
  if (!rule) return unlike("rule", "one that tfopt_cuda_rules() lists", update->rule);
  std::string fault = first_of({fault_of_types(*update), fault_of_counts(*update)});
  if (!fault.empty()) return fault;
  const int64_t scalars = int64_t{update->group_count} * rule->scalars;
  fault = first_of({fault_of_numbers("scalars", update->scalars, scalars),
                    fault_of_numbers("following", update->following, rule->looks_ahead ? scalars : 0),
                    fault_of_numbers("keep", update->keep, update->group_count),
                    fault_of_numbers("average_rate", &update->average_rate, 1),
                    update->bound >= 0 ? "" : unlike("bound", "0 or more", std::to_string(update->bound))});
  for (int32_t i = 0; fault.empty() && i < update->tensor_count; ++i) fault = fault_of_tensor(*update, *rule, i);
  return fault;
}

std::string fault_of(Type type, const tfopt_values* values, int32_t count) {
  if (count < 0) return unlike("count", "0 or more", count);
  if (count && !values) return unlike("values", "a list", "null");
  std::string fault;
  for (int32_t i = 0; fault.empty() && i < count; ++i) {
    fault = fault_of_size(at(i), values[i].size);
    if (!fault.empty() || !values[i].size) continue;
    fault = first_of({fault_of_pointer(at(i) + "values", values[i].values, type),
                      fault_of_optional(at(i) + "accumulator", values[i].accumulator, compute_type(type))});
  }
  return fault;
}

std::string fault_of(const tfopt_norms* norms) {
  if (!norms) return "no norms.";
  if (!is_type(norms->type)) return unlike("type", "0 to 3", norms->type);
  const std::string fault = fault_of(static_cast<Type>(norms->type), norms->values, norms->count);
  if (!fault.empty()) return fault;
  const int64_t needed = tfopt_cuda_norms_workspace(norms->values, norms->count);
  if (norms->workspace_size < needed)
    return unlike("workspace_size", std::to_string(needed) + " or more", norms->workspace_size);
  return first_of({needed ? fault_of_pointer("workspace", norms->workspace, kDouble) : "",
                   fault_of_pointer("norm", norms->norm, kDouble), fault_of_optional("each", norms->each, kDouble),
                   fault_of_optional("factor", norms->factor, kDouble),
                   norms->factor ? fault_of_numbers("limit", &norms->limit, 1) : ""});
}

}  // namespace cuda
}  // namespace tfopt
