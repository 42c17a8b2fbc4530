// Losses whose outputs are not one for each target: several quantiles of one target, mean and
// variance of each. Part of `loss`.
#pragma once

#include "element_wise_loss.hpp"
#include "regression_loss.hpp"

namespace deltarule::losses {

// Output i of a column is quantile q[i] of its only target.
template <class T>
void quantiles(const T *q, Index rows, Index n, Columns<const T> out, Columns<const T> y,
               const Weights<T> &weights, double *losses, Columns<T> d) {
    using V = simd::Packet<T>;
    for (Index j = 0; j < n; ++j) {
        const V target = simd::broadcast<V>(y.column(j)[0]);
        const V factor = simd::broadcast<V>(static_cast<T>(weights.in_gradient(j)));
        const T *a = out.column(j);
        simd::Lanes16<T> sums(T(0));
        for (Index i = 0; i < rows; i += 16)
            sums.each([&](V &sum, Index offset) {
                const Index at = i + offset, count = simd::lanes_before<T>(rows, at);
                if (count <= 0)
                    return;
                V gradient;
                const V value = pinball(simd::load_first<V>(q + at, count),
                                        simd::load_first<V>(a + at, count), target, gradient);
                if (d)
                    simd::store_first(d.column(j) + at, simd::mul(factor, gradient), count);
                sum = simd::add(sum, simd::first_or(value, count, simd::zero<V>()));
            });
        losses[j] = weights.loss(j, static_cast<double>(sums.sum()));
    }
}

// Output i is the mean μ of target i, output m + i the logarithm s of its variance:
// ℓ = (s + (μ − y)² e⁻ˢ) / 2   (D. Nix, A. Weigend, 1994)
template <class V>
V gaussian_nll(const V &mean, const V &log_variance, const V &y, V &d_mean, V &d_log_variance) {
    const V half = simd::broadcast<V>(simd::Scalar<V>(0.5)), error = simd::sub(mean, y);
    d_mean = simd::mul(error, simd::exp(simd::negate(log_variance)));
    const V square = simd::mul(error, d_mean);
    d_log_variance = simd::mul(half, simd::sub(simd::broadcast<V>(1), square));
    return simd::mul(half, simd::add(log_variance, square));
}

// For fewer than kNarrow targets: packets across columns.
template <class T>
void narrow_gaussian(Index m, Index n, Columns<const T> out, Columns<const T> y,
                     const Weights<T> &weights, double *losses, Columns<T> d) {
    using V = simd::Packet<T>;
    for (Index j = 0; j < n; j += simd::kLanes<T>) {
        const Index count = std::min(n - j, Index(simd::kLanes<T>));
        const V factor = factors(weights, j, count);
        V sum = simd::zero<V>();
        for (Index i = 0; i < m; ++i) {
            V d_mean, d_log_variance;
            sum =
                simd::add(sum, gaussian_nll(across(out, i, j, count), across(out, m + i, j, count),
                                            across(y, i, j, count), d_mean, d_log_variance));
            if (!d)
                continue;
            spread<T>(simd::mul(factor, d_mean), d, i, j, count);
            spread<T>(simd::mul(factor, d_log_variance), d, m + i, j, count);
        }
        T sums[simd::kLanes<T>];
        simd::store(sums, sum);
        for (Index q = 0; q < count; ++q)
            losses[j + q] = weights.loss(j + q, static_cast<double>(sums[q]));
    }
}

template <class T>
void wide_gaussian(Index m, Index n, Columns<const T> out, Columns<const T> y,
                   const Weights<T> &weights, double *losses, Columns<T> d) {
    using V = simd::Packet<T>;
    for (Index j = 0; j < n; ++j) {
        const V factor = simd::broadcast<V>(static_cast<T>(weights.in_gradient(j)));
        const T *a = out.column(j), *yj = y.column(j);
        simd::Lanes16<T> sums(T(0));
        for (Index i = 0; i < m; i += 16)
            sums.each([&](V &sum, Index offset) {
                const Index at = i + offset, count = simd::lanes_before<T>(m, at);
                if (count <= 0)
                    return;
                V d_mean, d_log_variance;
                const V value = gaussian_nll(
                    simd::load_first<V>(a + at, count), simd::load_first<V>(a + m + at, count),
                    simd::load_first<V>(yj + at, count), d_mean, d_log_variance);
                if (d) {
                    T *dj = d.column(j) + at;
                    simd::store_first(dj, simd::mul(factor, d_mean), count);
                    simd::store_first(dj + m, simd::mul(factor, d_log_variance), count);
                }
                sum = simd::add(sum, simd::first_or(value, count, simd::zero<V>()));
            });
        losses[j] = weights.loss(j, static_cast<double>(sums.sum()));
    }
}

template <class T>
void gaussian(Index m, Index n, Columns<const T> out, Columns<const T> y, const Weights<T> &weights,
              double *losses, Columns<T> d) {
    if (m < kNarrow)
        narrow_gaussian(m, n, out, y, weights, losses, d);
    else
        wide_gaussian(m, n, out, y, weights, losses, d);
}

} // namespace deltarule::losses
