// What the library tells its loader, through plain C.
#include <string>

#include "custom_ops/apply/table.h"

#define TFOPT_EXPORT extern "C" __attribute__((visibility("default")))

// The rules, a line each: name, slots and scalars, separated by semicolons.
TFOPT_EXPORT const char* tfopt_rules() {
  static const std::string text = [] {
    std::string lines;
    for (int k = 0; k < tfopt::table().count; ++k) {
      const tfopt::RuleKernel& rule = tfopt::table().rules[k];
      lines += std::string(rule.name) + ";" + rule.slot_names + ";" + rule.scalar_names + ";" +
               (rule.looks_ahead ? "1" : "0") + "\n";
    }
    return lines;
  }();
  return text.c_str();
}

// The instruction set in use.
TFOPT_EXPORT const char* tfopt_instructions() { return tfopt::table().instructions; }

// Chooses an instruction set by name, the widest for an empty one; 0 where this machine cannot run it.
TFOPT_EXPORT int tfopt_use_instructions(const char* name) { return tfopt::use_instructions(name); }
