// Numbers for the tests: repeatable random ones, distances in ulps, and equality of bits.
#pragma once

#include "deltarule/types.hpp"

#include <cmath>
#include <cstdint>
#include <limits>

namespace check {

using deltarule::Index;

template <class T> inline constexpr T kNan = std::numeric_limits<T>::quiet_NaN();
template <class T> inline constexpr T kInfinity = std::numeric_limits<T>::infinity();

// SplitMix64 (G. Steele, D. Lea, C. Flood, 2014).
class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t word() {
        std::uint64_t x = state_ += 0x9E3779B97F4A7C15U;
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
        return x ^ (x >> 31);
    }
    Index below(Index n) { return static_cast<Index>(word() % static_cast<std::uint64_t>(n)); }
    double unit() { return static_cast<double>(word() >> 11) * 0x1p-53; } // [0, 1)
    template <class T> T uniform() { return static_cast<T>(2 * unit() - 1); }
    template <class T> void fill(T *p, Index n) {
        for (Index i = 0; i < n; ++i)
            p[i] = uniform<T>();
    }

  private:
    std::uint64_t state_;
};

template <class T> bool same_bits(const T *a, const T *b, Index n) {
    return std::memcmp(a, b, static_cast<std::size_t>(n) * sizeof(T)) == 0;
}
template <class T> bool same_bits(T a, T b) { return same_bits(&a, &b, 1); }

// |got − expected| in units of the last place of `expected` in T, less `slack`, which is how far
// apart numbers near zero may be. Infinite where only one of the two is NaN or infinite in T.
template <class T> double ulps(T got, long double expected, long double slack = 0) {
    using Limits = std::numeric_limits<T>;
    if (std::isnan(expected) || std::isnan(got))
        return std::isnan(expected) && std::isnan(got) ? 0 : kInfinity<double>;
    if (static_cast<T>(expected) == got)
        return 0;
    if (!std::isfinite(static_cast<T>(expected)) || !std::isfinite(got))
        return kInfinity<double>;
    const auto normal = static_cast<long double>(Limits::min());
    const int exponent = std::ilogb(std::max(std::abs(expected), normal));
    const long double gap = std::abs(static_cast<long double>(got) - expected) - slack;
    return static_cast<double>(std::ldexp(gap, Limits::digits - 1 - exponent));
}

template <class T> deltarule::Matrix<T> random_matrix(Index m, Index n, std::uint64_t seed) {
    deltarule::Matrix<T> values(m, n);
    Random(seed).fill(values.data(), m * n);
    return values;
}

} // namespace check
