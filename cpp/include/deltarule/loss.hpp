// Loss functions. Over a batch, L = Σ w_i ℓ_i / Σ w_i; ℓ_i is the mean over outputs of an
// element-wise loss, or the sum over classes (contract 5).
#pragma once

#include "deltarule/activation.hpp"
#include "deltarule/columns.hpp"

#include <optional>
#include <string_view>

namespace deltarule {

enum class LossKind {
    mse,
    mae,
    huber,
    binary_cross_entropy,
    cross_entropy,
    poisson,
    poisson_deviance
};

struct LossSpec {
    LossKind kind = LossKind::mse;
    double delta = 1;          // where huber turns from square to line
    double scale = 1;          // multiplies ℓ, and so its gradient
    double gradient_scale = 1; // multiplies the gradient alone
};

// Throws std::invalid_argument for an unknown name.
LossKind loss_kind(std::string_view name);
std::string_view loss_name(LossKind kind);

// A value of y that a loss does not accept: its place in a block (column = sample) and why.
struct TargetFault {
    Index column, row;
    double value;
    const char *expected;
};

// A loss bound to the output it is computed from.
class Loss {
  public:
    // Throws std::invalid_argument if the pair does not exist (contract 6) or if y has a width that
    // does not fit the output.
    Loss(const LossSpec &spec, ActivationKind output, Index n_outputs, Index target_width);

    // True where the loss is computed from the logits z of the output layer and its gradient is
    // ∂L/∂z: softmax and sigmoid with their cross-entropies, exp with poisson. Else it is computed
    // from a.
    bool from_logits() const { return from_logits_; }

    // losses[i] = w_i ℓ_i for n columns (w = 1 if null). If d is given, also d = ∂L/∂out with the
    // factor w_i / total_weight. Columns are padded: whole packets of out and y are read, and of d
    // written.
    template <class T>
    void operator()(Index n, Columns<const T> out, Columns<const T> y, const T *w,
                    double total_weight, double *losses, Columns<T> d) const;

    // The first target in n columns that this loss does not accept.
    template <class T> std::optional<TargetFault> check(Index n, Columns<const T> y) const;

  private:
    LossSpec spec_;
    Index n_outputs_;
    bool class_index_ = false; // y is one class number a row
    bool from_logits_ = false;
};

} // namespace deltarule
