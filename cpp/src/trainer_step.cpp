// One step: gather, forward, loss, recursion, gradient; the penalties' part; clipping; the update.
#include "deltarule/trainer.hpp"

#include "deltarule/flush_subnormals.hpp"
#include "deltarule/inference.hpp"
#include "raw_parameters.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace deltarule {

template <class T> std::uint64_t Trainer<T>::draw_step() const {
    return state.own_seed ? static_cast<std::uint64_t>(state.step) : network_->n_steps;
}

// Makes room for batches of `batch` rows, and for evaluating blocks of up to 256 of `rows` rows.
// Of a batch 256 rows are in memory at a time, or with a BatchNorm all.
template <class T>
void Trainer<T>::prepare(Index batch, Index rows, Index target_width, int n_threads) {
    // One block is applied from cache, unless its norm comes first.
    if ((batch > kRowBlock || optimizer_.needs_norm()) && gradient_.size() == 0)
        gradient_ = Buffer<T>(network_->n_parameters());
    const Index together = rows_together(*network_, {.training = true}, batch);
    const Index capacity = std::max(together, std::min(rows, kRowBlock));
    if (workspace_ && workspace_->capacity() >= capacity &&
        workspace_->target_width() == target_width && workspace_->n_threads() >= n_threads)
        return;
    workspace_.reset(); // if one of these throws, the next call makes both anew
    objective_.emplace(*network_, loss_, target_width);
    workspace_ = std::make_unique<Workspace<T>>(*network_, capacity, target_width, Keep::gradient,
                                                n_threads);
}

// Finds what follows from the layers' settings, if these have changed.
template <class T> void Trainer<T>::read_layers() {
    if (layers_read_ == network_->n_training_changes())
        return;
    const auto &layout = network_->layout();
    for (std::size_t l = 0; l < layout.size(); ++l)
        if (!optimizer_.accepts_factor(layout[l].training.learning_rate_factor))
            throw std::invalid_argument("net.layers[" + std::to_string(l) +
                                        "].learning_rate_factor must be 0 or 1 for an optimiser "
                                        "without a learning rate (" +
                                        std::string(optimizer_name(optimizer_.spec().kind)) + ")");
    of_gradient_ = ParameterSum<T>::squares_of_trained(*network_);
    of_layers_ = ParameterSum<T>::penalties_of_layers(*network_);
    by_layer_ = std::ranges::any_of(
        layout, [](const LayerLayout &layer) { return layer.training != LayerTraining{}; });
    layers_read_ = network_->n_training_changes();
}

// What the network holds of a frozen layer, the trained parameters or their average, is both.
template <class T> void Trainer<T>::settle_frozen() {
    if (!average_)
        return;
    for (const LayerLayout &layer : network_->layout())
        if (layer.training.frozen())
            std::copy_n(network_->theta() + layer.theta_offset, layer.n_parameters,
                        average_.apart.data() + layer.theta_offset);
}

// l2/2 Σ W² of the optimiser, and what the layers add; over weights only.
template <class T> double Trainer<T>::penalty(double total, Team &team) {
    const double l2 = optimizer_.l2(total);
    const double of_optimizer = l2 == 0 ? 0 : 0.5 * l2 * of_weights_(network_->theta(), team);
    return of_layers_.empty() ? of_optimizer : of_optimizer + of_layers_(network_->theta(), team);
}

template <class T> double Trainer<T>::rate_of(std::int64_t step) const {
    const OptimizerSpec &spec = optimizer_.spec();
    if (spec.schedule.is_constant())
        return spec.learning_rate;
    const bool sampled = spec.schedule.kind == ScheduleKind::sampled;
    return learning_rate(spec.schedule, sampled ? state.sampled_rate : spec.learning_rate, step,
                         horizon_, state.plateau.reductions);
}

template <class T> void Trainer<T>::require_horizon() const {
    if (optimizer_.spec().schedule.needs_horizon())
        throw std::invalid_argument("learning_rate must be a schedule with steps= for single "
                                    "steps: without, it lasts as long as a run");
}

template <class T> void Trainer<T>::begin_update(StepFacts &&facts) {
    facts.learning_rate = rate_of(state.step);
    optimizer_.begin_step(facts);
    ++state.step;
    ++network_->n_steps;
    average_.begin_step(state.step);
}

// Parameters of one layer that is not frozen, from their gradient.
template <class T> void Trainer<T>::apply_to(const ParameterRange &range, const T *gradient) {
    T *theta = network_->theta() + range.first;
    if (by_layer_)
        optimizer_.update(range, gradient, theta, network_->training_of(range.first));
    else
        optimizer_.update(range, gradient, theta);
    if (average_)
        average_.update(range.first, range.count(), theta);
}

// A share of all parameters, from a whole gradient.
template <class T> void Trainer<T>::apply_share(const T *gradient, const Share &share) {
    for (const LayerLayout &layout : network_->layout()) {
        if (layout.training.frozen())
            continue;
        const Index W = layout.theta_offset;
        const Index weights = layout.n_weights();
        const Index first = W + share.first(weights, kColumnTile);
        const Index end = W + share.last(weights, kColumnTile);
        const Index others = share.end == 1 ? layout.n_parameters - weights : 0;
        apply_to({first, end - first, others}, gradient + first);
    }
}

