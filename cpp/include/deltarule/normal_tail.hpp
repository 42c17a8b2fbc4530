// The upper tail of the normal distribution, Q(x) = P(N(0, 1) > x), to a few ulps of itself:
// gelu's.
#pragma once

#include "deltarule/simd.hpp"

#include <array>

namespace deltarule {

// Q(x) = e^(−x²/2) R(x); R is Mills' ratio over √(2π).
template <class V> struct NormalTail {
    V density; // e^(−x²/2), with x² as rounded
    V ratio;   // R(x), less what that rounding does: Q = density · ratio
};

namespace normal_tail {

// Beyond it Q is 0 in both types.
inline constexpr int kEnd = 40;

// (1 + 3x/2) R(x) on [0, kEnd], a polynomial in t = (x − 4) / (x + 4), the highest power first: the
// form of M. Shepherd and J. Laframboise, "Chebyshev approximation of (1 + 2x) exp(x²) erfc x in
// 0 <= x < ∞", Math. Comp. 36 (1981), interpolated anew at the Chebyshev nodes with 60 digits.
// Largest relative error 1e-8 and 1e-17.
template <class T>
inline constexpr std::array<double, 24> kRatio = {
    -1.216437601371275e-9,  -2.2084819960370758e-9,  1.0127276998040787e-8,
    2.6338431899009586e-8,  -3.5389845237461606e-8,  -1.7103840002279378e-7,
    2.8195938770448665e-8,  8.7490238956802398e-7,   5.0397151768552158e-7,
    -4.2499904647599676e-6, -4.7336894170754643e-6,  2.2592033608807445e-5,
    2.9559319667394136e-5,  -0.00014610393570513207, -0.00011886793783313568,
    0.0011359377896814033,  -0.00074784157239808662, -0.0077573489239056923,
    0.031150193960542606,   -0.063729158195296483,   0.078754249749195382,
    -0.041190175582993445,  -0.059856355215561007,   0.66087448911378255};
template <>
inline constexpr std::array<float, 11> kRatio<float> = {
    -0.000117296396F, -7.546925e-5F,  0.00112315383F, -0.000773282526F,
    -0.00775621287F,  0.0311566676F,  -0.063728691F,  0.0787536182F,
    -0.0411902545F,   -0.0598563406F, 0.660874491F};

// x² = square + rest without any error (T. Dekker, 1971, where nothing is fused).
template <class V> V square_rest(const V &x, const V &square) {
    if constexpr (simd::kFused && simd::kWidth<V> > 1) {
        return simd::madd(x, x, simd::negate(square));
    } else {
        using T = simd::Scalar<V>;
        const V shifted = simd::mul(x, simd::broadcast<V>(sizeof(T) == 4 ? T(4097) : T(134217729)));
        const V high = simd::sub(shifted, simd::sub(shifted, x)), low = simd::sub(x, high);
        const V cross = simd::mul(high, low);
        const V rest = simd::sub(simd::mul(high, high), square);
        return simd::add(simd::add(rest, simd::add(cross, cross)), simd::mul(low, low));
    }
}

} // namespace normal_tail

// x from 0 to normal_tail::kEnd, or NaN
template <class V> NormalTail<V> upper_tail(const V &x) {
    using T = simd::Scalar<V>;
    const V half = simd::broadcast<V>(T(0.5)), four = simd::broadcast<V>(T(4));
    const V one = simd::broadcast<V>(T(1)), square = simd::mul(x, x);
    // The rounding of x² would cost x²/4 ulps. What it takes away is put back into the ratio: in
    // the density it would be flushed to zero long before the density is.
    const V rest = simd::mul(half, normal_tail::square_rest(x, square));
    const V rounded = simd::exp(simd::negate(simd::mul(half, square)));
    const V t = simd::div(simd::sub(x, four), simd::add(x, four));
    const auto &coefficients = normal_tail::kRatio<T>;
    V sum = simd::broadcast<V>(coefficients[0]);
    for (std::size_t i = 1; i < coefficients.size(); ++i)
        sum = simd::madd(sum, t, simd::broadcast<V>(coefficients[i]));
    const V ratio = simd::div(sum, simd::madd(simd::broadcast<V>(T(1.5)), x, one));
    return {rounded, simd::nmadd(ratio, rest, ratio)};
}

} // namespace deltarule
