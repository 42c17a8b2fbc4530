// More losses that are a mean over the outputs: one small struct each. Part of `loss`.
#pragma once

#include "deltarule/simd.hpp"

namespace deltarule::losses {

// ℓ = log cosh e = |e| + log(1 + e^(−2|e|)) − log 2, e = a − y;  ∂ℓ/∂a = tanh e. Below 1, where
// that difference has no digits left, ℓ = −log(1 − tanh² e) / 2.
struct LogCosh {
    static constexpr bool kCostly = true;
    template <class V> V operator()(const V &a, const V &y, V &gradient) const {
        using T = simd::Scalar<V>;
        const V one = simd::broadcast<V>(1), two = simd::broadcast<V>(2), zero = simd::zero<V>();
        const V error = simd::sub(a, y), size = simd::abs(error);
        const V m = simd::expm1(simd::negate(simd::mul(two, size))); // e^(−2|e|) − 1
        const V t = simd::negate(simd::div(m, simd::add(two, m)));   // tanh |e|
        gradient = simd::where_less(error, zero, simd::negate(t), t);
        const V inner =
            simd::where_less(size, one, simd::negate(simd::mul(t, t)), simd::add(one, m));
        const V log = simd::log1p(inner);
        const V near = simd::negate(simd::mul(simd::broadcast<V>(T(0.5)), log));
        const V far =
            simd::add(simd::sub(size, simd::broadcast<V>(T(0.69314718055994530942))), log);
        return simd::where_less(size, one, near, far);
    }
};

// ℓ = q e for e > 0, else (q − 1) e, e = y − a;  ∂ℓ/∂a = −q or 1 − q, 0 where equal
// (R. Koenker, G. Bassett, 1978)
template <class V> V pinball(const V &q, const V &a, const V &y, V &gradient) {
    const V zero = simd::zero<V>(), error = simd::sub(y, a);
    const V below = simd::sub(q, simd::broadcast<V>(1));
    gradient = simd::where_less(zero, error, simd::negate(q),
                                simd::where_less(error, zero, simd::negate(below), zero));
    return simd::mul(simd::where_less(zero, error, q, below), error);
}

// One quantile of every target.
struct Quantile {
    static constexpr bool kCostly = false;
    double q;
    template <class V> V operator()(const V &a, const V &y, V &gradient) const {
        return pinball(simd::broadcast<V>(simd::Scalar<V>(q)), a, y, gradient);
    }
};

// From the logit z of an exp output, the mean: ℓ = z + y e⁻ᶻ;  ∂ℓ/∂z = 1 − y e⁻ᶻ
// (P. McCullagh, J. Nelder, 1989)
struct Gamma {
    static constexpr bool kCostly = true;
    template <class V> V operator()(const V &z, const V &y, V &gradient) const {
        const V ratio = simd::mul(y, simd::exp(simd::negate(z)));
        gradient = simd::sub(simd::broadcast<V>(1), ratio);
        return simd::add(z, ratio);
    }
};

// For y = ±1: ℓ = m = max(1 − y a, 0), NaN kept;  ∂ℓ/∂a = −y [m > 0]   (C. Cortes, V. Vapnik, 1995)
struct Hinge {
    static constexpr bool kCostly = false;
    template <class V> V operator()(const V &a, const V &y, V &gradient) const {
        const V zero = simd::zero<V>(), gap = simd::nmadd(y, a, simd::broadcast<V>(1));
        gradient = simd::where_less(zero, gap, simd::negate(y), zero);
        return simd::where_less(gap, zero, zero, gap);
    }
};

// ℓ = m²;  ∂ℓ/∂a = −2 y m
struct SquaredHinge {
    static constexpr bool kCostly = false;
    template <class V> V operator()(const V &a, const V &y, V &gradient) const {
        const V margin = Hinge{}(a, y, gradient);
        gradient = simd::negate(simd::mul(y, simd::add(margin, margin)));
        return simd::mul(margin, margin);
    }
};

} // namespace deltarule::losses
