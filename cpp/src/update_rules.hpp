// The rules of the first-order optimisers, one struct each, a packet at a time.
//
// A rule's constructor takes the settings, the step's scalars and the optimiser's state at a tile's
// first parameter. Its operator() takes a packet's place in the tile, its g and its parameters (p,
// already decayed); it updates the state there and returns the new parameters.
#pragma once

#include "deltarule/optimizer.hpp"
#include "deltarule/simd.hpp"

namespace deltarule::rules {

template <class T> using P = simd::Packet<T>;

// The place of a packet in a tile.
struct Place {
    Index offset, lanes;
};

template <class T> P<T> load(const T *tile, Place at) {
    return at.lanes == simd::kLanes<T> ? simd::load<P<T>>(tile + at.offset)
                                       : simd::load_first<P<T>>(tile + at.offset, at.lanes);
}
template <class T> void store(T *tile, const P<T> &x, Place at) {
    if (at.lanes == simd::kLanes<T>)
        simd::store(tile + at.offset, x);
    else
        simd::store_first(tile + at.offset, x, at.lanes);
}
template <class T> P<T> constant(double x) { return simd::broadcast<P<T>>(static_cast<T>(x)); }

// β old + (1 − β) x
template <class V> V running_mean(const V &beta, const V &rest, const V &old, const V &x) {
    return simd::madd(rest, x, simd::mul(beta, old));
}
// −1, 0 or 1; NaN stays, so that trouble shows in theta.
template <class V> V sign(const V &x) {
    const V zero = simd::zero<V>(), one = simd::broadcast<V>(1);
    return simd::where_less(zero, x, one, simd::where_less(x, zero, simd::negate(one), x));
}
// x between −bound and bound; NaN stays.
template <class V> V clamp(const V &x, const V &bound) {
    const V low = simd::negate(bound);
    return simd::where_less(bound, x, bound, simd::where_less(x, low, low, x));
}

template <class T> struct State {
    T *vectors[3]; // null where the rule has fewer
};

// θ ← θ − η g
template <class T> struct PlainSgd {
    P<T> rate;

    PlainSgd(const OptimizerSpec &, const StepScalars &step, const State<T> &)
        : rate(constant<T>(step.rate)) {}
    P<T> operator()(Place, const P<T> &g, const P<T> &p) const { return simd::nmadd(rate, g, p); }
};

// v ← μ v + g;  θ ← θ − η v,  with Nesterov θ ← θ − η (g + μ v)
// (B. Polyak, 1964; Y. Nesterov, 1983, in the form of I. Sutskever et al., 2013)
template <class T> struct Momentum {
    P<T> rate, early_rate, mu;
    bool nesterov;
    T *velocity;

    Momentum(const OptimizerSpec &spec, const StepScalars &step, const State<T> &state)
        : rate(constant<T>(spec.rate_in_velocity ? 1 : step.rate)),
          early_rate(constant<T>(spec.rate_in_velocity ? step.rate : 1)),
          mu(constant<T>(spec.momentum)), nesterov(spec.nesterov), velocity(state.vectors[0]) {}
    P<T> operator()(Place at, const P<T> &g, const P<T> &p) const {
        const P<T> step = simd::mul(early_rate, g);
        const P<T> v = simd::madd(mu, load(velocity, at), step);
        store(velocity, v, at);
        return simd::nmadd(rate, nesterov ? simd::madd(mu, v, step) : v, p);
    }
};

// m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;
// θ ← θ − η m̂ / (√v̂ + ε),  m̂ = m / (1 − β₁ᵗ), v̂ = v / (1 − β₂ᵗ)   (D. Kingma, J. Ba, 2015)
// kMaximum: the largest v so far in place of v                      (S. Reddi et al., 2018)
// step.rate: η / (1 − β₁ᵗ); step.root_correction: 1 / √(1 − β₂ᵗ)
template <class T, bool kMaximum> struct Adam {
    P<T> rate, root, beta1, rest1, beta2, rest2, epsilon;
    T *mean, *square, *largest;

    Adam(const OptimizerSpec &spec, const StepScalars &step, const State<T> &state)
        : rate(constant<T>(step.rate)), root(constant<T>(step.root_correction)),
          beta1(constant<T>(spec.beta1)), rest1(constant<T>(1 - spec.beta1)),
          beta2(constant<T>(spec.beta2)), rest2(constant<T>(1 - spec.beta2)),
          epsilon(constant<T>(spec.epsilon)), mean(state.vectors[0]), square(state.vectors[1]),
          largest(state.vectors[2]) {}
    P<T> operator()(Place at, const P<T> &g, const P<T> &p) const {
        const P<T> m = running_mean(beta1, rest1, load(mean, at), g);
        P<T> v = running_mean(beta2, rest2, load(square, at), simd::mul(g, g));
        store(mean, m, at);
        store(square, v, at);
        if constexpr (kMaximum) {
            const P<T> before = load(largest, at);
            v = simd::where_less(before, v, v, before);
            store(largest, v, at);
        }
        const P<T> scale = simd::madd(simd::sqrt(v), root, epsilon);
        return simd::sub(p, simd::quotient(simd::mul(rate, m), scale));
    }
};

// m, v, v̂ as Adam's;  μ_t = β₁ (1 − ½ 0.96^(ψ t));
// θ ← θ − η (μ_{t+1} m / (1 − Π_{i≤t+1} μ_i) + (1 − μ_t) g / (1 − Π_{i≤t} μ_i)) / (√v̂ + ε)
// (T. Dozat, 2016). step.momentum_rate: the factor of m with η; step.rate: that of g
template <class T> struct Nadam {
    P<T> rate, momentum_rate, root, beta1, rest1, beta2, rest2, epsilon;
    T *mean, *square;

    Nadam(const OptimizerSpec &spec, const StepScalars &step, const State<T> &state)
        : rate(constant<T>(step.rate)), momentum_rate(constant<T>(step.momentum_rate)),
          root(constant<T>(step.root_correction)), beta1(constant<T>(spec.beta1)),
          rest1(constant<T>(1 - spec.beta1)), beta2(constant<T>(spec.beta2)),
          rest2(constant<T>(1 - spec.beta2)), epsilon(constant<T>(spec.epsilon)),
          mean(state.vectors[0]), square(state.vectors[1]) {}
    P<T> operator()(Place at, const P<T> &g, const P<T> &p) const {
        const P<T> m = running_mean(beta1, rest1, load(mean, at), g);
        const P<T> v = running_mean(beta2, rest2, load(square, at), simd::mul(g, g));
        store(mean, m, at);
        store(square, v, at);
        const P<T> ahead = simd::madd(momentum_rate, m, simd::mul(rate, g));
        return simd::sub(p, simd::quotient(ahead, simd::madd(simd::sqrt(v), root, epsilon)));
    }
};

// v ← α v + (1 − α) g²;  θ ← θ − η g / (√v + ε)                    (T. Tieleman, G. Hinton, 2012)
// centred: ḡ ← α ḡ + (1 − α) g, and v − ḡ² in place of v                     (A. Graves, 2013)
// with momentum: b ← μ b + g / (√v + ε);  θ ← θ − η b
template <class T> struct RmsProp {
    P<T> rate, alpha, rest, epsilon, mu;
    T *square, *mean, *velocity; // the last two null where not asked for

    RmsProp(const OptimizerSpec &spec, const StepScalars &step, const State<T> &state)
        : rate(constant<T>(step.rate)), alpha(constant<T>(spec.alpha)),
          rest(constant<T>(1 - spec.alpha)), epsilon(constant<T>(spec.epsilon)),
          mu(constant<T>(spec.momentum)), square(state.vectors[0]),
          mean(spec.centered ? state.vectors[1] : nullptr),
          velocity(spec.momentum != 0 ? state.vectors[spec.centered ? 2 : 1] : nullptr) {}
    P<T> operator()(Place at, const P<T> &g, const P<T> &p) const {
        P<T> spread = running_mean(alpha, rest, load(square, at), simd::mul(g, g));
        store(square, spread, at);
        if (mean) { // rounding may leave it below zero
            const P<T> average = running_mean(alpha, rest, load(mean, at), g);
            store(mean, average, at);
            const P<T> zero = simd::zero<P<T>>();
            spread = simd::nmadd(average, average, spread);
            spread = simd::where_less(spread, zero, zero, spread);
        }
        P<T> step = simd::quotient(g, simd::add(simd::sqrt(spread), epsilon));
        if (velocity) {
            step = simd::madd(mu, load(velocity, at), step);
            store(velocity, step, at);
        }
        return simd::nmadd(rate, step, p);
    }
};

// s ← s + g²;  θ ← θ − η g / (√s + ε)                         (J. Duchi, E. Hazan, Y. Singer, 2011)
template <class T> struct Adagrad {
    P<T> rate, epsilon;
    T *sum;

    Adagrad(const OptimizerSpec &spec, const StepScalars &step, const State<T> &state)
        : rate(constant<T>(step.rate)), epsilon(constant<T>(spec.epsilon)), sum(state.vectors[0]) {}
    P<T> operator()(Place at, const P<T> &g, const P<T> &p) const {
        const P<T> s = simd::madd(g, g, load(sum, at));
        store(sum, s, at);
        return simd::nmadd(rate, simd::quotient(g, simd::add(simd::sqrt(s), epsilon)), p);
    }
};

// θ ← θ − η sign(β₁ m + (1 − β₁) g);  m ← β₂ m + (1 − β₂) g               (X. Chen et al., 2023)
template <class T> struct Lion {
    P<T> rate, beta1, rest1, beta2, rest2;
    T *mean;

    Lion(const OptimizerSpec &spec, const StepScalars &step, const State<T> &state)
        : rate(constant<T>(step.rate)), beta1(constant<T>(spec.beta1)),
          rest1(constant<T>(1 - spec.beta1)), beta2(constant<T>(spec.beta2)),
          rest2(constant<T>(1 - spec.beta2)), mean(state.vectors[0]) {}
    P<T> operator()(Place at, const P<T> &g, const P<T> &p) const {
        const P<T> m = load(mean, at);
        store(mean, running_mean(beta2, rest2, m, g), at);
        return simd::nmadd(rate, sign(running_mean(beta1, rest1, m, g)), p);
    }
};

// iRprop+ (C. Igel, M. Hüsken, 2003), with s = sign(g) and s' that of the step before:
//   s s' > 0:  Δ ← min(η⁺ Δ, Δ_max);  θ ← θ − s Δ;  s' ← s
//   s s' < 0:  θ ← θ + s' Δ if the loss grew (the last step taken back);  Δ ← max(η⁻ Δ, Δ_min);
//              s' ← 0
//   s s' = 0:  θ ← θ − s Δ;  s' ← s
template <class T> struct IrpropPlus {
    P<T> eta_plus, eta_minus, step_min, step_max, back;
    T *last_sign, *step;

    IrpropPlus(const OptimizerSpec &spec, const StepScalars &scalars, const State<T> &state)
        : eta_plus(constant<T>(spec.eta_plus)), eta_minus(constant<T>(spec.eta_minus)),
          step_min(constant<T>(spec.step_min)), step_max(constant<T>(spec.step_max)),
          back(constant<T>(scalars.backtrack ? 1 : 0)), last_sign(state.vectors[0]),
          step(state.vectors[1]) {}
    P<T> operator()(Place at, const P<T> &g, const P<T> &p) const {
        const P<T> zero = simd::zero<P<T>>();
        const P<T> s = sign(g), last = load(last_sign, at), size = load(step, at);
        const P<T> turned = simd::mul(s, last); // 1, 0 or -1: g itself could underflow
        P<T> longer = simd::mul(eta_plus, size), shorter = simd::mul(eta_minus, size);
        longer = simd::where_less(step_max, longer, step_max, longer);
        shorter = simd::where_less(shorter, step_min, step_min, shorter);
        const P<T> next =
            simd::where_less(zero, turned, longer, simd::where_less(turned, zero, shorter, size));
        store(step, next, at);
        store(last_sign, simd::where_less(turned, zero, zero, s), at);
        const P<T> taken_back = simd::madd(simd::mul(back, last), size, p);
        return simd::where_less(turned, zero, taken_back, simd::nmadd(s, next, p));
    }
};

} // namespace deltarule::rules
