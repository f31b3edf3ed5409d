// Sentences on what is wrong with arguments; empty where nothing is.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>

#include "custom_ops/apply/table.h"

namespace tfopt {
namespace cuda {

constexpr int64_t kMostElements = int64_t{1} << 40;  // of a tensor; its chunks are counted in 32 bits

std::string unlike(const std::string& what, const std::string& expected, const std::string& got);
std::string unlike(const std::string& what, const std::string& expected, int64_t got);
bool is_type(int32_t type);

std::string fault_of_numbers(const char* name, const double* numbers, int64_t count);
std::string fault_of_pointer(const std::string& what, const void* pointer, Type type);
std::string fault_of_optional(const std::string& what, const void* pointer, Type type);

// The first that is not empty.
std::string first_of(std::initializer_list<std::string> faults);

}  // namespace cuda
}  // namespace tfopt
