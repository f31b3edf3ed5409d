// Groups that a team of threads holds in registers: x, and ∇y, come from memory once.
#pragma once
#include "custom_ops/norm/cuda/access.h"

namespace tfopt {
namespace cuda {

// Threads of a team, the elements of type T that each holds, and of an access.
template <class Element, int team, int held, int wide>
struct Holding {
  using T = Element;
  static constexpr int kTeam = team, kHeld = held, kWide = wide;
  static constexpr int64_t kMost = int64_t{kTeam} * kHeld;

  // Calls visit(column, place in what the thread holds) for each access of a thread, or for `count` from `first` on.
  template <int count = kHeld, class Visit>
  TFOPT_ELEMENT void visit(const Layout& is, int thread, Visit visit, int first = 0) {
    TFOPT_UNROLLED
    for (int k = first; k < first + count; k += kWide) {
      const int64_t column = k * kTeam + thread * kWide;
      if (column < is.width) visit(column, k);
    }
  }
};

// A strip of a group's rows: those of the same group in consecutive samples.
struct Strip {
  int64_t group, sample;

  TFOPT_ELEMENT Strip of(const Layout& is, int64_t team, int64_t length) {
    const int64_t strip = divide(team, is.groups);
    return {team - strip * is.groups, strip * length};
  }
};

template <class Hold>
struct HeldForward {
  using T = typename Hold::T;
  static constexpr int kTeam = Hold::kTeam, kWide = Hold::kWide;
  static constexpr int kBlocks = 2;  // at least, on a multiprocessor; nvcc would spill registers to have more

  struct Own {
    float x[Hold::kHeld];
    float shift;
  };

  TFOPT_ELEMENT int64_t steps(const ForwardPass&) { return 1; }

  TFOPT_ELEMENT bool read(const ForwardPass& pass, int64_t team, int64_t, int thread, Own& own, Pair& sum) {
    const int64_t at = team * pass.is.width;
    own.shift = read_one<T>(pass.x, at);
    Hold::visit(pass.is, thread, [&](int64_t column, int k) { load<kWide, T>(pass.x, at + column, own.x + k); });
    Pair own_sum = {0, 0};
    int64_t n = 0;
    Hold::visit(pass.is, thread, [&](int64_t, int k) {
      float plain = 0, square = 0;
      for (int v = 0; v < kWide; ++v) {
        const float x = own.x[k + v] - own.x[0];
        plain += x;
        square += x * x;
      }
      add(own_sum, {plain, square});
      n += kWide;
    });
    add(sum, moved(own_sum, n, own.x[0], own.shift));
    return true;
  }

  TFOPT_ELEMENT void write(const ForwardPass& pass, int64_t team, int64_t, int thread, Own& own, const Pair& sum) {
    const int64_t at = team * pass.is.width, first = remainder(team, pass.is.groups) * pass.is.width;
    const Moments found = moments_of(sum, pass.share, own.shift);
    const float inverse = inverse_of(found.variance, pass.epsilon);
    if (thread == 0) {
      pass.mean[team] = found.mean;
      pass.variance[team] = found.variance;
    }
    Hold::visit(pass.is, thread, [&](int64_t column, int k) {
      float gamma[kWide], beta[kWide];
      read_parameters<kWide>(pass, pass.gamma, first + column, gamma);
      read_parameters<kWide>(pass, pass.beta, first + column, beta);
      for (int v = 0; v < kWide; ++v) own.x[k + v] = (own.x[k + v] - found.mean) * inverse * gamma[v] + beta[v];
      store<kWide, T>(own.x + k, pass.y, at + column);
    });
  }

  TFOPT_ELEMENT void finish(const ForwardPass&, int64_t, int, const Own&) {}
};

// The team keeps ∇γ and ∇β of its strip too.
template <class Hold>
struct HeldBackward {
  using T = typename Hold::T;
  static constexpr int kTeam = Hold::kTeam, kWide = Hold::kWide;
  static constexpr int kBlocks = 0;  // as nvcc finds right
  // Loads that are under way at once: those of single elements would not leave registers enough.
  static constexpr int kAtOnce = kWide == 1 && Hold::kHeld > 16 ? 16 : Hold::kHeld;

