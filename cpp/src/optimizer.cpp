// SGD and Adam on a tile of parameters, a packet at a time; a tail uses the same packet operations.
#include "deltarule/optimizer.hpp"

#include "deltarule/simd.hpp"

#include <cmath>
#include <cstring>
#include <stdexcept>

namespace deltarule {

namespace {

template <class T> using P = simd::Packet<T>;

// Calls f(offset, lanes) for whole packets, then for the rest.
template <class T, class F> void for_packets(Index count, F &&f) {
    constexpr Index kP = simd::kLanes<T>;
    Index i = 0;
    for (; i + kP <= count; i += kP)
        f(i, kP);
    if (i < count)
        f(i, count - i);
}

template <class T> P<T> load(const T *p, Index lanes) {
    return lanes == simd::kLanes<T> ? simd::load<P<T>>(p) : simd::load_first<P<T>>(p, lanes);
}

template <class T> void store(T *p, const P<T> &x, Index lanes) {
    if (lanes == simd::kLanes<T>)
        simd::store(p, x);
    else
        simd::store_first(p, x, lanes);
}

template <class T> P<T> constant(double x) { return simd::broadcast<P<T>>(static_cast<T>(x)); }

} // namespace

OptimizerKind optimizer_kind(std::string_view name) {
    if (name == "sgd")
        return OptimizerKind::sgd;
    if (name == "adam")
        return OptimizerKind::adam;
    throw std::invalid_argument("unknown optimizer '" + std::string(name) + "'");
}

template <class T>
Optimizer<T>::Optimizer(const OptimizerSpec &spec, Index n_parameters) : spec_(spec) {
    if (spec.kind == OptimizerKind::adam) {
        first_ = Buffer<T>(n_parameters);
        second_ = Buffer<T>(n_parameters);
    } else if (spec.momentum != 0) {
        first_ = Buffer<T>(n_parameters);
    }
}

template <class T> void Optimizer<T>::begin_step(double total_weight) {
    ++t_;
    l2_ = l2(total_weight);
    const double t = static_cast<double>(t_);
    if (spec_.kind == OptimizerKind::adam) {
        const double root = std::sqrt(1 - std::pow(spec_.beta2, t));
        step_size_ =
            spec_.learning_rate / (1 - std::pow(spec_.beta1, t)) * (spec_.epsilon_hat ? root : 1);
        root_correction_ = spec_.epsilon_hat ? 1 : 1 / root;
    }
}

template <class T>
void Optimizer<T>::update(Index first, Index count, const T *gradient, T *theta, bool is_weight) {
    if (spec_.kind == OptimizerKind::adam)
        adam(first, count, gradient, theta, is_weight);
    else
        sgd(first, count, gradient, theta, is_weight);
}

template <class T>
void Optimizer<T>::sgd(Index first, Index count, const T *gradient, T *theta, bool is_weight) {
    const double eta = spec_.learning_rate;
    const bool early = spec_.momentum != 0 && spec_.rate_in_velocity;
    const P<T> rate = constant<T>(early ? 1 : eta), early_rate = constant<T>(early ? eta : 1);
    const P<T> mu = constant<T>(spec_.momentum), l2 = constant<T>(is_weight ? l2_ : 0);
    const P<T> kept = constant<T>(is_weight ? 1 - eta * spec_.weight_decay : 1);
    T *velocity = spec_.momentum != 0 ? first_.data() + first : nullptr;
    for_packets<T>(count, [&](Index i, Index lanes) {
        P<T> parameter = load(theta + i, lanes);
        P<T> step = simd::madd(l2, parameter, load(gradient + i, lanes));
        if (velocity) {
            step = simd::mul(early_rate, step);
            const P<T> v = simd::madd(mu, load(velocity + i, lanes), step);
            store(velocity + i, v, lanes);
            step = spec_.nesterov ? simd::madd(mu, v, step) : v;
        }
        parameter = simd::nmadd(rate, step, simd::mul(kept, parameter));
        store(theta + i, parameter, lanes);
    });
}

template <class T>
void Optimizer<T>::adam(Index first, Index count, const T *gradient, T *theta, bool is_weight) {
    const P<T> rate = constant<T>(step_size_), root = constant<T>(root_correction_);
    const P<T> beta1 = constant<T>(spec_.beta1), rest1 = constant<T>(1 - spec_.beta1);
    const P<T> beta2 = constant<T>(spec_.beta2), rest2 = constant<T>(1 - spec_.beta2);
    const P<T> epsilon = constant<T>(spec_.epsilon), l2 = constant<T>(is_weight ? l2_ : 0);
    const P<T> kept = constant<T>(is_weight ? 1 - spec_.learning_rate * spec_.weight_decay : 1);
    T *mean = first_.data() + first, *square = second_.data() + first;
    for_packets<T>(count, [&](Index i, Index lanes) {
        const P<T> parameter = load(theta + i, lanes);
        const P<T> g = simd::madd(l2, parameter, load(gradient + i, lanes));
        const P<T> m = simd::madd(rest1, g, simd::mul(beta1, load(mean + i, lanes)));
        const P<T> v =
            simd::madd(rest2, simd::mul(g, g), simd::mul(beta2, load(square + i, lanes)));
        store(mean + i, m, lanes);
        store(square + i, v, lanes);
        const P<T> scale = simd::madd(simd::sqrt(v), root, epsilon);
        const P<T> step = simd::div(simd::mul(rate, m), scale);
        store(theta + i, simd::sub(simd::mul(kept, parameter), step), lanes);
    });
}

template <class T> void Optimizer<T>::clear() {
    t_ = 0;
    for (auto &[name, vector] : vectors())
        std::memset(static_cast<void *>(vector->data()), 0,
                    static_cast<std::size_t>(vector->size()) * sizeof(T));
}

template <class T> std::vector<std::pair<std::string, Buffer<T> *>> Optimizer<T>::vectors() {
    if (spec_.kind == OptimizerKind::adam)
        return {{"adam_m", &first_}, {"adam_v", &second_}};
    if (spec_.momentum != 0)
        return {{"momentum", &first_}};
    return {};
}

template class Optimizer<float>;
template class Optimizer<double>;

} // namespace deltarule
