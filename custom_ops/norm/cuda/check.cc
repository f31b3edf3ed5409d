#include "custom_ops/norm/cuda/check.h"

#include "custom_ops/apply/cuda/chunks.h"
#include "custom_ops/apply/cuda/faults.h"

namespace tfopt {
namespace cuda {
namespace {

constexpr int64_t kWorkspaceBytes = 16;

// Whether no product of some of the lengths is too large; zeros, which may come with any, count as ones.
bool moderate(std::initializer_list<int64_t> lengths) {
  int64_t product = 1;
  for (const int64_t one : lengths) {
    if (one > kMostElements / product) return false;
    if (one > 0) product *= one;
  }
  return true;
}

std::string fault_of_lengths(const tfopt_geometry& of) {
  for (const int64_t one : {of.outer, of.inner, of.groups, of.width})
    if (one < 0) return unlike("geometry", "lengths of 0 or more", one);
  const std::string most = "at most " + std::to_string(kMostElements);
  if (!moderate({of.outer, of.inner, of.groups, of.width})) return unlike("geometry", most + " elements", "more");
  if (!moderate({of.parameters, of.run})) return unlike("parameters and run", most + " elements for them", "more");
  return "";
}

std::string fault_of_workspace(const double* workspace, int64_t size, int64_t needed) {
  if (size < needed) return unlike("workspace_size", std::to_string(needed) + " or more", size);
  if (!needed) return "";
  if (is_aligned(workspace, kWorkspaceBytes)) return fault_of_pointer("workspace", workspace, kDouble);
  return unlike("workspace", "an address divisible by " + std::to_string(kWorkspaceBytes),
                static_cast<int64_t>(reinterpret_cast<uintptr_t>(workspace)));
}

std::string fault_of_epsilon(double epsilon) {
  const std::string fault = fault_of_numbers("epsilon", &epsilon, 1);
  return fault.empty() && epsilon < 0 ? unlike("epsilon", "0 or more", std::to_string(epsilon)) : fault;
}

template <class Step>
std::string fault_of_head(const Step& step) {
  if (!is_type(step.type) || step.type == TFOPT_DOUBLE) return unlike("type", "0, 2 or 3", step.type);
  return first_of({fault_of(step.geometry), fault_of_epsilon(step.epsilon)});
}

}  // namespace

std::string fault_of(const tfopt_geometry& geometry) {
  const std::string fault = fault_of_lengths(geometry);
  if (!fault.empty()) return fault;
  const char* reason = as_geometry(geometry).refused();
  return reason ? std::string("geometry: ") + reason + "." : "";
}

std::string fault_of(const tfopt_normalize* step) {
  if (!step) return "no normalisation.";
  const std::string fault = fault_of_head(*step);
  if (!fault.empty()) return fault;
  const Geometry geometry = as_geometry(step->geometry);
  const Type type = static_cast<Type>(step->type);
  std::string found;
  if (geometry.statistics() > 0)
    found = first_of(
        {fault_of_pointer("mean", step->mean, kFloat), fault_of_pointer("variance", step->variance, kFloat)});
  if (!found.empty() || geometry.size() == 0) return found;
  return first_of({fault_of_pointer("x", step->x, type), fault_of_pointer("gamma", step->gamma, kFloat),
                   fault_of_pointer("beta", step->beta, kFloat), fault_of_pointer("y", step->y, type),
                   fault_of_workspace(step->workspace, step->workspace_size,
                                      tfopt_cuda_normalize_workspace(&step->geometry))});
}

std::string fault_of(const tfopt_normalize_backward* step) {
  if (!step) return "no normalisation.";
  const std::string fault = fault_of_head(*step);
  if (!fault.empty()) return fault;
  const Type type = static_cast<Type>(step->type);
  const std::string found = first_of(
      {fault_of_pointer("by_gamma", step->by_gamma, kFloat), fault_of_pointer("by_beta", step->by_beta, kFloat)});
  if (!found.empty() || as_geometry(step->geometry).size() == 0) return found;
  return first_of({fault_of_pointer("x", step->x, type), fault_of_pointer("upstream", step->upstream, type),
                   fault_of_pointer("gamma", step->gamma, kFloat), fault_of_pointer("mean", step->mean, kFloat),
                   fault_of_pointer("variance", step->variance, kFloat), fault_of_pointer("by_x", step->by_x, type),
                   fault_of_workspace(step->workspace, step->workspace_size,
                                      tfopt_cuda_normalize_backward_workspace(&step->geometry))});
}

}  // namespace cuda
}  // namespace tfopt