// The third phase of a step: all parameters from a whole gradient, once its norm is known. False if
// that is not finite: then nothing was changed.
template <class T>
bool Trainer<T>::clip_and_apply(const T *gradient, StepFacts &&facts, Team &team) {
    if (optimizer_.needs_norm())
        facts.gradient_norm = std::sqrt(of_gradient_(gradient, team));
    if (!std::isfinite(facts.gradient_norm))
        return false;
    begin_update(std::move(facts));
    team.run([&](int t) { apply_share(gradient, team.share(t)); });
    return true;
}

// One step on a batch with weights that sum to `total` > 0; `loss` is that before the step. A step
// whose loss, or norm of the gradient if needed, is not finite is not applied and `loss` not
// finite. False if abandoned.
template <class T>
bool Trainer<T>::train_on(const Examples<T> &data, const Batch &batch, double total, Team &team,
                          const Poll &poll, double &loss) {
    Pass pass;
    pass.training = pass.skip_frozen = true;
    pass.seed = state.seed;
    pass.step = draw_step();
    const double extra = penalty(total, team);
    const bool at_once = !optimizer_.needs_norm();
    bool applied = false;
    const auto accept = [&](double value) {
        if (!std::isfinite(value + extra))
            return false;
        if (at_once)
            begin_update({.total_weight = total, .loss = value + extra});
        applied = at_once;
        return true;
    };
    const auto apply = [this](const ParameterRange &range, const T *gradient) {
        apply_to(range, gradient);
    };
    GradientUse<T> use{gradient_.data(), accept, {}, {}};
    if (at_once) {
        use.apply = apply;
        use.touched = optimizer_.touched(network_->theta());
    }
    if (!objective_->evaluate(data, batch, total, pass, *workspace_, team, poll, loss, &use))
        return false;
    loss += extra;
    if (!at_once && std::isfinite(loss)) {
        applied = clip_and_apply(gradient_.data(), {.total_weight = total, .loss = loss}, team);
        if (!applied)
            loss = std::numeric_limits<double>::quiet_NaN();
    }
    if (applied && network_->has_batch_norm())
        network_->update_statistics(*workspace_, batch.count);
    return true;
}

template <class T> double Trainer<T>::step(const Examples<T> &data, int n_threads) {
    require_horizon();
    FlushSubnormals flush;
    const Index rows = data.X->rows();
    Team team(worthwhile_threads(*network_, rows, static_cast<double>(rows), 3, n_threads));
    read_layers();
    settle_frozen();
    prepare(rows, 0, data.y->width(), team.size());
    const RowOrder order(rows);
    const Batch batch{&order, 0, rows};
    const double total = objective_->total_weight(data, batch, *workspace_);
    if (!(total > 0))
        throw DataError(std::string(data.names.weight) + " must not be all zero");
    Raw raw(*this);
    double loss = 0;
    train_on(data, batch, total, team, nullptr, loss);
    raw.average_after = raw.average_after && !std::isfinite(loss);
    return loss;
}

template <class T> bool Trainer<T>::apply(const T *gradient, double loss) {
    require_horizon();
    FlushSubnormals flush;
    Team team(1);
    read_layers();
    settle_frozen();
    Raw raw(*this);
    const bool applied = clip_and_apply(gradient, {.loss = loss}, team);
    raw.average_after = raw.average_after && !applied;
    return applied;
}

// Before the first step what is trained is its own average.
template <class T> void Trainer<T>::use_raw() {
    if (!average_ || !state.average_in_network)
        return;
    if (state.step == 0)
        std::copy_n(network_->theta(), network_->n_parameters(), average_.apart.data());
    else
        std::swap_ranges(average_.apart.data(), average_.apart.data() + average_.apart.size(),
                         network_->theta());
    state.average_in_network = false;
}

template <class T> void Trainer<T>::use_average() {
    if (!average_ || state.average_in_network)
        return;
    std::swap_ranges(average_.apart.data(), average_.apart.data() + average_.apart.size(),
                     network_->theta());
    state.average_in_network = true;
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template void Trainer<T>::prepare(Index, Index, Index, int);                                   \
    template std::uint64_t Trainer<T>::draw_step() const;                                          \
    template double Trainer<T>::rate_of(std::int64_t) const;                                       \
    template bool Trainer<T>::train_on(const Examples<T> &, const Batch &, double, Team &,         \
                                       const Poll &, double &);                                    \
    template void Trainer<T>::settle_frozen();                                                     \
    template void Trainer<T>::read_layers();                                                       \
    template void Trainer<T>::use_raw();                                                           \
    template void Trainer<T>::use_average();                                                       \
    template double Trainer<T>::step(const Examples<T> &, int);                                    \
    template bool Trainer<T>::apply(const T *, double);

DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
