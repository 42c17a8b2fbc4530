// Which losses there are, what they accept, and their application to the columns of a batch.
#include "deltarule/loss.hpp"

#include "cross_entropy.hpp"
#include "element_wise_loss.hpp"

#include <array>
#include <cmath>
#include <stdexcept>
#include <string>

namespace deltarule {

using losses::BinaryCrossEntropy;
using losses::ClassNumber;
using losses::ClassShares;
using losses::cross_entropy;
using losses::element_wise;
using losses::Huber;
using losses::Mae;
using losses::Mse;
using losses::Poisson;
using losses::PoissonDeviance;
using losses::Weights;

namespace {

constexpr std::array<std::string_view, 7> kNames = {
    "mse", "mae", "huber", "binary_cross_entropy", "cross_entropy", "poisson", "poisson_deviance"};

bool accepts(LossKind loss, ActivationKind output) {
    switch (loss) {
    case LossKind::cross_entropy:
        return output == ActivationKind::softmax || output == ActivationKind::identity;
    case LossKind::binary_cross_entropy:
        return output == ActivationKind::sigmoid || output == ActivationKind::identity;
    case LossKind::poisson:
    case LossKind::poisson_deviance:
        return output == ActivationKind::exp;
    default:
        return true;
    }
}

const char *accepted_outputs(LossKind loss) {
    switch (loss) {
    case LossKind::cross_entropy:
        return "'softmax' or 'identity' (logits)";
    case LossKind::binary_cross_entropy:
        return "'sigmoid' or 'identity' (logits)";
    default:
        return "'exp'";
    }
}

} // namespace

LossKind loss_kind(std::string_view name) {
    for (std::size_t i = 0; i < kNames.size(); ++i)
        if (kNames[i] == name)
            return static_cast<LossKind>(i);
    throw std::invalid_argument("unknown loss '" + std::string(name) + "'");
}

std::string_view loss_name(LossKind kind) { return kNames[static_cast<std::size_t>(kind)]; }

Loss::Loss(const LossSpec &spec, ActivationKind output, Index n_outputs, Index target_width)
    : spec_(spec), n_outputs_(n_outputs) {
    const std::string name(loss_name(spec.kind));
    if (!accepts(spec.kind, output))
        throw std::invalid_argument("loss '" + name + "' needs an output activation of " +
                                    accepted_outputs(spec.kind) + ", the network's is '" +
                                    std::string(activation_name(output)) + "'");
    if (spec.kind == LossKind::cross_entropy && n_outputs < 2)
        throw std::invalid_argument(
            "loss 'cross_entropy' needs at least 2 outputs, the network has 1: "
            "use 'binary_cross_entropy' with a sigmoid output");
    class_index_ = spec.kind == LossKind::cross_entropy && target_width == 1;
    if (!class_index_ && target_width != n_outputs)
        throw std::invalid_argument("y must have " + std::to_string(n_outputs) +
                                    " columns, one for each output, got " +
                                    std::to_string(target_width));
    from_logits_ =
        spec.kind != LossKind::mse && spec.kind != LossKind::mae && spec.kind != LossKind::huber;
}

template <class T>
void Loss::operator()(Index n, Columns<const T> out, Columns<const T> y, const T *w,
                      double total_weight, double *losses, Columns<T> d) const {
    // ℓ is the mean over outputs, or for cross-entropy the sum over classes.
    const double part =
        spec_.kind == LossKind::cross_entropy ? 1.0 : 1.0 / static_cast<double>(n_outputs_);
    const double factor = part * spec_.scale;
    const Weights<T> weights(w, factor, factor * spec_.gradient_scale / total_weight);
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
        return run(BinaryCrossEntropy{});
    case LossKind::poisson:
        return run(Poisson{});
    case LossKind::poisson_deviance:
        return run(PoissonDeviance{});
    case LossKind::cross_entropy:
        break;
    }
    if (class_index_)
        cross_entropy<T>(ClassNumber{}, n_outputs_, n, out, y, weights, losses, d);
    else
        cross_entropy<T>(ClassShares{}, n_outputs_, n, out, y, weights, losses, d);
}

template <class T> std::optional<TargetFault> Loss::check(Index n, Columns<const T> y) const {
    double low = 0, high = 1;
    const char *expected = "in [0, 1]";
    if (class_index_) {
        high = static_cast<double>(n_outputs_ - 1);
        expected = "a class number";
    } else if (spec_.kind == LossKind::poisson || spec_.kind == LossKind::poisson_deviance) {
        high = std::numeric_limits<double>::infinity();
        expected = "at least 0";
    } else if (!from_logits_) {
        return std::nullopt;
    }
    const Index width = class_index_ ? 1 : n_outputs_;
    for (Index j = 0; j < n; ++j)
        for (Index i = 0; i < width; ++i) {
            const double value = static_cast<double>(y.column(j)[i]);
            if (!(value >= low && value <= high) || (class_index_ && value != std::floor(value)))
                return TargetFault{j, i, value, expected};
        }
    return std::nullopt;
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template void Loss::operator()<T>(Index, Columns<const T>, Columns<const T>, const T *,        \
                                      double, double *, Columns<T>) const;                         \
    template std::optional<TargetFault> Loss::check<T>(Index, Columns<const T>) const;
DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
