// Which table to use on this machine.
#include "custom_ops/apply/table.h"

#include <string.h>

// Tests that compile for themselves leave the others out.
#if defined(__x86_64__) && !defined(TFOPT_BASELINE_ONLY)
#define TFOPT_WIDE_TABLES
#endif

namespace tfopt {

namespace baseline {
extern const Table kTable;
}
#if defined(TFOPT_WIDE_TABLES)
namespace avx2 {
extern const Table kTable;
}
namespace avx512 {
extern const Table kTable;
}
const Table* const kTables[] = {&avx512::kTable, &avx2::kTable, &baseline::kTable};
#else
const Table* const kTables[] = {&baseline::kTable};
#endif
const int kTableCount = sizeof(kTables) / sizeof(kTables[0]);

namespace {

bool runs_here(const Table* candidate) {
#if defined(TFOPT_WIDE_TABLES)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (candidate == &avx2::kTable) return avx2;
  if (candidate == &avx512::kTable)
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#endif
  return true;
}

const Table* widest() {
  int k = 0;
  while (!runs_here(kTables[k])) ++k;
  return kTables[k];
}

const Table*& chosen() {
  static const Table* table = widest();
  return table;
}

}  // namespace

const Table& table() { return *__atomic_load_n(&chosen(), __ATOMIC_ACQUIRE); }

bool use_instructions(const char* name) {
  for (int k = 0; k < kTableCount; ++k)
    if ((!*name || !strcmp(kTables[k]->instructions, name)) && runs_here(kTables[k])) {
      __atomic_store_n(&chosen(), kTables[k], __ATOMIC_RELEASE);
      return true;
    }
  return false;
}

int find_rule(const char* name) {
  for (int k = 0; k < baseline::kTable.count; ++k)
    if (!strcmp(baseline::kTable.rules[k].name, name)) return k;
  return -1;
}

}  // namespace tfopt
