// float16 and bfloat16 by integer arithmetic: TensorFlow's threads flush denormal floats to zero, so a route
// that passes small halves through denormal floats would lose them.
#pragma once
#include <stdint.h>
#include <string.h>

#include "custom_ops/rules/element.h"

namespace tfopt {

TFOPT_ELEMENT float as_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

TFOPT_ELEMENT uint32_t as_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

TFOPT_ELEMENT float bfloat16_to_float(uint16_t x) { return as_float(uint32_t{x} << 16); }

// Rounds to nearest, ties to even: a bfloat16 in the upper half of the bits. The lower half means nothing.
TFOPT_ELEMENT uint32_t rounded_to_bfloat16(float x) {
  const uint32_t bits = as_bits(x), rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const bool nan = x != x;
  return nan ? 0x7fc00000u : rounded;
}

TFOPT_ELEMENT uint16_t float_to_bfloat16(float x) { return static_cast<uint16_t>(rounded_to_bfloat16(x) >> 16); }

TFOPT_ELEMENT float half_to_float(uint16_t x) {
  uint32_t exponent = x & 0x7c00u, mantissa = x & 0x3ffu;
  uint32_t normal = ((x & 0x7fffu) << 13) + 0x38000000u;
  uint32_t subnormal = as_bits(static_cast<float>(static_cast<int32_t>(mantissa)) * 0x1p-24f);
  uint32_t bits = exponent == 0 ? subnormal : normal;
  bits = exponent == 0x7c00u ? 0x7f800000u | (mantissa << 13) : bits;
  return as_float(bits | (static_cast<uint32_t>(x & 0x8000u) << 16));
}

// Rounds to nearest, ties to even.
TFOPT_ELEMENT uint16_t float_to_half(float x) {
  uint32_t bits = as_bits(x), sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
  // Adding ½ shifts what a half cannot hold out of the mantissa, with the rounding of the addition.
  uint32_t subnormal = as_bits(as_float(size) + 0.5f) - 0x3f000000u;
  uint32_t normal = (size - 0x38000000u + 0xfffu + ((size >> 13) & 1u)) >> 13;
  uint32_t half = size < 0x38800000u ? subnormal : normal;
  half = size >= 0x47800000u ? (size > 0x7f800000u ? 0x7e00u : 0x7c00u) : half;
  return static_cast<uint16_t>(half | sign);
}

// Elements in memory, and each in the type to compute in.
struct Half {
  uint16_t bits;
};

struct Bfloat16 {
  uint16_t bits;
};

TFOPT_ELEMENT float widen(float x) { return x; }
TFOPT_ELEMENT double widen(double x) { return x; }
TFOPT_ELEMENT float widen(Half x) { return half_to_float(x.bits); }
TFOPT_ELEMENT float widen(Bfloat16 x) { return bfloat16_to_float(x.bits); }

TFOPT_ELEMENT void narrow(float x, float& to) { to = x; }
TFOPT_ELEMENT void narrow(double x, double& to) { to = x; }
TFOPT_ELEMENT void narrow(float x, Half& to) { to.bits = float_to_half(x); }
TFOPT_ELEMENT void narrow(float x, Bfloat16& to) { to.bits = float_to_bfloat16(x); }

}  // namespace tfopt
