// Memory for the harnesses: of one type, exactly as long as its elements, and where asked for one element past
// an address that accesses of 16 bytes could take.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "custom_ops/apply/half.h"
#include "custom_ops/apply/table.h"

// Numbers in (-1, 1) that are the same everywhere.
inline double random_number() {
  static uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<double>(static_cast<int64_t>(state) >> 11) * 0x1p-52;
}

class Buffer {
 public:
  Buffer(tfopt::Type type, int64_t n, bool shifted = false)
      : type_(type), size_(n), width_(tfopt::size_of(type)), shift_(shifted ? width_ : 0),
        memory_(static_cast<char*>(std::malloc(n * width_ + shift_)), std::free) {
    for (int64_t i = 0; i < n; ++i) set(i, random_number());
  }

  Buffer copy() const {
    Buffer made(type_, size_, shift_ > 0);
    if (size_) std::memcpy(made.data(), data(), size_ * width_);
    return made;
  }

  char* data() const { return memory_.get() + shift_; }
  int64_t size() const { return size_; }
  bool same(const Buffer& other) const { return !size_ || !std::memcmp(data(), other.data(), size_ * width_); }

  double get(int64_t i) const {
    const char* at = data() + i * width_;
    switch (type_) {
      case tfopt::kDouble: return *reinterpret_cast<const double*>(at);
      case tfopt::kFloat: return *reinterpret_cast<const float*>(at);
      case tfopt::kHalf: return tfopt::half_to_float(*reinterpret_cast<const uint16_t*>(at));
      default: return tfopt::bfloat16_to_float(*reinterpret_cast<const uint16_t*>(at));
    }
  }

  void set(int64_t i, double x) {
    char* at = data() + i * width_;
    switch (type_) {
      case tfopt::kDouble: *reinterpret_cast<double*>(at) = x; break;
      case tfopt::kFloat: *reinterpret_cast<float*>(at) = static_cast<float>(x); break;
      case tfopt::kHalf: *reinterpret_cast<uint16_t*>(at) = tfopt::float_to_half(static_cast<float>(x)); break;
      default: *reinterpret_cast<uint16_t*>(at) = tfopt::float_to_bfloat16(static_cast<float>(x));
    }
  }

 private:
  tfopt::Type type_;
  int64_t size_, width_, shift_;
  std::unique_ptr<char, void (*)(void*)> memory_;
};
