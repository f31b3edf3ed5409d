#include "custom_ops/norm/cuda/combine.h"

#include "custom_ops/norm/cuda/access.h"

namespace tfopt {
namespace cuda {
namespace {

// So many numbers or more are worth a warp, and a block.
constexpr int64_t kOfWarp = 16, kOfBlock = 1024;

template <template <int> class Work, class Given>
const char* start_combining(int64_t entries, int64_t teams, Given& pass, void* stream) {
  if (entries < kOfWarp) return start_totals<Work<1>, 1>(teams, pass, stream);
  if (entries < kOfBlock) return start_totals<Work<32>, 32>(teams, pass, stream);
  return start_totals<Work<kThreads>, kThreads>(teams, pass, stream);
}

// Calls visit(pair, its first element, counted from the start of a sample) for a thread's share of a group.
template <int kTeam, class Visit>
TFOPT_ELEMENT void visit_group(const Pass& pass, int64_t sample, int64_t group, int thread, Visit visit) {
  const Layout& is = pass.is;
  const int64_t columns = divide(is.width, is.length), entries = is.tiles * columns;
  for (int64_t k = thread; k < entries; k += kTeam) {
    const int64_t tile = divide(k, columns), column = group * columns + k - tile * columns;
    visit(pass.partial[(sample * is.tiles + tile) * is.columns + column], column * is.length);
  }
}

TFOPT_ELEMENT float first_of(const Pass& pass, int64_t sample, int64_t group) {
  const int64_t at = sample * pass.is.sample + group * pass.is.width;
  if (pass.type == kHalf) return read_one<Half>(pass.x, at);
  if (pass.type == kBfloat16) return read_one<Bfloat16>(pass.x, at);
  return read_one<float>(pass.x, at);
}

template <int kTeam>
struct Statistics {
  TFOPT_ELEMENT Pair sum(const ForwardPass& pass, int64_t team, int thread) {
    const int64_t sample = divide(team, pass.is.groups);
    Pair sum = {0, 0};
    visit_group<kTeam>(pass, sample, team - sample * pass.is.groups, thread,
                       [&](const Pair& one, int64_t) { add(sum, one); });
    return sum;
  }

  TFOPT_ELEMENT void finish(const ForwardPass& pass, int64_t team, const Pair& sum) {
    const int64_t sample = divide(team, pass.is.groups);
    const float first = first_of(pass, sample, team - sample * pass.is.groups);
    const Moments found = moments_of(sum, pass.share, first);
    pass.mean[team] = found.mean;
    pass.variance[team] = found.variance;
    pass.coefficients[team] = {found.mean, inverse_of(found.variance, pass.epsilon), 0, 0};
  }
};

template <int kTeam>
struct GroupGradients {
  TFOPT_ELEMENT Pair sum(const BackwardPass& pass, int64_t team, int thread) {
    const int64_t sample = divide(team, pass.is.groups);
    Pair sum = {0, 0};
    visit_group<kTeam>(pass, sample, team - sample * pass.is.groups, thread, [&](const Pair& one, int64_t element) {
      const double gamma = pass.is.weighted ? 1.0f : read_kept(pass.gamma + parameter_of(pass.is, element));
      add(sum, {gamma * one.first, gamma * one.second});
    });
    return sum;
  }

