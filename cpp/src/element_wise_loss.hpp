// Losses that are a mean over the outputs: one small struct each with ℓ and ∂ℓ/∂(output), applied
// to columns of a batch. Part of `loss`.
#pragma once

#include "loss_weights.hpp"

#include "deltarule/columns.hpp"
#include "deltarule/simd.hpp"

#include <algorithm>
#include <array>

namespace deltarule::losses {

// kCostly: a packet of it takes longer to compute than to collect from as many columns.

// ℓ = (a − y)²;  ∂ℓ/∂a = 2 (a − y)
struct Mse {
    static constexpr bool kCostly = false;
    template <class V> V operator()(const V &a, const V &y, V &gradient) const {
        const V error = simd::sub(a, y);
        gradient = simd::add(error, error);
        return simd::mul(error, error);
    }
};

// ℓ = |a − y|;  ∂ℓ/∂a = sign(a − y), 0 where equal
struct Mae {
    static constexpr bool kCostly = false;
    template <class V> V operator()(const V &a, const V &y, V &gradient) const {
        const V one = simd::broadcast<V>(1), zero = simd::zero<V>(), error = simd::sub(a, y);
        gradient = simd::where_less(zero, error, one,
                                    simd::where_less(error, zero, simd::negate(one), zero));
        return simd::abs(error);
    }
};

// ℓ = e²/2 for |e| <= δ, else δ (|e| − δ/2), e = a − y;  ∂ℓ/∂a = e clipped to ±δ   (P. Huber, 1964)
struct Huber {
    static constexpr bool kCostly = false;
    double delta;
    template <class V> V operator()(const V &a, const V &y, V &gradient) const {
        const V d = simd::broadcast<V>(simd::Scalar<V>(delta)), error = simd::sub(a, y);
        const V size = simd::abs(error), half = simd::broadcast<V>(simd::Scalar<V>(0.5));
        const V low = simd::where_less(error, simd::negate(d), simd::negate(d), error);
        gradient = simd::where_less(d, low, d, low);
        return simd::where_less(d, size, simd::mul(d, simd::nmadd(half, d, size)),
                                simd::mul(half, simd::mul(error, error)));
    }
};

// From the logit z: ℓ = max(z, 0) − y z + log1p(e^-|z|);  ∂ℓ/∂z = sigmoid(z) − y
struct BinaryCrossEntropy {
    static constexpr bool kCostly = true;
    template <class V> V operator()(const V &z, const V &y, V &gradient) const {
        const V one = simd::broadcast<V>(1), zero = simd::zero<V>();
        const V e = simd::exp(simd::negate(simd::abs(z)));
        // u = 1 + e as rounded; log1p(e) = log(u) + (e − (u − 1)) / u. One division does for both.
        const V u = simd::add(one, e), inverse = simd::div(one, u);
        const V lost = simd::sub(e, simd::sub(u, one));
        const V tail = simd::madd(lost, inverse, simd::log(u));
        const V sigmoid = simd::where_less(z, zero, simd::mul(e, inverse), inverse);
        gradient = simd::sub(sigmoid, y);
        // The tail last: it is all that is left where z is far on the side of y.
        return simd::add(simd::nmadd(y, z, Relu{}.value(z)), tail);
    }
};

// The same with y (1 − ε) + ε/2 for y   (C. Szegedy et al., 2016)
struct SmoothedBinaryCrossEntropy {
    static constexpr bool kCostly = true;
    double smoothing;
    template <class V> V operator()(const V &z, const V &y, V &gradient) const {
        const V kept = simd::broadcast<V>(simd::Scalar<V>(1 - smoothing));
        const V shared = simd::broadcast<V>(simd::Scalar<V>(smoothing / 2));
        return BinaryCrossEntropy{}(z, simd::madd(kept, y, shared), gradient);
    }
};

// From the logit z of an exp output: ℓ = e^z − y z;  ∂ℓ/∂z = e^z − y
struct Poisson {
    static constexpr bool kCostly = true;
    template <class V> V operator()(const V &z, const V &y, V &gradient) const {
        const V rate = simd::exp(z);
        gradient = simd::sub(rate, y);
        return simd::nmadd(y, z, rate);
    }
};

// Half the Poisson deviance, y log(y / e^z) − y + e^z = y (e^d − 1 − d) with d = z − log y: 0 where
// e^z = y, where the series keeps what the difference of large terms would lose.
struct PoissonDeviance {
    static constexpr bool kCostly = true;
    template <class V> V operator()(const V &z, const V &y, V &gradient) const {
        const V zero = simd::zero<V>(), rate = simd::exp(z), d = simd::sub(z, simd::log(y));
        gradient = simd::sub(rate, y);
        const V far = simd::sub(gradient, simd::mul(y, d));
        const V near = simd::mul(y, past_linear(d));
        const V limit = simd::broadcast<V>(simd::Scalar<V>(0.5));
        const V loss = simd::where_less(simd::abs(d), limit, near, far);
        return simd::where_less(zero, y, loss, rate);
    }
    // e^d − 1 − d = Σ_{n ≥ 2} d^n / n! for |d| < 1/2, by Horner's rule.
    template <class V> static V past_linear(const V &d) {
        const V one = simd::broadcast<V>(1), half = simd::broadcast<V>(simd::Scalar<V>(0.5));
        V sum = one;
        for (int n = 15; n > 2; --n)
            sum = simd::madd(simd::mul(d, simd::broadcast<V>(simd::Scalar<V>(1.0 / n))), sum, one);
        return simd::mul(simd::mul(simd::mul(d, d), half), sum);
    }
};

// Outputs narrower than this go in packets across columns or one number at a time, the others in
// packets along a column: the choice depends on the loss and the width alone.
constexpr Index kNarrow = 4;

// Number `row` of the `count` columns from j: one a lane, the other lanes 0.
template <class T> simd::Packet<T> across(Columns<const T> x, Index row, Index j, Index count) {
    using V = simd::Packet<T>;
    if (x.ld == 1)
        return simd::load_first<V>(x.data + j, count);
    if (count == simd::kLanes<T>)
        return simd::gather<V>(x.column(j) + row, x.ld);
    if (count == 1) // needs no wait for memory written in parts to be read as a whole
        return simd::load_first<V>(x.column(j) + row, 1);
    T lanes[simd::kLanes<T>] = {};
    for (Index q = 0; q < count; ++q)
        lanes[q] = x.column(j + q)[row];
    return simd::load<V>(lanes);
}

// The way back.
template <class T>
void spread(const simd::Packet<T> &values, Columns<T> x, Index row, Index j, Index count) {
    if (x.ld == 1)
        return simd::store_first(x.data + j, values, count);
    T lanes[simd::kLanes<T>];
    simd::store(lanes, values);
    for (Index q = 0; q < count; ++q)
        x.column(j + q)[row] = lanes[q];
}

template <class T> simd::Packet<T> factors(const Weights<T> &weights, Index j, Index count) {
    T lanes[simd::kLanes<T>] = {};
    for (Index q = 0; q < count; ++q)
        lanes[q] = static_cast<T>(weights.in_gradient(j + q));
    return simd::load<simd::Packet<T>>(lanes);
}

// Lane q belongs to column j + q from first to last, so that its bits depend on nothing else; the
// last columns go through packets as well.
template <class T, class L>
void narrow_element_wise(const L &loss, Index rows, Index n, Columns<const T> out,
                         Columns<const T> y, Weights<T> weights, double *losses, Columns<T> d) {
    using V = simd::Packet<T>;
    const V uniform = simd::broadcast<V>(static_cast<T>(weights.share()));
    for (Index j = 0; j < n; j += simd::kLanes<T>) {
        const Index count = std::min(n - j, Index(simd::kLanes<T>));
        const V factor = weights.uniform() ? uniform : factors(weights, j, count);
        V sum = simd::zero<V>();
        for (Index i = 0; i < rows; ++i) {
            V gradient;
            sum = simd::add(sum, loss(across(out, i, j, count), across(y, i, j, count), gradient));
            if (d)
                spread<T>(simd::mul(factor, gradient), d, i, j, count);
        }
        T sums[simd::kLanes<T>];
        simd::store(sums, sum);
        for (Index q = 0; q < count; ++q)
            losses[j + q] = weights.loss(j + q, static_cast<double>(sums[q]));
    }
}

// A cheap loss is computed in less time than it takes to collect a packet: one number at a time.
template <Index kRows, class T, class L>
void scalar_element_wise(const L &loss, Index n, Columns<const T> out, Columns<const T> y,
                         Weights<T> weights, double *losses, Columns<T> d) {
    const T uniform = static_cast<T>(weights.share());
    for (Index j = 0; j < n; ++j) {
        const T factor = weights.uniform() ? uniform : static_cast<T>(weights.in_gradient(j));
        T sum = 0;
        for (Index i = 0; i < kRows; ++i) {
            T gradient;
            sum += loss(out.column(j)[i], y.column(j)[i], gradient);
            if (d)
                d.column(j)[i] = factor * gradient;
        }
        losses[j] = weights.loss(j, static_cast<double>(sum));
    }
}

// Σ over the outputs of one column, in virtual lanes; gradient times `factor`.
template <class T, class L>
T element_wise_column(const L &loss, Index rows, const T *out, const T *y, T factor, T *d) {
    using V = simd::Packet<T>;
    const V scale = simd::broadcast<V>(factor);
    simd::Lanes16<T> sums(T(0));
    const Index whole = rows / 16 * 16;
    for (Index i = 0; i < whole; i += 16)
        sums.each([&](V &sum, Index offset) {
            const Index at = i + offset;
            V gradient;
            sum = simd::add(sum, loss(simd::load<V>(out + at), simd::load<V>(y + at), gradient));
            if (d)
                simd::store(d + at, simd::mul(scale, gradient));
        });
    sums.each([&](V &sum, Index offset) {
        const Index at = whole + offset, count = simd::lanes_before<T>(rows, at);
        if (count <= 0)
            return;
        V gradient;
        const V value = loss(simd::load_first<V>(out + at, count),
                             simd::load_first<V>(y + at, count), gradient);
        if (d)
            simd::store_first(d + at, simd::mul(scale, gradient), count);
        sum = simd::add(sum, simd::first_or(value, count, simd::zero<V>()));
    });
    return sums.sum();
}

template <class T, class L>
void wide_element_wise(const L &loss, Index rows, Index n, Columns<const T> out, Columns<const T> y,
                       Weights<T> weights, double *losses, Columns<T> d) {
    for (Index j = 0; j < n; ++j) {
        const T sum =
            element_wise_column(loss, rows, out.column(j), y.column(j),
                                static_cast<T>(weights.in_gradient(j)), d ? d.column(j) : nullptr);
        losses[j] = weights.loss(j, static_cast<double>(sum));
    }
}

template <class T, class L>
void element_wise(const L &loss, Index rows, Index n, Columns<const T> out, Columns<const T> y,
                  const Weights<T> &weights, double *losses, Columns<T> d) {
    if (rows >= kNarrow)
        return wide_element_wise(loss, rows, n, out, y, weights, losses, d);
    if (L::kCostly || out.ld == 1) // what lies together is collected already
        return narrow_element_wise(loss, rows, n, out, y, weights, losses, d);
    if constexpr (!L::kCostly) {
        if (rows == 1)
            return scalar_element_wise<1>(loss, n, out, y, weights, losses, d);
        if (rows == 2)
            return scalar_element_wise<2>(loss, n, out, y, weights, losses, d);
        scalar_element_wise<3>(loss, n, out, y, weights, losses, d);
    }
}

} // namespace deltarule::losses
