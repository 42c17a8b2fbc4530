// The training loop as a resumable state machine. Its whole state is explicit, so that it can stop
// after any step, be saved, and go on with the same bits.
#pragma once

#include "deltarule/average.hpp"
#include "deltarule/objective.hpp"
#include "deltarule/optimizer.hpp"
#include "deltarule/parameter_sum.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <optional>

namespace deltarule {

struct RunOptions {
    Index batch_size = 32;
    bool shuffle = true;
    std::int64_t epochs = 100;   // in all, since the trainer was made
    std::int64_t max_steps = -1; // in this call; negative: no limit
    double slice_seconds = -1;   // of this call; negative: no limit
    bool pause_each_epoch = false;
    double tol = -1; // negative: train all epochs
    std::int64_t patience = 10;
    bool ties_improve = false;   // a loss of exactly the best less tol counts as improved
    bool mean_over_rows = false; // an epoch's loss: its batches count by rows, not by weights
    bool keep_best = false;      // keep a copy of the network at the end of the best epoch
    bool judge_outside = false;  // pause each epoch: judge_outside says how good it was
    int n_threads = 1;
};

enum class Status { paused, epoch, rate, max_steps, epochs, converged, diverged, interrupted };

// What is known of a finished epoch. validation_loss is NaN without validation data.
struct EpochRecord {
    double loss, validation_loss, seconds;
    double learning_rate; // of its last step
};

// Everything of a trainer but its vectors: what a checkpoint needs.
struct TrainerState {
    std::uint64_t seed = 0;
    bool own_seed = false; // draws are for (seed, step); without, for (seed, steps of the network)
    std::int64_t step = 0, epoch = 0;
    // The running epoch.
    bool in_epoch = false;
    Index position = 0, rows = 0, batch_size = 0;
    bool shuffle = false;
    std::int64_t epoch_first_step = 0;
    std::uint64_t epoch_draw = 0; // the order of rows is drawn for it
    double loss_sum = 0, weight_sum = 0, epoch_seconds = 0;
    // Stopping: the lowest loss so far, which tol is against.
    double best_loss = 0;
    bool has_best = false;
    std::int64_t epochs_since_best = 0;
    double seconds = 0;
    // The best of the epochs that ended with keep_best; 0: none did. tol plays no part here.
    std::int64_t kept_epoch = 0;
    double kept_loss = 0;
    bool kept_validated = false; // kept_loss is a validation loss, not a training loss
    // The schedule's. Its step is `step` above, so a fit that goes on after divergence has the
    // rates of the epoch's start again.
    PlateauState plateau;
    std::int64_t sampled_epoch = -1; // for which sampled_rate was given; -1: none was
    double sampled_rate = std::numeric_limits<double>::quiet_NaN();
    // With an average: theta is that, and what is trained lies apart; else the other way around.
    bool average_in_network = true;
};

template <class T> class Trainer {
  public:
    // seed: draws continue from (network seed, network steps) without one. ema: decay of the
    // average of the parameters, 0 for none. With one, a run validates, keeps its best epoch and
    // ends with the average in the network; a single step ends with the parameters it trained.
    // Throws std::invalid_argument if a layer's settings do not fit the optimiser, now or later.
    Trainer(std::shared_ptr<Network<T>> network, const LossSpec &loss,
            const OptimizerSpec &optimizer, std::optional<std::uint64_t> seed, double ema = 0);

    // Trains on `data` until something happens. `validation` may have no X. poll is asked often,
    // between blocks of rows. Throws DataError; then, as after divergence, the network is that of
    // the epoch's start.
    Status run(const Examples<T> &data, const Examples<T> &validation, const RunOptions &options,
               const Poll &poll);

    // One step on all rows of `batch`; returns the loss before the step. If it is not finite,
    // nothing was changed. Like apply, it throws std::invalid_argument with a schedule that lasts
    // as long as a run.
    double step(const Examples<T> &batch, int n_threads);

    // One step with a gradient of the user's own, and its loss for an optimiser that needs it.
    // False if the gradient's norm is needed and not finite: then nothing was changed.
    bool apply(const T *gradient, double loss);

    // Judges the epoch that has just ended by a value of the caller's (lower is better, NaN is no
    // improvement) instead of its loss, for stopping and for keep_best. Comes once after each
    // Status::epoch of a run with judge_outside, and says what that run would have said.
    Status judge_outside(double monitored, const RunOptions &options);
    // What was judged is not comparable with what comes: no epoch is the best, or with kept_too
    // kept.
    void forget_best(bool kept_too);

    // The network's numbers become those of the kept epoch's end; false if there is none.
    bool restore_best();
    // Room for them.
    void reserve_best();

    // Put the average, or what is trained, into the network, unless it is there. Without an
    // average, or before the first step, there is nothing to do.
    void use_average();
    void use_raw();

    // Whether a step may come with targets of this width.
    bool takes_target_width(Index width) const {
        return accepts_target_width(loss_, network_->output_activation(), network_->n_outputs(),
                                    width);
    }

    Network<T> &network() { return *network_; }
    TrainerState state;
    std::vector<EpochRecord> records; // of finished epochs, until somebody takes them
    struct Divergence {               // where the loss was not finite: epochs and steps before it
        std::int64_t epoch = 0, step = 0;
        double loss = 0;
    } divergence;
    Optimizer<T> &optimizer() { return optimizer_; }
    // The rate of the last step, or of the first one before it; NaN if that is not known yet.
    double present_rate() const { return rate_of(std::max<std::int64_t>(state.step - 1, 0)); }
    // run returns Status::rate until the coming epoch's rate was given, where it is sampled.
    void set_sampled_rate(double rate);
    bool awaits_rate() const;
    // The vectors a checkpoint needs, with their names.
    std::vector<std::pair<std::string, Buffer<T> *>> vectors();

  private:
    struct Run; // what one call of run works with
    struct Raw;
    std::uint64_t draw_step() const;
    void check_batch(Index rows, Index batch) const;
    double rate_of(std::int64_t step) const;
    void require_horizon() const;
    void prepare(Index batch, Index rows, Index target_width, int n_threads);
    bool train_on(const Examples<T> &data, const Batch &batch, double total, Team &team,
                  const Poll &poll, double &loss);
    void begin_epoch(Run &run);
    void resume_epoch(Index rows, const RunOptions &options);
    Status loop(Run &run);
    std::optional<Status> train_batch(Run &run);
    std::optional<Status> end_epoch(Run &run);
    void judge(double monitored, const RunOptions &options);
    void keep_if_best(double monitored, bool validated, Team &team);
    Status diverged(double loss);
    bool stalled(const RunOptions &options) const;
    void restore_epoch_start();
    void read_layers();
    void settle_frozen();
    double penalty(double total, Team &team);
    bool clip_and_apply(const T *gradient, StepFacts &&facts, Team &team);
    void begin_update(StepFacts &&facts);
    void apply_to(const ParameterRange &range, const T *gradient);
    void apply_share(const T *gradient, const Share &share);

    std::shared_ptr<Network<T>> network_;
    LossSpec loss_;
    Optimizer<T> optimizer_;
    ParameterSum<T> of_weights_;
    // What follows from the layers' settings, and how often those had changed when it was found.
    ParameterSum<T> of_gradient_, of_layers_;
    bool by_layer_ = false; // any layer's settings are not the default
    std::optional<std::uint64_t> layers_read_;
    Average<T> average_;
    Buffer<T> gradient_;                  // empty until a batch needs it
    Buffer<T> epoch_theta_, epoch_state_; // no epoch_state_ where training moves no state
    Buffer<T> best_theta_, best_state_;   // empty until a run keeps the best epoch
    std::optional<Objective<T>> objective_;
    std::unique_ptr<Workspace<T>> workspace_;
    std::optional<RowOrder> order_;
    double horizon_ = std::numeric_limits<double>::quiet_NaN(); // steps of the planned run
};

} // namespace deltarule
