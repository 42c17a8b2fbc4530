// Focal losses from logits: of independent outputs, and of classes. Part of `loss`.
// (T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollár, 2017)
#pragma once

#include "cross_entropy.hpp"

namespace deltarule::losses {

// p = sigmoid(z):  ℓ = α₁ y (1 − p)^γ (−log p) + α₀ (1 − y) p^γ (−log(1 − p)), by
// −log p = log(1 + e⁻ᶻ) =: s₁ and −log(1 − p) = log(1 + eᶻ) =: s₀, so that (1 − p)^γ = e^(−γ s₀);
// ∂ℓ/∂z = α₀ (1 − y) p^γ (γ (1 − p) s₀ + p) − α₁ y (1 − p)^γ (γ p s₁ + 1 − p)
struct BinaryFocal {
    static constexpr bool kCostly = true;
    double gamma, alpha0, alpha1;
    template <class V> V operator()(const V &z, const V &y, V &gradient) const {
        using T = simd::Scalar<V>;
        const V one = simd::broadcast<V>(1), zero = simd::zero<V>();
        const V power = simd::broadcast<V>(T(gamma));
        const V e = simd::exp(simd::negate(simd::abs(z))), u = simd::add(one, e);
        const V large = simd::div(one, u), small = simd::div(e, u), tail = simd::log1p(e);
        const V p = simd::where_less(z, zero, small, large);
        const V rest = simd::where_less(z, zero, large, small); // 1 − p
        const V s0 = simd::add(Relu{}.value(z), tail);
        const V s1 = simd::add(Relu{}.value(simd::negate(z)), tail);
        const V of1 = simd::mul(simd::mul(simd::broadcast<V>(T(alpha1)), y),
                                simd::exp(simd::negate(simd::mul(power, s0))));
        const V of0 = simd::mul(simd::mul(simd::broadcast<V>(T(alpha0)), simd::sub(one, y)),
                                simd::exp(simd::negate(simd::mul(power, s1))));
        const V pull1 = simd::madd(simd::mul(power, p), s1, rest);
        const V pull0 = simd::madd(simd::mul(power, rest), s0, p);
        gradient = simd::nmadd(of1, pull1, simd::mul(of0, pull0));
        return simd::madd(of1, s1, simd::mul(of0, s0));
    }
};

// The shares of the classes [at, at + count) in the target; whether any of them can have one.
struct FocalClassNumber {
    template <class T> static bool any(const T *y, Index at, Index count) {
        const auto own = static_cast<Index>(y[0]);
        return at <= own && own < at + count;
    }
    template <class T> static simd::Packet<T> shares(const T *y, Index at, Index) {
        T lanes[simd::kLanes<T>] = {};
        lanes[static_cast<Index>(y[0]) - at] = 1;
        return simd::load<simd::Packet<T>>(lanes);
    }
};
struct FocalClassShares {
    template <class T> static bool any(const T *, Index, Index) { return true; }
    template <class T> static simd::Packet<T> shares(const T *y, Index at, Index count) {
        return simd::load_first<simd::Packet<T>>(y + at, count);
    }
};

// p = softmax(z), l = −log p = log Σ_k e^(z_k − M) − (z − M), M = max z:
//     ℓ = Σ_c α_c y_c (1 − p_c)^γ l_c
//     ∂ℓ/∂z = p Σ_c h_c − h,  h_c = ∂ℓ/∂l_c = α_c y_c (1 − p_c)^γ (1 + γ p_c l_c / (1 − p_c))
template <class T> class FocalColumn {
  public:
    using V = simd::Packet<T>;

    FocalColumn(Index rows, const T *z)
        : rows_(rows), z_(z), largest_(largest_of(rows, z)),
          log_sum_(simd::log(
              simd::broadcast<V>(scaled_softmax_of_many<T>(rows, z, largest_, 1.0, nullptr)))) {}

    // Returns ℓ; leaves h in `h` if it is given, and Σ h in `total`. alpha may be null.
    template <class Y>
    T loss(Y form, double gamma, const T *alpha, const T *y, T *h, T &total) const {
        const V zero = simd::zero<V>();
        simd::Lanes16<T> values(T(0)), pulls(T(0));
        for (Index i = 0; i < rows_; i += 16)
            for (int part = 0; part < simd::Lanes16<T>::kCount; ++part) {
                const Index at = i + part * simd::kLanes<T>;
                const Index count = simd::lanes_before<T>(rows_, at);
                if (count <= 0)
                    break;
                V value = zero, pull = zero;
                if (form.any(y, at, count)) {
                    V share = form.shares(y, at, count);
                    if (alpha)
                        share = simd::mul(share, simd::load_first<V>(alpha + at, count));
                    value = element(gamma, share, minus_log(at, count), pull);
                }
                values.part[part] = simd::add(values.part[part], value);
                pulls.part[part] = simd::add(pulls.part[part], pull);
                if (h)
                    simd::store_first(h + at, pull, count);
            }
        total = pulls.sum();
        return values.sum();
    }

    // d ← factor (p total − d)
    void gradient(T factor, T total, T *d) const {
        const V scale = simd::broadcast<V>(factor), all = simd::broadcast<V>(total);
        for (Index at = 0; at < rows_; at += simd::kLanes<T>) {
            const Index count = simd::lanes_before<T>(rows_, at);
            const V p = simd::exp(simd::negate(minus_log(at, count)));
            const V pull = simd::sub(simd::mul(p, all), simd::load_first<V>(d + at, count));
            simd::store_first(d + at, simd::mul(scale, pull), count);
        }
    }

  private:
    V minus_log(Index at, Index count) const {
        const V shifted =
            simd::sub(simd::load_first<V>(z_ + at, count), simd::broadcast<V>(largest_));
        return simd::sub(log_sum_, shifted);
    }

    // A class of no share counts nothing, also where its logit is −∞.
    static V element(double gamma, const V &share, const V &l, V &pull) {
        const V zero = simd::zero<V>(), one = simd::broadcast<V>(1);
        const V power = simd::broadcast<V>(static_cast<T>(gamma));
        const V p = simd::exp(simd::negate(l)), rest = simd::negate(simd::expm1(simd::negate(l)));
        const V least = simd::broadcast<V>(std::numeric_limits<T>::min());
        const V safe = simd::where_less(rest, least, least, rest);
        const V part = simd::mul(share, simd::exp(simd::mul(power, simd::log(safe))));
        const V slope = simd::madd(simd::mul(power, p), simd::div(l, safe), one);
        pull = simd::where_less(zero, share, simd::mul(part, slope), zero);
        return simd::where_less(zero, share, simd::mul(part, l), zero);
    }

    Index rows_;
    const T *z_;
    T largest_;
    V log_sum_;
};

template <class T, class Y>
void focal(Y form, double gamma, const T *alpha, Index rows, Index n, Columns<const T> z,
           Columns<const T> y, const Weights<T> &weights, double *losses, Columns<T> d) {
    for (Index j = 0; j < n; ++j) {
        const FocalColumn<T> column(rows, z.column(j));
        T *dj = d ? d.column(j) : nullptr, total = 0;
        const T loss = column.loss(form, gamma, alpha, y.column(j), dj, total);
        losses[j] = weights.loss(j, static_cast<double>(loss));
        if (dj)
            column.gradient(static_cast<T>(weights.in_gradient(j)), total, dj);
    }
}

} // namespace deltarule::losses
