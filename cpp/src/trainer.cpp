// The training loop: epochs of steps, and what ends an epoch and a run.
#include "deltarule/trainer.hpp"

#include "deltarule/flush_subnormals.hpp"
#include "deltarule/inference.hpp"
#include "raw_parameters.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

namespace deltarule {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

// Calls f(first, count) for a share of `size` numbers on each thread.
template <class F> void share_out(Team &team, Index size, const F &f) {
    team.run([&](int t) {
        const Share share = team.share(t);
        const Index first = share.first(size, kColumnTile);
        f(first, share.last(size, kColumnTile) - first);
    });
}

// By x - x, which is 0 or NaN.
template <class T> bool all_finite(const T *x, Index size) {
    using V = simd::Packet<T>;
    constexpr Index kP = simd::kLanes<T>;
    const auto fault = [](const V &v) { return simd::sub(v, v); };
    V even = simd::zero<V>(), odd = even;
    Index i = 0;
    for (; i + 2 * kP <= size; i += 2 * kP) {
        even = simd::add(even, fault(simd::load<V>(x + i)));
        odd = simd::add(odd, fault(simd::load<V>(x + i + kP)));
    }
    for (; i < size; i += kP)
        odd = simd::add(odd, fault(simd::load_first<V>(x + i, std::min(kP, size - i))));
    return simd::tree_sum(simd::add(even, odd)) == 0;
}

} // namespace

// One call of run: its arguments and its clock. A clock read costs 25 ns, a small step 500: the
// clock is read after every kClockWork multiply-adds or so.
template <class T> struct Trainer<T>::Run {
    static constexpr Index kClockWork = 1000000;

    const Examples<T> &data, &validation;
    const RunOptions &options;
    const Poll &poll;
    Team &team;
    Clock::time_point start = Clock::now(), last_account = start;
    Index work = 0;
    std::int64_t first_step = 0;

    bool slice_is_over() const {
        return options.slice_seconds >= 0 &&
               seconds_between(start, Clock::now()) >= options.slice_seconds;
    }
    // Moves the time since the last call into the trainer's clocks.
    void account(TrainerState &state) {
        const Clock::time_point now = Clock::now();
        const double elapsed = seconds_between(last_account, now);
        last_account = now;
        state.seconds += elapsed;
        state.epoch_seconds += elapsed;
    }
};

template <class T>
Trainer<T>::Trainer(std::shared_ptr<Network<T>> network, const LossSpec &loss,
                    const OptimizerSpec &optimizer, std::optional<std::uint64_t> seed, double ema)
    : network_(std::move(network)), loss_(loss), optimizer_(optimizer, network_->n_parameters()),
      of_weights_(ParameterSum<T>::squares_of_weights(*network_)),
      average_(ema, network_->n_parameters()), epoch_theta_(network_->n_parameters()) {
    if (network_->has_batch_norm())
        epoch_state_ = Buffer<T>(network_->n_state());
    state.own_seed = seed.has_value();
    state.seed = seed.value_or(network_->seed());
    read_layers();
}

template <class T> void Trainer<T>::begin_epoch(Run &run) {
    const Index rows = run.data.X->rows();
    const RunOptions &options = run.options;
    use_raw();
    share_out(run.team, network_->n_parameters(), [&](Index first, Index count) {
        std::copy_n(network_->theta() + first, count, epoch_theta_.data() + first);
        if (average_)
            std::copy_n(average_.apart.data() + first, count, average_.epoch_start.data() + first);
    });
    std::copy_n(network_->state(), epoch_state_.size(), epoch_state_.data());
    state.in_epoch = true;
    state.position = 0;
    state.rows = rows;
    state.batch_size = std::min(options.batch_size, rows);
    state.shuffle = options.shuffle;
    state.epoch_first_step = state.step;
    state.epoch_draw = draw_step();
    state.loss_sum = state.weight_sum = state.epoch_seconds = 0;
    resume_epoch(rows, options);
}

