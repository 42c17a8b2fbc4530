// The training loop as a resumable state machine. Its whole state is explicit, so that it can stop
// after any step, be saved, and go on with the same bits.
#pragma once

#include "deltarule/objective.hpp"
#include "deltarule/optimizer.hpp"
#include "deltarule/sum_of_squares.hpp"

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

enum class Status { paused, epoch, max_steps, epochs, converged, diverged, interrupted };

// What is known of a finished epoch. validation_loss is NaN without validation data.
struct EpochRecord {
    double loss, validation_loss, seconds;
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
};

template <class T> class Trainer {
  public:
    // seed: draws continue from (network seed, network steps) without one.
    Trainer(std::shared_ptr<Network<T>> network, const LossSpec &loss,
            const OptimizerSpec &optimizer, std::optional<std::uint64_t> seed);

    // Trains on `data` until something happens. `validation` may have no X. poll is asked often,
    // between blocks of rows. Throws DataError; then, as after divergence, the network is that of
    // the epoch's start.
    Status run(const Examples<T> &data, const Examples<T> &validation, const RunOptions &options,
               const Poll &poll);

    // One step on all rows of `batch`; returns the loss before the step. If it is not finite,
    // nothing was changed.
    double step(const Examples<T> &batch, int n_threads);

    // One step with a gradient of the user's own, and its loss for an optimiser that needs it.
    // False if the gradient's norm is needed and not finite: then nothing was changed.
    bool apply(const T *gradient, double loss);

    // Judges the epoch that has just ended by a value of the caller's (lower is better, NaN is no
    // improvement) instead of its loss, for stopping and for keep_best. Comes once after each
    // Status::epoch of a run with judge_outside, and says what that run would have said.
    Status judge_outside(double monitored, const RunOptions &options);
    // What was judged is not comparable with what comes: no epoch is the best, or is kept.
    void forget_best();

    // The network's numbers become those of the kept epoch's end; false if there is none.
    bool restore_best();
    // Room for them.
    void reserve_best();

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
    // The vectors a checkpoint needs, with their names.
    std::vector<std::pair<std::string, Buffer<T> *>> vectors();

  private:
    struct Run; // what one call of run works with
    std::uint64_t draw_step() const;
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
    double penalty(double total, Team &team);
    bool clip_and_apply(const T *gradient, StepFacts facts, Team &team);
    void begin_update(const StepFacts &facts);
    void apply_to(Index first, Index count, const T *gradient, bool is_weight);
    void apply_share(const T *gradient, int part, int parts);

    std::shared_ptr<Network<T>> network_;
    LossSpec loss_;
    Optimizer<T> optimizer_;
    SumOfSquares<T> of_weights_, of_gradient_;
    Buffer<T> gradient_; // empty until a batch needs it
    Buffer<T> epoch_theta_;
    Buffer<T> best_theta_, best_state_; // empty until a run keeps the best epoch
    std::optional<Objective<T>> objective_;
    std::unique_ptr<Workspace<T>> workspace_;
    std::optional<RowOrder> order_;
};

} // namespace deltarule
