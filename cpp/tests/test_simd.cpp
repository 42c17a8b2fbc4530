// What `simd` computes itself instead of asking Eigen or the processor.
#include "deltarule/simd.hpp"

#include "check.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

using namespace deltarule;

namespace {

// |x / y − quotient| in units in the last place of x / y, for one packet.
template <class T> double quotient_error(const T *x, const T *y) {
    constexpr int kP = simd::kLanes<T>;
    T found[kP];
    simd::store(found,
                simd::quotient(simd::load<simd::Packet<T>>(x), simd::load<simd::Packet<T>>(y)));
    double worst = 0;
    for (int i = 0; i < kP; ++i) {
        const T expected = x[i] / y[i];
        const T next = std::nextafter(std::abs(expected), std::numeric_limits<T>::infinity());
        const T unit = next - std::abs(expected);
        if (!std::isfinite(found[i]))
            return std::numeric_limits<double>::infinity();
        worst = std::max(worst, static_cast<double>(std::abs(found[i] - expected) / unit));
    }
    return worst;
}

template <class T> void check_quotients() {
    constexpr int kP = simd::kLanes<T>;
    std::mt19937_64 random(1);
    std::uniform_real_distribution<T> mantissa(1, 2);
    std::uniform_int_distribution<int> exponent(-60, 60);
    T x[kP], y[kP];
    double worst = 0;
    for (int round = 0; round < 100000; ++round) {
        for (int i = 0; i < kP; ++i) {
            x[i] = std::ldexp(round % 2 ? mantissa(random) : -mantissa(random), exponent(random));
            y[i] = std::ldexp(mantissa(random), exponent(random));
        }
        worst = std::max(worst, quotient_error(x, y));
    }
    CHECK_OR_SAY(worst <= 2, "a quotient is " << worst << " units in the last place off");
}

// Element j of row i is 100 i + j; rows end where the memory does.
template <class T> void check_transposed() {
    using V = simd::Packet<T>;
    constexpr int kRows = simd::kLanes<T>, kColumns = simd::kTransposed<T>;
    for (const Index step : {kColumns, kColumns + 3, 40}) {
        std::vector<T> rows(static_cast<std::size_t>((kRows - 1) * step + kColumns));
        for (std::size_t at = 0; at < rows.size(); ++at)
            rows[at] = static_cast<T>(100 * (Index(at) / step) + Index(at) % step);
        V packets[kColumns];
        simd::load_transposed(rows.data(), step, packets);
        for (int j = 0; j < kColumns; ++j) {
            T lanes[kRows];
            simd::store(lanes, packets[j]);
            for (int i = 0; i < kRows; ++i)
                CHECK_EQ(lanes[i], static_cast<T>(100 * i + j));
        }
    }
}

} // namespace

TEST(load_transposed_makes_packets_of_columns) {
    check_transposed<float>();
    check_transposed<double>();
}

TEST(a_quotient_is_within_two_units_in_the_last_place) {
    check_quotients<float>();
    check_quotients<double>();
}

TEST(every_divisor_of_a_binade_is_as_good) {
    constexpr std::uint32_t kOne = 0x3F800000, kTwo = 0x40000000;
    constexpr int kP = simd::kLanes<float>;
    float x[kP], y[kP];
    std::fill_n(x, kP, 1.0F);
    double worst = 0;
    for (std::uint32_t bits = kOne; bits < kTwo; bits += kP) {
        for (int i = 0; i < kP; ++i)
            y[i] = std::bit_cast<float>(bits + static_cast<std::uint32_t>(i));
        worst = std::max(worst, quotient_error(x, y));
    }
    CHECK_OR_SAY(worst <= 2, "a reciprocal is " << worst << " units in the last place off");
}

TEST(zero_by_anything_is_zero) {
    constexpr int kP = simd::kLanes<float>;
    float x[kP] = {}, y[kP], found[kP];
    for (int i = 0; i < kP; ++i)
        y[i] = std::ldexp(1.7F, 10 * i - 80);
    simd::store(found, simd::quotient(simd::load<simd::Packet<float>>(x),
                                      simd::load<simd::Packet<float>>(y)));
    for (const float zero : found)
        CHECK_EQ(zero, 0.0F);
}
