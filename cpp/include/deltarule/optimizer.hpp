// First-order optimisers: state vectors shaped like theta, and one update of a tile of parameters.
#pragma once

#include "deltarule/layer_training.hpp"
#include "deltarule/parameter_range.hpp"
#include "deltarule/schedule.hpp"
#include "deltarule/types.hpp"

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace deltarule {

enum class OptimizerKind { sgd, adam, rmsprop, adagrad, nadam, lion, irprop_plus };

struct OptimizerSpec {
    static constexpr double kNone = std::numeric_limits<double>::infinity();

    OptimizerKind kind = OptimizerKind::sgd;
    double learning_rate = 0.01; // irprop_plus: the first step of each parameter
    ScheduleSpec schedule = {};  // what becomes of it; irprop_plus has none
    double momentum = 0;         // sgd, rmsprop
    bool nesterov = false;       // sgd
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
    double l2 = 0;                  // adds l2/2 Σ W² to the loss
    double weight_decay = 0;        // θ ← θ − η weight_decay θ, apart from the gradient
    bool amsgrad = false;           // adam
    double alpha = 0.99;            // rmsprop
    bool centered = false;          // rmsprop
    double initial_accumulator = 0; // adagrad
    double momentum_decay = 0.004;  // nadam
    double eta_plus = 1.2, eta_minus = 0.5, step_min = 1e-6, step_max = 50; // irprop_plus
    double clip_norm = kNone;  // of the gradient of the loss, without penalties
    double clip_value = kNone; // of each of its elements, after clip_norm
    // Variants that scikit-learn uses.
    bool rate_in_velocity = false; // sgd: v ← μ v + η g, so that past steps keep their rate
    bool epsilon_hat = false;      // adam: ε is added to √v instead of √v̂ (section 2 of the paper)
    bool l2_per_weight = false;    // l2 is divided by the sum of the batch's sample weights
};

// Throws std::invalid_argument for an unknown name.
OptimizerKind optimizer_kind(std::string_view name);
std::string_view optimizer_name(OptimizerKind kind);

// What a step knows before it changes a parameter.
struct StepFacts {
    double learning_rate = 0;
    double total_weight = 1;  // of the batch
    double loss = 0;          // with penalties; asked for where needs_loss()
    double gradient_norm = 0; // of the loss without penalties; where needs_norm()
};

// What a step computes once, in double, for all its tiles; each rule (update_rules.hpp) says what
// the rates are.
struct StepScalars {
    double l1 = 0, l2 = 0, kept = 1; // penalties, for weights only
    double gradient_scale = 1;
    double rate = 0, momentum_rate = 0;
    double root_correction = 1;
    bool backtrack = false;

    bool penalises() const { return l1 != 0 || l2 != 0 || kept != 1; }
    StepScalars without_penalties() const {
        StepScalars s = *this;
        s.l1 = s.l2 = 0;
        s.kept = 1;
        return s;
    }
};

// The rules are in update_rules.hpp. g is the gradient of the loss, clipped, plus l1 sign(θ) and
// l2 θ; weight decay comes before the step (I. Loshchilov, F. Hutter, 2019). Both act on weights
// only.
template <class T> class Optimizer {
  public:
    Optimizer(const OptimizerSpec &spec, Index n_parameters);

    bool needs_loss() const { return spec_.kind == OptimizerKind::irprop_plus; }
    bool needs_norm() const { return spec_.clip_norm != OptimizerSpec::kNone; }

    // Starts a step: its scalars are computed here.
    void begin_step(const StepFacts &facts);

    // Applies elements of the gradient to theta, both starting at the range's first parameter.
    void update(const ParameterRange &range, const T *gradient, T *theta) {
        update(range, gradient, theta, scalars_);
    }
    // The same in a layer of settings of its own, which is not frozen.
    void update(const ParameterRange &range, const T *gradient, T *theta,
                const LayerTraining &layer) {
        update(range, gradient, theta, scalars_of(layer));
    }
    // Whether a layer may have this factor: a rule without a rate knows only 0 and 1.
    bool accepts_factor(double factor) const {
        return spec_.kind != OptimizerKind::irprop_plus || factor == 0 || factor == 1;
    }

    // The arrays worth fetching before update, null where there are fewer than three.
    std::array<const T *, 3> touched(const T *theta) const {
        return {theta, vectors_[0].data(), vectors_[1].data()};
    }

    // Back to the state before any step.
    void clear();

    const OptimizerSpec &spec() const { return spec_; }
    void set_learning_rate(double rate) { spec_.learning_rate = rate; }
    // l2 for a batch of this weight.
    double l2(double total_weight) const {
        return spec_.l2_per_weight ? spec_.l2 / total_weight : spec_.l2;
    }
    std::int64_t n_steps() const { return t_; }
    void set_n_steps(std::int64_t t) { t_ = t; }
    // The state besides n_steps, with the names it has in a checkpoint.
    std::vector<std::pair<std::string, Buffer<T> *>> vectors();
    std::vector<std::pair<std::string, double *>> scalars();

  private:
    void update(const ParameterRange &range, const T *gradient, T *theta, const StepScalars &step);
    void advance(Index first, Index count, const T *gradient, T *theta, const StepScalars &step);
    StepScalars scalars_of(const LayerTraining &layer) const;

    OptimizerSpec spec_;
    std::int64_t t_ = 0;
    double momentum_product_ = 1;             // nadam: Π μ_i up to this step
    double last_loss_ = OptimizerSpec::kNone; // irprop_plus: of the step before
    StepScalars scalars_;                     // of this step
    std::array<Buffer<T>, 3> vectors_;        // as many as the rule needs
};

} // namespace deltarule
