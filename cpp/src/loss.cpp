// Which losses there are, what they accept, and their application to the columns of a batch.
#include "deltarule/loss.hpp"

#include "cross_entropy.hpp"
#include "element_wise_loss.hpp"
#include "focal_loss.hpp"
#include "regression_loss.hpp"
#include "row_loss.hpp"

#include <array>
#include <cmath>
#include <stdexcept>
#include <string>

namespace deltarule {

using losses::BinaryCrossEntropy;
using losses::BinaryFocal;
using losses::ClassNumber;
using losses::ClassShares;
using losses::cross_entropy;
using losses::element_wise;
using losses::FocalClassNumber;
using losses::FocalClassShares;
using losses::Gamma;
using losses::Hinge;
using losses::Huber;
using losses::LogCosh;
using losses::Mae;
using losses::Mse;
using losses::Poisson;
using losses::PoissonDeviance;
using losses::Quantile;
using losses::Smoothed;
using losses::SmoothedBinaryCrossEntropy;
using losses::SquaredHinge;
using losses::Weights;

namespace {

constexpr std::array<std::string_view, 14> kNames = {"mse",
                                                     "mae",
                                                     "huber",
                                                     "binary_cross_entropy",
                                                     "cross_entropy",
                                                     "poisson",
                                                     "poisson_deviance",
                                                     "log_cosh",
                                                     "quantile",
                                                     "gaussian_nll",
                                                     "gamma",
                                                     "focal",
                                                     "hinge",
                                                     "custom"};

// The output activations that a loss accepts, in words; null if all.
const char *accepted_outputs(LossKind loss) {
    switch (loss) {
    case LossKind::cross_entropy:
        return "'softmax' or 'identity' (logits)";
    case LossKind::binary_cross_entropy:
        return "'sigmoid' or 'identity' (logits)";
    case LossKind::focal:
        return "'sigmoid' or 'softmax'";
    case LossKind::gaussian_nll:
    case LossKind::hinge:
        return "'identity'";
    case LossKind::poisson:
    case LossKind::poisson_deviance:
    case LossKind::gamma:
        return "'exp'";
    default:
        return nullptr;
    }
}

bool accepts(LossKind loss, ActivationKind output) {
    const bool linear = output == ActivationKind::identity;
    const bool softmax = output == ActivationKind::softmax;
    const bool sigmoid = output == ActivationKind::sigmoid;
    switch (loss) {
    case LossKind::cross_entropy:
        return softmax || linear;
    case LossKind::binary_cross_entropy:
        return sigmoid || linear;
    case LossKind::focal:
        return sigmoid || softmax;
    case LossKind::gaussian_nll:
    case LossKind::hinge:
        return linear;
    case LossKind::poisson:
    case LossKind::poisson_deviance:
    case LossKind::gamma:
        return output == ActivationKind::exp;
    default:
        return true;
    }
}

bool takes_logits(LossKind loss) {
    const char *outputs = accepted_outputs(loss);
    return outputs && loss != LossKind::gaussian_nll && loss != LossKind::hinge;
}

bool sums_classes(LossKind loss, ActivationKind output) {
    return loss == LossKind::cross_entropy ||
           (loss == LossKind::focal && output == ActivationKind::softmax);
}

bool takes_any_width(const LossSpec &spec) {
    return spec.kind == LossKind::custom && spec.target_width < 0;
}

Index real_target_width(const LossSpec &spec, Index n_outputs) {
    if (spec.kind == LossKind::custom)
        return spec.target_width;
    if (spec.kind == LossKind::gaussian_nll)
        return n_outputs / 2;
    return spec.kind == LossKind::quantile && spec.quantiles.size() > 1 ? 1 : n_outputs;
}

std::string counted(Index n, const std::string &what) {
    return std::to_string(n) + ' ' + what + (n == 1 ? "" : "s");
}

// Throws if the network does not have the outputs that the loss needs.
void check_outputs(const LossSpec &spec, bool classes, Index n_outputs) {
    const std::string name(loss_name(spec.kind));
    if (classes && n_outputs < 2)
        throw std::invalid_argument(
            "loss '" + name + "' needs at least 2 outputs, the network has 1: use " +
            (spec.kind == LossKind::focal ? "a" : "'binary_cross_entropy' with a") +
            " sigmoid output");
    if (spec.kind == LossKind::gaussian_nll && n_outputs % 2 != 0)
        throw std::invalid_argument(
            "loss 'gaussian_nll' needs 2 outputs for each target, a mean and a log-variance, the "
            "network has " +
            counted(n_outputs, "output"));
    const Index quantiles = static_cast<Index>(spec.quantiles.size());
    if (spec.kind == LossKind::quantile && quantiles != 1 && quantiles != n_outputs)
        throw std::invalid_argument("loss 'quantile' of " + counted(quantiles, "quantile") +
                                    " needs one output for each, the network has " +
                                    counted(n_outputs, "output"));
    const Index alphas = static_cast<Index>(spec.alpha.size());
    if (spec.kind == LossKind::focal && alphas != 0 && alphas != (classes ? n_outputs : 1))
        throw std::invalid_argument(
            (classes ? "loss 'focal' with softmax needs an alpha for each of its " +
                           std::to_string(n_outputs) + " classes"
                     : std::string("loss 'focal' with sigmoid needs one alpha")) +
            ", got " + std::to_string(alphas));
}

} // namespace

LossKind loss_kind(std::string_view name) {
    for (std::size_t i = 0; i < kNames.size(); ++i)
        if (kNames[i] == name)
            return static_cast<LossKind>(i);
    throw std::invalid_argument("unknown loss '" + std::string(name) + "'");
}

std::string_view loss_name(LossKind kind) { return kNames[static_cast<std::size_t>(kind)]; }

bool accepts_target_width(const LossSpec &spec, ActivationKind output, Index n_outputs,
                          Index width) {
    return width == real_target_width(spec, n_outputs) || takes_any_width(spec) ||
           (width == 1 && sums_classes(spec.kind, output));
}

void PerOutput::set(const std::vector<double> &values) {
    const auto room = static_cast<std::size_t>(padded(static_cast<Index>(values.size())));
    doubles_.assign(values.begin(), values.end());
    doubles_.resize(room);
    floats_.clear();
    for (const double value : doubles_)
        floats_.push_back(static_cast<float>(value));
}

Loss::Loss(const LossSpec &spec, ActivationKind output, Index n_outputs, Index target_width)
    : spec_(spec), n_outputs_(n_outputs), target_width_(target_width) {
    if (!accepts(spec.kind, output))
        throw std::invalid_argument("loss '" + std::string(loss_name(spec.kind)) +
                                    "' needs an output activation of " +
                                    accepted_outputs(spec.kind) + ", the network's is '" +
                                    std::string(activation_name(output)) + "'");
    if (spec.kind == LossKind::custom && !spec.function)
        throw std::invalid_argument("loss 'custom' needs a function");
    sums_classes_ = sums_classes(spec.kind, output);
    check_outputs(spec, sums_classes_, n_outputs);
    class_index_ = sums_classes_ && target_width == 1;
    const Index expected = class_index_ ? 1 : real_target_width(spec, n_outputs);
    if (target_width != expected && !takes_any_width(spec))
        throw std::invalid_argument("y must have " + std::to_string(expected) +
                                    (expected == n_outputs ? " columns, one for each output, got "
                                                           : " columns for this loss, got ") +
                                    std::to_string(target_width));
    from_logits_ = takes_logits(spec.kind);
    if (spec.kind == LossKind::quantile)
        each_.set(spec.quantiles);
    else if (sums_classes_ && !spec.alpha.empty())
        each_.set(spec.alpha);
}

template <class T>
void Loss::operator()(Index n, Columns<const T> out, Columns<const T> y, const T *w,
                      double total_weight, double *losses, Columns<T> d) const {
    if (is_custom())
        return custom(n, out, y, w, total_weight, losses, d);
    // ℓ is the mean over outputs, or for cross-entropy the sum over classes.
    const Index terms = spec_.kind == LossKind::gaussian_nll ? target_width_ : n_outputs_;
    const double part = sums_classes_ ? 1.0 : 1.0 / static_cast<double>(terms);
    const double factor = part * spec_.scale;
    const double in_gradient = factor * spec_.gradient_scale / total_weight;
    if (sums_classes_)
        return classes(n, out, y, w, factor, in_gradient, losses, d);
    const Weights<T> weights(w, factor, in_gradient);
    const auto run = [&](const auto &loss) {
        element_wise(loss, n_outputs_, n, out, y, weights, losses, d);
    };
    switch (spec_.kind) {
    case LossKind::mse:
        return run(Mse{});
    case LossKind::mae:
        return run(Mae{});
    case LossKind::huber:
        return run(Huber{spec_.delta});
    case LossKind::binary_cross_entropy:
        if (spec_.label_smoothing == 0)
            return run(BinaryCrossEntropy{});
        return run(SmoothedBinaryCrossEntropy{spec_.label_smoothing});
    case LossKind::poisson:
        return run(Poisson{});
    case LossKind::poisson_deviance:
        return run(PoissonDeviance{});
    case LossKind::log_cosh:
        return run(LogCosh{});
    case LossKind::quantile:
        if (spec_.quantiles.size() == 1)
            return run(Quantile{spec_.quantiles[0]});
        return losses::quantiles<T>(each_.data<T>(), n_outputs_, n, out, y, weights, losses, d);
    case LossKind::gaussian_nll:
        return losses::gaussian<T>(target_width_, n, out, y, weights, losses, d);
    case LossKind::gamma:
        return run(Gamma{});
    case LossKind::focal: {
        const bool one_sided = !spec_.alpha.empty();
        return run(BinaryFocal{spec_.gamma, one_sided ? 1 - spec_.alpha[0] : 1,
                               one_sided ? spec_.alpha[0] : 1});
    }
    case LossKind::hinge:
        if (spec_.squared)
            return run(SquaredHinge{});
        return run(Hinge{});
    case LossKind::cross_entropy: // a sum over classes
    case LossKind::custom:
        break;
    }
}

// ℓ_i and ∂ℓ_i/∂a from outside, times w_i and w_i / total_weight.
template <class T>
void Loss::custom(Index n, Columns<const T> a, Columns<const T> y, const T *w, double total_weight,
                  double *losses, Columns<T> d) const {
    (*spec_.function)(LossCall<T>{n, n_outputs_, target_width_, a, y, losses, d});
    for (Index j = 0; j < n; ++j) {
        const double weight = w ? static_cast<double>(w[j]) : 1.0;
        losses[j] *= weight;
        const T factor = static_cast<T>(weight / total_weight);
        for (Index i = 0; d && i < n_outputs_; ++i)
            d.column(j)[i] *= factor;
    }
}

template <class T>
void Loss::classes(Index n, Columns<const T> z, Columns<const T> y, const T *w, double factor,
                   double in_gradient, double *losses, Columns<T> d) const {
    const Weights<T> weights(w, factor, in_gradient);
    if (spec_.kind == LossKind::focal) {
        const T *alpha = spec_.alpha.empty() ? nullptr : each_.data<T>();
        const auto run = [&](auto form) {
            losses::focal<T>(form, spec_.gamma, alpha, n_outputs_, n, z, y, weights, losses, d);
        };
        return class_index_ ? run(FocalClassNumber{}) : run(FocalClassShares{});
    }
    const auto run = [&](auto form) {
        cross_entropy<T>(form, n_outputs_, n, z, y, weights, losses, d);
    };
    if (spec_.label_smoothing == 0)
        return class_index_ ? run(ClassNumber{}) : run(ClassShares{});
    if (class_index_)
        return run(Smoothed<ClassNumber>{{}, spec_.label_smoothing});
    return run(Smoothed<ClassShares>{{}, spec_.label_smoothing});
}

template <class T> std::optional<TargetFault> Loss::check(Index n, Columns<const T> y) const {
    double low = 0, high = 1;
    const char *expected = "in [0, 1]";
    const bool signs = spec_.kind == LossKind::hinge;
    if (class_index_) {
        high = static_cast<double>(n_outputs_ - 1);
        expected = "a class number";
    } else if (signs) {
        expected = "-1 or 1";
    } else if (spec_.kind == LossKind::poisson || spec_.kind == LossKind::poisson_deviance) {
        high = std::numeric_limits<double>::infinity();
        expected = "at least 0";
    } else if (spec_.kind == LossKind::gamma) {
        low = static_cast<double>(std::numeric_limits<T>::min()); // what is less counts as 0
        high = std::numeric_limits<double>::infinity();
        expected = "greater than 0";
    } else if (!from_logits_) {
        return std::nullopt;
    }
    const auto find = [&](auto accepted) -> std::optional<TargetFault> {
        bool all = true; // no branch where there is nothing to find
        if (target_width_ == 1)
            for (Index j = 0; j < n; ++j)
                all &= accepted(static_cast<double>(*y.column(j)));
        else
            for (Index j = 0; j < n; ++j)
                for (Index i = 0; i < target_width_; ++i)
                    all &= accepted(static_cast<double>(y.column(j)[i]));
        for (Index j = 0; j < n && !all; ++j)
            for (Index i = 0; i < target_width_; ++i)
                if (const double value = static_cast<double>(y.column(j)[i]); !accepted(value))
                    return TargetFault{j, i, value, expected};
        return std::nullopt;
    };
    const auto in_range = [=](double value) { return (value >= low) & (value <= high); };
    if (class_index_)
        return find([=](double value) { return in_range(value) & (value == std::floor(value)); });
    if (signs)
        return find([](double value) { return std::abs(value) == 1; });
    return find(in_range);
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template void Loss::operator()<T>(Index, Columns<const T>, Columns<const T>, const T *,        \
                                      double, double *, Columns<T>) const;                         \
    template std::optional<TargetFault> Loss::check<T>(Index, Columns<const T>) const;
DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
