// Loss functions. Over a batch, L = Σ w_i ℓ_i / Σ w_i; ℓ_i is the mean over outputs of an
// element-wise loss, or the sum over classes (contract 5).
#pragma once

#include "deltarule/activation.hpp"
#include "deltarule/columns.hpp"

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace deltarule {

enum class LossKind {
    mse,
    mae,
    huber,
    binary_cross_entropy,
    cross_entropy,
    poisson,
    poisson_deviance,
    log_cosh,
    quantile,
    gaussian_nll,
    gamma,
    focal,
    hinge,
    custom
};

// n rows for a loss from outside of the core, and where its results go.
template <class T> struct LossCall {
    Index n, n_outputs, target_width;
    Columns<const T> a, y; // outputs (n_outputs, n), targets (target_width, n)
    double *losses;        // to fill: ℓ_i, without weights
    Columns<T> d;          // to fill, if given: ∂ℓ_i/∂a (n_outputs, n), without weights or 1/n
};

// A loss from outside of the core. It is called on the thread that asked for the work, with all
// rows of a block; what it throws reaches the caller.
class LossFunction {
  public:
    virtual ~LossFunction() = default;
    virtual void operator()(const LossCall<float> &call) const = 0;
    virtual void operator()(const LossCall<double> &call) const = 0;
};

struct LossSpec {
    LossKind kind = LossKind::mse;
    double delta = 1;           // where huber turns from square to line
    double scale = 1;           // multiplies ℓ, and so its gradient
    double gradient_scale = 1;  // multiplies the gradient alone
    double label_smoothing = 0; // of the cross-entropies
    double gamma = 2;           // of focal: the power of 1 − p
    bool squared = false;       // hinge
    std::vector<double> quantiles = {0.5};
    std::vector<double> alpha = {}; // of focal: none, that of class 1, or one for each class
    std::shared_ptr<const LossFunction> function = {}; // custom
    Index target_width = -1;                           // custom: of y; negative: any
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

// Whether y may have this many columns: one class number, or what the loss compares to the outputs.
bool accepts_target_width(const LossSpec &spec, ActivationKind output, Index n_outputs,
                          Index width);

// One setting for each output, in both types, with room for whole packets.
class PerOutput {
  public:
    void set(const std::vector<double> &values);
    template <class T> const T *data() const {
        if constexpr (sizeof(T) == 4)
            return floats_.data();
        else
            return doubles_.data();
    }

  private:
    std::vector<float> floats_;
    std::vector<double> doubles_;
};

// A loss bound to the output it is computed from.
class Loss {
  public:
    // Throws std::invalid_argument if the pair does not exist (contract 6) or if y has a width that
    // does not fit the output.
    Loss(const LossSpec &spec, ActivationKind output, Index n_outputs, Index target_width);

    // True where the loss is computed from the logits z of the output layer and its gradient is
    // ∂L/∂z: softmax and sigmoid with cross-entropies and focal, exp with poisson and gamma. Else
    // it is computed from a.
    bool from_logits() const { return from_logits_; }

    // True where the loss comes from outside: to be called with whole blocks, on one thread.
    bool is_custom() const { return spec_.kind == LossKind::custom; }

    // losses[i] = w_i ℓ_i for n columns (w = 1 if null). If d is given, also d = ∂L/∂out with the
    // factor w_i / total_weight. Columns of several numbers are padded: whole packets of out and y
    // are read, and of d written.
    template <class T>
    void operator()(Index n, Columns<const T> out, Columns<const T> y, const T *w,
                    double total_weight, double *losses, Columns<T> d) const;

    // The first target in n columns that this loss does not accept.
    template <class T> std::optional<TargetFault> check(Index n, Columns<const T> y) const;

  private:
    template <class T>
    void classes(Index n, Columns<const T> z, Columns<const T> y, const T *w, double factor,
                 double in_gradient, double *losses, Columns<T> d) const;

    template <class T>
    void custom(Index n, Columns<const T> a, Columns<const T> y, const T *w, double total_weight,
                double *losses, Columns<T> d) const;

    LossSpec spec_;
    Index n_outputs_, target_width_;
    bool sums_classes_ = false; // ℓ is a sum over classes, not a mean over outputs
    bool class_index_ = false;  // y is one class number a row
    bool from_logits_ = false;
    PerOutput each_; // the quantiles, or alpha of the classes
};

} // namespace deltarule
