// Activation functions: one small struct each, with the function, its derivative and its equation.
//
// value(z) = σ(z); slope(z, a) = σ'(z), from a = σ(z) where that is enough, so that z need not be
// kept. V is a packet or a scalar.
#pragma once

#include "deltarule/columns.hpp"
#include "deltarule/normal_tail.hpp"
#include "deltarule/simd.hpp"

#include <string>
#include <string_view>

namespace deltarule {

enum class ActivationKind {
    identity,
    sigmoid,
    tanh,
    relu,
    leaky_relu,
    elu,
    selu,
    silu,
    gelu,
    mish,
    softplus,
    exp,
    softmax
};

// What a layer is told: which function, and its parameter (slope of leaky_relu, scale of elu).
struct Activation {
    ActivationKind kind = ActivationKind::identity;
    double alpha = 0;
};

// Throws std::invalid_argument for an unknown name.
ActivationKind activation_kind(std::string_view name);
std::string_view activation_name(ActivationKind kind);

// Whether σ' needs z, so that z and a must be kept apart.
bool slope_needs_z(ActivationKind kind);

// σ(z) = z
struct Identity {
    template <class V> V value(const V &z) const { return z; }
    template <class V> V slope(const V &, const V &) const { return simd::broadcast<V>(1); }
};

// σ(z) = 1 / (1 + e⁻ᶻ), by e^-|z| so that neither tail overflows;  σ' = a (1 − a)
struct Sigmoid {
    template <class V> V value(const V &z) const {
        const V one = simd::broadcast<V>(1);
        const V e = simd::exp(simd::negate(simd::abs(z)));
        return simd::div(simd::where_less(z, simd::zero<V>(), e, one), simd::add(one, e));
    }
    template <class V> V slope(const V &, const V &a) const {
        return simd::mul(a, simd::sub(simd::broadcast<V>(1), a));
    }
};

// σ(z) = tanh z;  σ' = 1 − a²
struct Tanh {
    template <class V> V value(const V &z) const { return simd::tanh(z); }
    template <class V> V slope(const V &, const V &a) const {
        return simd::nmadd(a, a, simd::broadcast<V>(1));
    }
};

// σ(z) = max(z, 0), NaN kept;  σ' = [a > 0]
struct Relu {
    template <class V> V value(const V &z) const {
        return simd::where_less(z, simd::zero<V>(), simd::zero<V>(), z);
    }
    template <class V> V slope(const V &, const V &a) const {
        return simd::where_less(simd::zero<V>(), a, simd::broadcast<V>(1), simd::zero<V>());
    }
};

// σ(z) = z for z >= 0, α z below;  σ' = 1 or α   (A. Maas et al., 2013)
struct LeakyRelu {
    double alpha;
    template <class V> V value(const V &z) const {
        const V slope = simd::broadcast<V>(simd::Scalar<V>(alpha));
        return simd::where_less(z, simd::zero<V>(), simd::mul(slope, z), z);
    }
    template <class V> V slope(const V &, const V &a) const {
        return simd::where_less(simd::zero<V>(), a, simd::broadcast<V>(1),
                                simd::broadcast<V>(simd::Scalar<V>(alpha)));
    }
};

// σ(z) = z for z > 0, else α (eᶻ − 1);  σ' = 1 or a + α   (D.-A. Clevert et al., 2016)
struct Elu {
    double alpha;
    template <class V> V value(const V &z) const {
        const V scale = simd::broadcast<V>(simd::Scalar<V>(alpha));
        return simd::where_less(z, simd::zero<V>(), simd::mul(scale, simd::expm1(z)), z);
    }
    template <class V> V slope(const V &, const V &a) const {
        const V scale = simd::broadcast<V>(simd::Scalar<V>(alpha));
        return simd::where_less(simd::zero<V>(), a, simd::broadcast<V>(1), simd::add(a, scale));
    }
};

// σ(z) = λ z for z > 0, else λ α (eᶻ − 1);  σ' = λ or a + λ α   (G. Klambauer et al., 2017)
struct Selu {
    static constexpr double kLambda = 1.0507009873554804934, kLow = 1.7580993408473768599; // λ, λ α
    template <class V> V value(const V &z) const {
        const V scale = simd::broadcast<V>(simd::Scalar<V>(kLambda));
        const V low = simd::broadcast<V>(simd::Scalar<V>(kLow));
        return simd::where_less(z, simd::zero<V>(), simd::mul(low, simd::expm1(z)),
                                simd::mul(scale, z));
    }
    template <class V> V slope(const V &, const V &a) const {
        const V scale = simd::broadcast<V>(simd::Scalar<V>(kLambda));
        const V low = simd::broadcast<V>(simd::Scalar<V>(kLow));
        return simd::where_less(simd::zero<V>(), a, scale, simd::add(a, low));
    }
};

// σ(z) = z s, s = sigmoid(z);  σ' = s (1 + z (1 − s))   (S. Elfwing et al., 2018)
struct Silu {
    template <class V> V value(const V &z) const { return simd::mul(z, Sigmoid{}.value(z)); }
    template <class V> V slope(const V &z, const V &) const {
        const V one = simd::broadcast<V>(1);
        const V s = Sigmoid{}.value(z);
        return simd::mul(s, simd::madd(z, simd::sub(one, s), one));
    }
};

// σ(z) = z Φ(z) = max(z, 0) − |z| Q(|z|), Φ = 1 − Q the normal distribution's;  σ' = Φ(z) + z φ(z),
// φ its density   (D. Hendrycks, K. Gimpel, 2016)
struct Gelu {
    // Far out nothing changes any more, and ∞ · 0 is kept away.
    template <class V> V size(const V &z) const {
        const V end = simd::broadcast<V>(simd::Scalar<V>(normal_tail::kEnd)), x = simd::abs(z);
        return simd::where_less(end, x, end, x);
    }
    template <class V> V value(const V &z) const {
        const V x = size(z), zero = simd::zero<V>();
        const NormalTail<V> tail = upper_tail(x);
        const V lost = simd::mul(simd::mul(x, tail.ratio), tail.density);
        return simd::sub(simd::where_less(z, zero, zero, z), lost);
    }
    template <class V> V slope(const V &z, const V &) const {
        constexpr double kPeak = 0.39894228040143267794; // 1 / √(2π)
        const V x = size(z), peak = simd::broadcast<V>(simd::Scalar<V>(kPeak));
        const NormalTail<V> tail = upper_tail(x);
        const V left = simd::mul(tail.density, simd::nmadd(peak, x, tail.ratio));
        return simd::where_less(z, simd::zero<V>(), left, simd::sub(simd::broadcast<V>(1), left));
    }
};

// σ(z) = z tanh(log(1 + eᶻ)) = z u / v by e = e^-|z|: u = e² + 2e, v = u + 2 for z < 0, both over
// e² for z >= 0;  σ' = (u + 4 z g / v) / v, g = e + e², or e² + e³   (D. Misra, 2019)
struct Mish {
    template <class V> struct Parts {
        V e, u, v;
    };
    template <class V> Parts<V> parts(const V &z) const {
        const V one = simd::broadcast<V>(1), two = simd::broadcast<V>(2);
        const V e = simd::exp(simd::negate(simd::abs(z))), square = simd::mul(e, e);
        const V left = simd::madd(two, e, square), right = simd::madd(two, e, one);
        const V u = simd::where_less(z, simd::zero<V>(), left, right);
        const V more = simd::where_less(z, simd::zero<V>(), one, square);
        return {e, u, simd::madd(two, more, u)};
    }
    template <class V> V value(const V &z) const {
        const Parts<V> p = parts(z);
        return simd::mul(z, simd::div(p.u, p.v));
    }
    template <class V> V slope(const V &z, const V &) const {
        const V one = simd::broadcast<V>(1), four = simd::broadcast<V>(4);
        const Parts<V> p = parts(z);
        const V both = simd::mul(p.e, simd::add(one, p.e));
        const V g = simd::where_less(z, simd::zero<V>(), both, simd::mul(p.e, both));
        const V bend = simd::div(simd::mul(z, simd::mul(four, g)), p.v); // 4 z may overflow
        return simd::div(simd::add(p.u, bend), p.v);
    }
};

// σ(z) = log(1 + eᶻ) = max(z, 0) + log1p(e^-|z|);  σ' = 1 − e⁻ᵃ
struct Softplus {
    template <class V> V value(const V &z) const {
        const V tail = simd::log1p(simd::exp(simd::negate(simd::abs(z))));
        return simd::add(Relu{}.value(z), tail);
    }
    template <class V> V slope(const V &, const V &a) const {
        return simd::negate(simd::expm1(simd::negate(a)));
    }
};

// σ(z) = eᶻ;  σ' = a
struct Exp {
    template <class V> V value(const V &z) const { return simd::exp(z); }
    template <class V> V slope(const V &, const V &a) const { return a; }
};

// Calls f with the struct of an element-wise activation; with Identity for softmax, which is not
// one.
template <class F> void visit_activation(const Activation &activation, F &&f) {
    switch (activation.kind) {
    case ActivationKind::identity:
        return f(Identity{});
    case ActivationKind::sigmoid:
        return f(Sigmoid{});
    case ActivationKind::tanh:
        return f(Tanh{});
    case ActivationKind::relu:
        return f(Relu{});
    case ActivationKind::leaky_relu:
        return f(LeakyRelu{activation.alpha});
    case ActivationKind::elu:
        return f(Elu{activation.alpha});
    case ActivationKind::selu:
        return f(Selu{});
    case ActivationKind::silu:
        return f(Silu{});
    case ActivationKind::gelu:
        return f(Gelu{});
    case ActivationKind::mish:
        return f(Mish{});
    case ActivationKind::softplus:
        return f(Softplus{});
    case ActivationKind::exp:
        return f(Exp{});
    case ActivationKind::softmax:
        return f(Identity{});
    }
}

// a = σ(z) for the first `rows` units of `n` columns; z and a may be the same memory. Writes whole
// packets: columns are padded. Softmax (a_i = e^(z_i − max z) / Σ_j e^(z_j − max z)) included.
template <class T>
void activate(const Activation &activation, Index rows, Index n, Columns<T> z, Columns<T> a);

// z ← z + b 1ᵀ, then a = σ(z); with softmax a = z, to be activated by whole columns.
template <class T>
void add_bias_and_activate(const Activation &activation, Index rows, Index n, const T *b,
                           Columns<T> z, Columns<T> a);

// d ← ∂L/∂z from d = ∂L/∂a: d ⊙ σ'(z), or a ⊙ (d − Σ a d) for softmax.
template <class T>
void multiply_by_slope(const Activation &activation, Index rows, Index n, Columns<const T> z,
                       Columns<const T> a, Columns<T> d);

} // namespace deltarule