// Finds the order of rows of the running epoch again.
template <class T> void Trainer<T>::resume_epoch(Index rows, const RunOptions &options) {
    const auto same = [](const char *name, Index was, Index is) {
        if (was != is)
            throw std::invalid_argument("the trainer stands inside an epoch with " +
                                        std::string(name) + " " + std::to_string(was) + ", got " +
                                        std::to_string(is));
    };
    same("a number of rows of", state.rows, rows);
    same("batch_size", state.batch_size, std::min(options.batch_size, rows));
    same("shuffle", state.shuffle, options.shuffle);
    if (state.shuffle && state.batch_size < rows)
        order_.emplace(rows, state.seed, state.epoch_draw);
    else // as they lie: the order within a batch means nothing
        order_.emplace(rows);
}

template <class T> void Trainer<T>::restore_epoch_start() {
    std::copy_n(epoch_theta_.data(), network_->n_parameters(), network_->theta());
    std::copy_n(epoch_state_.data(), epoch_state_.size(), network_->state());
    if (average_) {
        std::copy_n(average_.epoch_start.data(), average_.apart.size(), average_.apart.data());
        state.average_in_network = false;
    }
    network_->n_steps -= static_cast<std::uint64_t>(state.step - state.epoch_first_step);
    state.step = state.epoch_first_step;
    state.in_epoch = false;
    optimizer_.clear();
}

template <class T> Status Trainer<T>::diverged(double loss) {
    divergence = {state.epoch, state.step, loss};
    restore_epoch_start();
    return Status::diverged;
}

template <class T>
Status Trainer<T>::run(const Examples<T> &data, const Examples<T> &validation,
                       const RunOptions &options, const Poll &poll) {
    FlushSubnormals flush;
    const Index batch = std::min(options.batch_size, data.X->rows());
    check_batch(data.X->rows(), batch);
    const double epochs_left =
        static_cast<double>(std::max<std::int64_t>(0, options.epochs - state.epoch));
    Team team(worthwhile_threads(
        *network_, batch, epochs_left * static_cast<double>(data.X->rows()), 3, options.n_threads));
    read_layers();
    settle_frozen();
    if (options.keep_best)
        reserve_best();
    prepare(batch, validation.X ? validation.X->rows() : 0, data.y->width(), team.size());
    const bool was_in_epoch = state.in_epoch;
    if (was_in_epoch)
        resume_epoch(data.X->rows(), options);
    const Index rest = data.X->rows() % batch; // a BatchNorm skips a last batch of one row
    const Index batches = data.X->rows() / batch + (rest > (network_->has_batch_norm() ? 1 : 0));
    horizon_ = static_cast<double>(options.epochs) * static_cast<double>(batches);
    Run run{data, validation, options, poll, team};
    run.first_step = state.step;
    Raw raw(*this);
    const bool had_average = std::exchange(raw.average_after, true);
    try {
        const Status status = loop(run);
        run.account(state);
        return status;
    } catch (const DataError &) {
        if (state.step == run.first_step) { // refused before any step: as if never called
            state.in_epoch = state.in_epoch && was_in_epoch;
            raw.average_after = had_average;
        } else if (state.in_epoch) {
            restore_epoch_start();
        }
        throw;
    } catch (...) { // of a loss from outside: the last finished step stays
        if (state.step == run.first_step)
            state.in_epoch = state.in_epoch && was_in_epoch;
        run.account(state);
        throw;
    }
}

template <class T> bool Trainer<T>::stalled(const RunOptions &options) const {
    return options.tol >= 0 && state.epochs_since_best >= options.patience;
}

template <class T> void Trainer<T>::set_sampled_rate(double rate) {
    state.sampled_rate = rate;
    state.sampled_epoch = state.epoch;
}

template <class T> bool Trainer<T>::awaits_rate() const {
    return optimizer_.spec().schedule.kind == ScheduleKind::sampled &&
           state.sampled_epoch != state.epoch;
}