  struct Own {
    float normal[Hold::kHeld], h[Hold::kHeld];  // x̂ and γ ∇y
    float by_gamma[Hold::kHeld], by_beta[Hold::kHeld];
    float inverse;
  };

  TFOPT_ELEMENT int64_t steps(const BackwardPass& pass) { return pass.is.strip; }

  TFOPT_ELEMENT bool read(const BackwardPass& pass, int64_t team, int64_t step, int thread, Own& own, Pair& sum) {
    const Layout& is = pass.is;
    const Strip strip = Strip::of(is, team, is.strip);
    if (strip.sample + step >= is.outer) return false;
    const int64_t row = (strip.sample + step) * is.groups + strip.group, at = row * is.width;
    const float mean = pass.mean[row];
    own.inverse = inverse_of(pass.variance[row], pass.epsilon);
    const auto load = [&](int64_t column, int k) {
      load_both<kWide, T>(pass, at + column, own.normal + k, own.h + k);
    };
    const auto take = [&](int64_t column, int k) {
      float gamma[kWide], plain = 0, product = 0;
      read_parameters<kWide>(pass, pass.gamma, strip.group * is.width + column, gamma);
      for (int v = 0; v < kWide; ++v) {
        float &normal = own.normal[k + v], &h = own.h[k + v];
        normal = (normal - mean) * own.inverse;
        own.by_beta[k + v] += h;
        own.by_gamma[k + v] += h * normal;
        h *= gamma[v];
        plain += h;
        product += h * normal;
      }
      add(sum, {plain, product});
    };
    TFOPT_UNROLLED
    for (int first = 0; first < Hold::kHeld; first += kAtOnce) {
      Hold::template visit<kAtOnce>(is, thread, load, first);
      Hold::template visit<kAtOnce>(is, thread, take, first);
    }
    return true;
  }

  TFOPT_ELEMENT void write(const BackwardPass& pass, int64_t team, int64_t step, int thread, Own& own,
                           const Pair& sum) {
    const Layout& is = pass.is;
    const Strip strip = Strip::of(is, team, is.strip);
    const int64_t at = ((strip.sample + step) * is.groups + strip.group) * is.width;
    const float plain = static_cast<float>(sum.first * pass.share);
    const float product = static_cast<float>(sum.second * pass.share);
    Hold::visit(is, thread, [&](int64_t column, int k) {
      for (int v = 0; v < kWide; ++v)
        own.h[k + v] = own.inverse * (own.h[k + v] - plain - own.normal[k + v] * product);
      store<kWide, T>(own.h + k, pass.by_x, at + column);
    });
  }

  TFOPT_ELEMENT void finish(const BackwardPass& pass, int64_t team, int thread, const Own& own) {
    const int64_t at = team * pass.is.width;
    Hold::visit(pass.is, thread, [&](int64_t column, int k) {
      store<kWide, float>(own.by_gamma + k, pass.held_gamma, at + column);
      store<kWide, float>(own.by_beta + k, pass.held_beta, at + column);
    });
  }
};

// By the width of a group: teams, and what their threads hold.
template <template <class> class Work, class T, int kWide, class Given>
const char* start_held_rows(int64_t teams, Given& pass, void* stream) {
  const int64_t width = pass.is.width;
  if (width <= Holding<T, 32, 8, kWide>::kMost) return start_held<Work<Holding<T, 32, 8, kWide>>>(teams, pass, stream);
  if (width <= Holding<T, 128, 8, kWide>::kMost)
    return start_held<Work<Holding<T, 128, 8, kWide>>>(teams, pass, stream);
  if (width <= Holding<T, 256, 16, kWide>::kMost)
    return start_held<Work<Holding<T, 256, 16, kWide>>>(teams, pass, stream);
  static_assert(Holding<T, 256, 32, kWide>::kMost == kMostHeld);
  return start_held<Work<Holding<T, 256, 32, kWide>>>(teams, pass, stream);
}

}  // namespace cuda
}  // namespace tfopt
