// The state of each optimiser, the scalars of its steps, and its rule over a tile of parameters.
#include "deltarule/optimizer.hpp"

#include "update_rules.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <type_traits>

namespace deltarule {

namespace {

using rules::P;
using rules::Place;

struct Name {
    std::string_view name;
    OptimizerKind kind;
};
constexpr Name kNames[] = {
    {"sgd", OptimizerKind::sgd},         {"adam", OptimizerKind::adam},
    {"adamw", OptimizerKind::adam},      {"rmsprop", OptimizerKind::rmsprop},
    {"adagrad", OptimizerKind::adagrad}, {"nadam", OptimizerKind::nadam},
    {"lion", OptimizerKind::lion},       {"irprop+", OptimizerKind::irprop_plus},
};

// A state vector: its name in checkpoints, and its numbers before the first step.
struct VectorSpec {
    const char *name;
    double start = 0;
};

std::vector<VectorSpec> vector_specs(const OptimizerSpec &spec) {
    switch (spec.kind) {
    case OptimizerKind::adam:
        if (spec.amsgrad)
            return {{"adam_m"}, {"adam_v"}, {"adam_v_max"}};
        return {{"adam_m"}, {"adam_v"}};
    case OptimizerKind::rmsprop: {
        std::vector<VectorSpec> all = {{"rmsprop_v"}};
        if (spec.centered)
            all.push_back({"rmsprop_mean"});
        if (spec.momentum != 0)
            all.push_back({"rmsprop_momentum"});
        return all;
    }
    case OptimizerKind::adagrad:
        return {{"adagrad_sum", spec.initial_accumulator}};
    case OptimizerKind::nadam:
        return {{"nadam_m"}, {"nadam_v"}};
    case OptimizerKind::lion:
        return {{"lion_m"}};
    case OptimizerKind::irprop_plus:
        return {{"irprop_sign"}, {"irprop_step", spec.learning_rate}};
    case OptimizerKind::sgd:
        break;
    }
    if (spec.momentum != 0)
        return {{"momentum"}};
    return {};
}

// The rule over the packets of a tile, and over its rest with fewer lanes.
template <class Rule, class T>
void advance_tile(Index count, const T *gradient, T *theta, const OptimizerSpec &spec,
                  const StepScalars &step, const rules::State<T> &state) {
    constexpr Index kP = simd::kLanes<T>;
    const Rule rule(spec, step, state);
    const P<T> l2 = rules::constant<T>(step.l2);
    const P<T> kept = rules::constant<T>(step.kept);
    const auto all = [&](auto &&gradient_at) {
        const auto packet = [&](Place at) {
            const P<T> parameter = rules::load(theta, at);
            const P<T> g = simd::madd(l2, parameter, gradient_at(at));
            rules::store(theta, rule(at, g, simd::mul(kept, parameter)), at);
        };
        Index i = 0;
        for (; i + kP <= count; i += kP)
            packet({i, kP});
        if (i < count)
            packet({i, count - i});
    };
    const P<T> scale = rules::constant<T>(step.gradient_scale);
    const P<T> bound = rules::constant<T>(spec.clip_value);
    const auto clipped = [&](Place at) {
        return rules::clamp(simd::mul(scale, rules::load(gradient, at)), bound);
    };
    if (step.l1 != 0) {
        const P<T> l1 = rules::constant<T>(step.l1);
        all([&](Place at) {
            return simd::madd(l1, rules::sign(rules::load(theta, at)), clipped(at));
        });
    } else if (step.gradient_scale == 1 && spec.clip_value == OptimizerSpec::kNone) {
        all([&](Place at) { return rules::load(gradient, at); });
    } else {
        all(clipped);
    }
}

} // namespace

OptimizerKind optimizer_kind(std::string_view name) {
    for (const Name &each : kNames)
        if (each.name == name)
            return each.kind;
    throw std::invalid_argument("unknown optimizer '" + std::string(name) + "'");
}

std::string_view optimizer_name(OptimizerKind kind) {
    return std::find_if(std::begin(kNames), std::end(kNames),
                        [&](const Name &each) { return each.kind == kind; })
        ->name;
}

template <class T>
Optimizer<T>::Optimizer(const OptimizerSpec &spec, Index n_parameters) : spec_(spec) {
    std::size_t i = 0;
    for (const VectorSpec &each : vector_specs(spec)) {
        vectors_[i] = Buffer<T>(n_parameters);
        if (each.start != 0)
            std::fill_n(vectors_[i].data(), n_parameters, static_cast<T>(each.start));
        ++i;
    }
}

template <class T> void Optimizer<T>::begin_step(const StepFacts &facts) {
    ++t_;
    const double t = static_cast<double>(t_), eta = facts.learning_rate;
    const auto root = [&] { return std::sqrt(1 - std::pow(spec_.beta2, t)); };
    StepScalars &s = scalars_;
    s = {.l2 = l2(facts.total_weight), .kept = 1 - eta * spec_.weight_decay, .rate = eta};
    if (facts.gradient_norm > spec_.clip_norm)
        s.gradient_scale = spec_.clip_norm / facts.gradient_norm;
    if (spec_.kind == OptimizerKind::adam) {
        s.rate = eta / (1 - std::pow(spec_.beta1, t)) * (spec_.epsilon_hat ? root() : 1);
        s.root_correction = spec_.epsilon_hat ? 1 : 1 / root();
    } else if (spec_.kind == OptimizerKind::nadam) {
        const auto momentum = [&](double step) {
            return spec_.beta1 * (1 - 0.5 * std::pow(0.96, step * spec_.momentum_decay));
        };
        const double now = momentum(t), next = momentum(t + 1);
        momentum_product_ *= now;
        s.rate = eta * (1 - now) / (1 - momentum_product_);
        s.momentum_rate = eta * next / (1 - momentum_product_ * next);
        s.root_correction = 1 / root();
    } else if (spec_.kind == OptimizerKind::irprop_plus) {
        s.kept = 1;
        s.backtrack = facts.loss > last_loss_;
        last_loss_ = facts.loss;
    }
}

// With the factor f all is as with a rate of f η.
template <class T> StepScalars Optimizer<T>::scalars_of(const LayerTraining &layer) const {
    StepScalars s = scalars_;
    const double factor = layer.learning_rate_factor;
    s.l1 = layer.l1;
    s.l2 += layer.l2;
    s.kept = 1 - factor * (1 - s.kept);
    s.rate *= factor;
    s.momentum_rate *= factor;
    return s;
}

template <class T>
void Optimizer<T>::update(const ParameterRange &range, const T *gradient, T *theta,
                          const StepScalars &step) {
    const auto [first, n_weights, n_others] = range;
    if (!step.penalises())
        return advance(first, n_weights + n_others, gradient, theta, step);
    if (n_weights > 0)
        advance(first, n_weights, gradient, theta, step);
    if (n_others > 0)
        advance(first + n_weights, n_others, gradient + n_weights, theta + n_weights,
                step.without_penalties());
}

template <class T>
void Optimizer<T>::advance(Index first, Index count, const T *gradient, T *theta,
                           const StepScalars &step) {
    rules::State<T> state;
    for (std::size_t i = 0; i < vectors_.size(); ++i)
        state.vectors[i] = vectors_[i].size() > 0 ? vectors_[i].data() + first : nullptr;
    const auto use = [&]<class Rule>(std::type_identity<Rule>) {
        advance_tile<Rule>(count, gradient, theta, spec_, step, state);
    };
    switch (spec_.kind) {
    case OptimizerKind::sgd:
        return spec_.momentum != 0 ? use(std::type_identity<rules::Momentum<T>>{})
                                   : use(std::type_identity<rules::PlainSgd<T>>{});
    case OptimizerKind::adam:
        return spec_.amsgrad ? use(std::type_identity<rules::Adam<T, true>>{})
                             : use(std::type_identity<rules::Adam<T, false>>{});
    case OptimizerKind::rmsprop:
        return use(std::type_identity<rules::RmsProp<T>>{});
    case OptimizerKind::adagrad:
        return use(std::type_identity<rules::Adagrad<T>>{});
    case OptimizerKind::nadam:
        return use(std::type_identity<rules::Nadam<T>>{});
    case OptimizerKind::lion:
        return use(std::type_identity<rules::Lion<T>>{});
    case OptimizerKind::irprop_plus:
        return use(std::type_identity<rules::IrpropPlus<T>>{});
    }
}

template <class T> void Optimizer<T>::clear() {
    t_ = 0;
    momentum_product_ = 1;
    last_loss_ = OptimizerSpec::kNone;
    std::size_t i = 0;
    for (const VectorSpec &each : vector_specs(spec_)) {
        Buffer<T> &vector = vectors_[i++];
        std::fill_n(vector.data(), vector.size(), static_cast<T>(each.start));
    }
}

template <class T> std::vector<std::pair<std::string, Buffer<T> *>> Optimizer<T>::vectors() {
    std::vector<std::pair<std::string, Buffer<T> *>> all;
    for (const VectorSpec &each : vector_specs(spec_))
        all.emplace_back(each.name, &vectors_[all.size()]);
    return all;
}

template <class T> std::vector<std::pair<std::string, double *>> Optimizer<T>::scalars() {
    if (spec_.kind == OptimizerKind::nadam)
        return {{"nadam_momentum_product", &momentum_product_}};
    if (spec_.kind == OptimizerKind::irprop_plus)
        return {{"irprop_last_loss", &last_loss_}};
    return {};
}

template class Optimizer<float>;
template class Optimizer<double>;

} // namespace deltarule