template <class T> Status Trainer<T>::loop(Run &run) {
    const RunOptions &options = run.options;
    const auto out_of_steps = [&] {
        return options.max_steps >= 0 && state.step - run.first_step >= options.max_steps;
    };
    for (;;) {
        if (!state.in_epoch) {
            if (state.epoch >= options.epochs)
                return Status::epochs;
            if (stalled(options))
                return Status::converged;
            if (out_of_steps())
                return Status::max_steps;
            if (awaits_rate())
                return Status::rate;
            begin_epoch(run);
        }
        if (state.position < state.rows) {
            if (out_of_steps())
                return Status::max_steps;
            if (const auto status = train_batch(run))
                return *status;
        }
        if (state.position == state.rows) {
            if (const auto status = end_epoch(run))
                return *status;
            if (options.judge_outside)
                return Status::epoch;
            if (state.epoch >= options.epochs)
                return Status::epochs;
            if (stalled(options))
                return Status::converged;
            if (options.pause_each_epoch)
                return Status::epoch;
        }
        if (run.work >= Run::kClockWork) {
            run.work = 0;
            if (run.poll && run.poll())
                return Status::interrupted;
            if (run.slice_is_over())
                return Status::paused;
        }
    }
}

// Refuses a run whose batches are of one row, if there is a BatchNorm.
template <class T> void Trainer<T>::check_batch(Index rows, Index batch) const {
    if (!network_->has_batch_norm() || batch > 1)
        return;
    throw DataError(
        std::string(rows > 1 ? "batch_size must be at least 2" : "X must have at least 2 rows") +
        " for training with a BatchNorm (one row has no variance), got 1");
}

// One batch of the running epoch. A batch without weight is skipped, and with a BatchNorm a last
// one of one row; one whose loss is not finite is not applied.
template <class T> std::optional<Status> Trainer<T>::train_batch(Run &run) {
    const Batch batch{&*order_, state.position,
                      std::min(state.batch_size, state.rows - state.position)};
    const bool is_alone = batch.count == 1 && network_->has_batch_norm();
    const double total = objective_->total_weight(run.data, batch, *workspace_);
    double loss = 0;
    if (total > 0 && is_alone) { // its values are still to be refused
        objective_->evaluate(run.data, batch, total, Pass{}, *workspace_, run.team, nullptr, loss,
                             nullptr);
    } else if (total > 0) {
        if (!train_on(run.data, batch, total, run.team, run.poll, loss))
            return Status::interrupted;
        if (!std::isfinite(loss))
            return diverged(loss);
        const double counts = run.options.mean_over_rows ? static_cast<double>(batch.count) : total;
        state.loss_sum += counts * loss;
        state.weight_sum += counts;
    }
    state.position += batch.count;
    run.work += objective_->calls_out() ? Run::kClockWork
                                        : batch.count * (network_->n_parameters() + 64) * 3;
    return std::nullopt;
}

// Validation, the record of the epoch, and the count of epochs without improvement; a status if it
// was interrupted, to be done again, or if the parameters are no longer finite.
template <class T> std::optional<Status> Trainer<T>::end_epoch(Run &run) {
    std::atomic<bool> finite = true;
    share_out(run.team, network_->n_parameters(), [&](Index first, Index count) {
        if (!all_finite(network_->theta() + first, count) ||
            (average_ && !all_finite(average_.apart.data() + first, count)))
            finite = false;
    });
    if (!finite || !all_finite(network_->state(), epoch_state_.size()))
        return diverged(std::numeric_limits<double>::infinity());
    if (!(state.weight_sum > 0))
        throw DataError(std::string("sample_weight must not be all zero once converted to the "
                                    "network's dtype") +
                        (network_->has_batch_norm()
                             ? " (a BatchNorm skips a last batch of one row, whatever its weight)"
                             : ""));
    const double loss = state.loss_sum / state.weight_sum;
    if (run.validation.X || run.options.keep_best)
        use_average();
    double validation_loss = std::numeric_limits<double>::quiet_NaN();
    if (run.validation.X) {
        const RowOrder order(run.validation.X->rows());
        const Batch all{&order, 0, run.validation.X->rows()};
        const double total = objective_->total_weight(run.validation, all, *workspace_);
        if (!(total > 0))
            throw DataError(std::string(run.validation.names.weight) +
                            " must not be all zero once converted to the network's dtype");
        if (!objective_->evaluate(run.validation, all, total, Pass{}, *workspace_, run.team,
                                  run.poll, validation_loss, nullptr))
            return Status::interrupted;
        run.work += all.count * (network_->n_parameters() + 64);
    }
    run.account(state);
    records.push_back({loss, validation_loss, state.epoch_seconds, present_rate()});
    ++state.epoch;
    state.in_epoch = false;
    if (run.options.judge_outside)
        return std::nullopt;
    const bool validated = !std::isnan(validation_loss);
    judge(run.validation.X ? validation_loss : loss, run.options);
    if (run.options.keep_best)
        keep_if_best(validated ? validation_loss : loss, validated, run.team);
    return std::nullopt;
}

