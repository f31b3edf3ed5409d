#include "custom_ops/apply/cuda/faults.h"

#include <cmath>

#include "custom_ops/apply/cuda/chunks.h"

namespace tfopt {
namespace cuda {

std::string unlike(const std::string& what, const std::string& expected, const std::string& got) {
  return what + ": expected " + expected + ", got " + got + ".";
}

std::string unlike(const std::string& what, const std::string& expected, int64_t got) {
  return unlike(what, expected, std::to_string(got));
}

bool is_type(int32_t type) { return type >= 0 && type < kTypes; }

std::string fault_of_numbers(const char* name, const double* numbers, int64_t count) {
  if (!numbers && count) return unlike(name, std::to_string(count) + " numbers", "null");
  for (int64_t k = 0; k < count; ++k)
    if (!std::isfinite(numbers[k])) return unlike(name, "finite numbers", std::to_string(numbers[k]));
  return "";
}

std::string fault_of_pointer(const std::string& what, const void* pointer, Type type) {
  if (!pointer) return unlike(what, "memory", "null");
  const int64_t bytes = size_of(type);
  if (is_aligned(pointer, bytes)) return "";
  return unlike(what, "an address divisible by " + std::to_string(bytes),
                static_cast<int64_t>(reinterpret_cast<uintptr_t>(pointer)));
}

std::string fault_of_optional(const std::string& what, const void* pointer, Type type) {
  return pointer ? fault_of_pointer(what, pointer, type) : "";
}

std::string first_of(std::initializer_list<std::string> faults) {
  for (const std::string& one : faults)
    if (!one.empty()) return one;
  return "";
}

}  // namespace cuda
}  // namespace tfopt
