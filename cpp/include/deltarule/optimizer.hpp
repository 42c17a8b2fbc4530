// First-order optimisers: state vectors shaped like theta, and one update of a tile of parameters.
#pragma once

#include "deltarule/types.hpp"

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace deltarule {

enum class OptimizerKind { sgd, adam };

struct OptimizerSpec {
    OptimizerKind kind = OptimizerKind::sgd;
    double learning_rate = 0.01;
    double momentum = 0; // sgd
    bool nesterov = false;
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8; // adam
    double l2 = 0;                                     // adds l2/2 Σ W² to the loss
    double weight_decay = 0; // θ ← θ − η weight_decay θ, apart from the gradient
    // Variants that scikit-learn uses.
    bool rate_in_velocity = false; // sgd: v ← μ v + η g, so that past steps keep their rate
    bool epsilon_hat = false;      // adam: ε is added to √v instead of √v̂ (section 2 of the paper)
    bool l2_per_weight = false;    // l2 is divided by the sum of the batch's sample weights
};

// Throws std::invalid_argument for an unknown name.
OptimizerKind optimizer_kind(std::string_view name);

// SGD:   v ← μ v + g;   θ ← θ − η v,   with Nesterov θ ← θ − η (g + μ v)
//        (B. Polyak, 1964; Y. Nesterov, 1983, in the form of I. Sutskever et al., 2013)
// Adam:  m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;
//        θ ← θ − η m̂ / (√v̂ + ε),  m̂ = m / (1 − β₁ᵗ), v̂ = v / (1 − β₂ᵗ)   (D. Kingma, J. Ba, 2015)
// g includes l2 θ; weight decay comes before the step (I. Loshchilov, F. Hutter, 2019). Both act on
// weights only.
template <class T> class Optimizer {
  public:
    Optimizer(const OptimizerSpec &spec, Index n_parameters);

    // Starts a step on a batch of this weight: its scalars are computed here, once, in double.
    void begin_step(double total_weight);

    // Applies `count` elements of the gradient to theta, both starting at parameter `first`.
    void update(Index first, Index count, const T *gradient, T *theta, bool is_weight);

    // The arrays that update reads and writes, null where there are fewer than three.
    std::array<const T *, 3> touched(const T *theta) const {
        return {theta, first_.data(), second_.data()};
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
    // The state vectors with the names they have in a checkpoint.
    std::vector<std::pair<std::string, Buffer<T> *>> vectors();

  private:
    void sgd(Index first, Index count, const T *gradient, T *theta, bool is_weight);
    void adam(Index first, Index count, const T *gradient, T *theta, bool is_weight);

    OptimizerSpec spec_;
    std::int64_t t_ = 0;
    double l2_ = 0;              // of this step
    double step_size_ = 0;       // adam: η / (1 − β₁ᵗ)
    double root_correction_ = 1; // adam: 1 / √(1 − β₂ᵗ)
    Buffer<T> first_, second_;   // momentum; or m and v
};

} // namespace deltarule