template <class T> Status Trainer<T>::judge_outside(double monitored, const RunOptions &options) {
    Team alone(1);
    judge(monitored, options);
    if (options.keep_best)
        keep_if_best(monitored, true, alone);
    if (state.epoch >= options.epochs)
        return Status::epochs;
    return stalled(options) ? Status::converged : Status::epoch;
}

template <class T> void Trainer<T>::forget_best(bool kept_too) {
    state.best_loss = 0;
    state.has_best = false;
    state.epochs_since_best = 0;
    state.plateau = {.reductions = state.plateau.reductions};
    if (kept_too)
        state.kept_epoch = 0;
}

// Counts the epochs whose monitored loss is no improvement, for stopping and for the schedule.
template <class T> void Trainer<T>::judge(double monitored, const RunOptions &options) {
    const bool known = !std::isnan(monitored);
    const double needed = state.best_loss - options.tol;
    const bool improved = known && (!state.has_best || monitored < needed ||
                                    (options.ties_improve && monitored == needed));
    state.epochs_since_best = improved ? 0 : state.epochs_since_best + 1;
    if (known && (!state.has_best || monitored < state.best_loss))
        state.best_loss = monitored;
    state.has_best = state.has_best || known;
    if (optimizer_.spec().schedule.kind == ScheduleKind::plateau)
        state.plateau.judge(optimizer_.spec().schedule, monitored);
}

// Copies the network's numbers if the epoch that has just ended is better than the kept one: by
// validation losses if either has one, where having one is better; the first of equal ones stays.
template <class T> void Trainer<T>::keep_if_best(double monitored, bool validated, Team &team) {
    const bool comparable = state.kept_epoch > 0 && validated == state.kept_validated;
    const bool better =
        comparable ? monitored < state.kept_loss : validated || state.kept_epoch == 0;
    if (!better || std::isnan(monitored))
        return;
    state.kept_epoch = state.epoch;
    state.kept_loss = monitored;
    state.kept_validated = validated;
    share_out(team, network_->n_parameters(), [&](Index first, Index count) {
        std::copy_n(network_->theta() + first, count, best_theta_.data() + first);
    });
    std::copy_n(network_->state(), network_->n_state(), best_state_.data());
}

template <class T> void Trainer<T>::reserve_best() {
    if (best_theta_.size() != network_->n_parameters())
        best_theta_ = Buffer<T>(network_->n_parameters());
    if (best_state_.size() != network_->n_state())
        best_state_ = Buffer<T>(network_->n_state());
}

template <class T> bool Trainer<T>::restore_best() {
    if (state.kept_epoch == 0)
        return false;
    use_average();
    std::copy_n(best_theta_.data(), best_theta_.size(), network_->theta());
    std::copy_n(best_state_.data(), best_state_.size(), network_->state());
    return true;
}

template <class T> std::vector<std::pair<std::string, Buffer<T> *>> Trainer<T>::vectors() {
    auto all = optimizer_.vectors();
    all.emplace_back("epoch_theta", &epoch_theta_);
    if (epoch_state_.size() > 0)
        all.emplace_back("epoch_state", &epoch_state_);
    if (average_) {
        all.emplace_back("raw_theta", &average_.apart);
        all.emplace_back("epoch_average", &average_.epoch_start);
    }
    if (state.kept_epoch > 0)
        all.emplace_back("best_theta", &best_theta_);
    if (state.kept_epoch > 0 && best_state_.size() > 0)
        all.emplace_back("best_state", &best_state_);
    return all;
}

template class Trainer<float>;
template class Trainer<double>;

} // namespace deltarule