  TFOPT_ELEMENT void finish(const BackwardPass& pass, int64_t team, const Pair& sum) {
    const float mean = pass.mean[team], inverse = inverse_of(pass.variance[team], pass.epsilon);
    const double wide = inverse;
    pass.coefficients[team] = {mean, inverse, static_cast<float>(wide * sum.first * pass.share),
                               static_cast<float>(wide * wide * wide * sum.second * pass.share)};
  }
};

// What goes into ∇β and ∇γ, from where the passes over the tensors have left it.
struct ParameterPass : Teams {
  Layout is;
  Gathering gathering;
  const Pair* pairs;         // [layers, columns]; or null: those of floats
  const float *beta, *gamma;
  const Coefficients* coefficients;  // what the second number is still to be multiplied by; or null
  Pair* gathered;                    // [parameters, parts]
  float *by_gamma, *by_beta;
};

TFOPT_ELEMENT void write_gradients(const ParameterPass& pass, int64_t parameter, const Pair& sum) {
  pass.by_beta[parameter] = static_cast<float>(sum.first);
  pass.by_gamma[parameter] = static_cast<float>(sum.second);
}

// A part of a parameter's numbers.
template <int kTeam>
struct GatherParts {
  TFOPT_ELEMENT Pair sum(const ParameterPass& pass, int64_t team, int thread) {
    const Gathering& of = pass.gathering;
    const int64_t parameter = divide(team, of.parts), begin = (team - parameter * of.parts) * of.entries_of_part;
    const int64_t behind = begin + of.entries_of_part, end = behind < entries_of(of) ? behind : entries_of(of);
    const int64_t of_layer = of.repeats * of.span;
    Pair sum = {0, 0};
    for (int64_t k = begin + thread; k < end; k += kTeam) {
      const int64_t layer = divide(k, of_layer), left = k - layer * of_layer, repeat = divide(left, of.span);
      add(sum, read(pass, layer, repeat * of.step + parameter * of.span + left - repeat * of.span));
    }
    return sum;
  }

  TFOPT_ELEMENT Pair read(const ParameterPass& pass, int64_t layer, int64_t column) {
    const int64_t at = layer * pass.gathering.columns + column;
    Pair one = pass.pairs ? pass.pairs[at] : Pair{pass.beta[at], pass.gamma[at]};
    if (pass.coefficients) {
      const int64_t group = divide(column * pass.is.length, pass.is.width);
      one.second *= pass.coefficients[divide(layer, pass.is.tiles) * pass.is.groups + group].inverse;
    }
    return one;
  }

  TFOPT_ELEMENT void finish(const ParameterPass& pass, int64_t team, const Pair& sum) {
    if (pass.gathering.parts == 1) return write_gradients(pass, team, sum);
    pass.gathered[team] = sum;
  }
};

template <int kTeam>
struct JoinParts {
  TFOPT_ELEMENT Pair sum(const ParameterPass& pass, int64_t team, int thread) {
    const int64_t parts = pass.gathering.parts;
    Pair sum = {0, 0};
    for (int64_t k = thread; k < parts; k += kTeam) add(sum, pass.gathered[team * parts + k]);
    return sum;
  }

  TFOPT_ELEMENT void finish(const ParameterPass& pass, int64_t team, const Pair& sum) {
    write_gradients(pass, team, sum);
  }
};

struct ZerosPass : Teams {
  float* numbers;
};

struct Zeros {
  TFOPT_ELEMENT void run(const ZerosPass& pass, int64_t team, int) { pass.numbers[team] = 0; }
};

}  // namespace

const char* start_statistics(ForwardPass& pass, void* stream) {
  const int64_t entries = pass.is.tiles * pass.is.width / pass.is.length;
  return start_combining<Statistics>(entries, statistics_of(pass.is), pass, stream);
}

const char* start_coefficients(BackwardPass& pass, void* stream) {
  const int64_t entries = pass.is.tiles * pass.is.width / pass.is.length;
  return start_combining<GroupGradients>(entries, statistics_of(pass.is), pass, stream);
}

const char* start_parameters(BackwardPass& given, void* stream) {
  const Layout& is = given.is;
  const bool held = is.way == kHeldRows;
  ParameterPass pass = {};
  pass.is = is;
  pass.gathering = make_gathering(is);
  pass.pairs = held ? nullptr : is.weighted ? given.separate : given.partial;
  pass.beta = given.held_beta;
  pass.gamma = given.held_gamma;
  pass.coefficients = held || is.weighted ? nullptr : given.coefficients;
  pass.gathered = given.gathered;
  pass.by_gamma = given.by_gamma;
  pass.by_beta = given.by_beta;
  const Gathering& of = pass.gathering;
  const char* fault = start_combining<GatherParts>(of.entries_of_part, of.parameters * of.parts, pass, stream);
  if (fault || of.parts == 1) return fault;
  return start_combining<JoinParts>(of.parts, of.parameters, pass, stream);
}

const char* start_zeros(float* numbers, int64_t count, void* stream) {
  ZerosPass pass = {};
  pass.numbers = numbers;
  return start_runs<Zeros, 1>(count, pass, stream);
}

}  // namespace cuda
}  // namespace tfopt
