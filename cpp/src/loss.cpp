// Loss functions: one small struct each with ℓ and ∂ℓ/∂(output), applied to columns of a batch.
#include "deltarule/loss.hpp"

#include <array>
#include <cmath>
#include <stdexcept>
#include <string>

namespace deltarule {

namespace {

constexpr std::array<std::string_view, 6> kNames = {
    "mse", "mae", "huber", "binary_cross_entropy", "cross_entropy", "poisson"};

// ℓ = (a − y)²;  ∂ℓ/∂a = 2 (a − y)
struct Mse {
    template <class V> V operator()(const V &a, const V &y, V &gradient) const {
        const V error = simd::sub(a, y);
        gradient = simd::add(error, error);
        return simd::mul(error, error);
    }
};

// ℓ = |a − y|;  ∂ℓ/∂a = sign(a − y), 0 where equal
struct Mae {
    template <class V> V operator()(const V &a, const V &y, V &gradient) const {
        const V one = simd::broadcast<V>(1), zero = simd::zero<V>(), error = simd::sub(a, y);
        gradient = simd::where_less(zero, error, one,
                                    simd::where_less(error, zero, simd::negate(one), zero));
        return simd::abs(error);
    }
};

// ℓ = e²/2 for |e| <= δ, else δ (|e| − δ/2), e = a − y;  ∂ℓ/∂a = e clipped to ±δ   (P. Huber, 1964)
struct Huber {
    double delta;
    template <class V> V operator()(const V &a, const V &y, V &gradient) const {
        const V d = simd::broadcast<V>(simd::Scalar<V>(delta)), error = simd::sub(a, y);
        const V size = simd::abs(error), half = simd::broadcast<V>(simd::Scalar<V>(0.5));
        const V low = simd::where_less(error, simd::negate(d), simd::negate(d), error);
        gradient = simd::where_less(d, low, d, low);
        return simd::where_less(d, size, simd::mul(d, simd::nmadd(half, d, size)),
                                simd::mul(half, simd::mul(error, error)));
    }
};

// From the logit z: ℓ = max(z, 0) − y z + log1p(e^-|z|);  ∂ℓ/∂z = sigmoid(z) − y
struct BinaryCrossEntropy {
    template <class V> V operator()(const V &z, const V &y, V &gradient) const {
        gradient = simd::sub(Sigmoid{}.value(z), y);
        return simd::nmadd(y, z, Softplus{}.value(z));
    }
};

// From the logit z of an exp output: ℓ = e^z − y z;  ∂ℓ/∂z = e^z − y
struct Poisson {
    template <class V> V operator()(const V &z, const V &y, V &gradient) const {
        const V rate = simd::exp(z);
        gradient = simd::sub(rate, y);
        return simd::nmadd(y, z, rate);
    }
};

// Σ over the outputs of one column; gradient times `factor`. Columns with fewer than 4 outputs go
// one number at a time, the others in packets and virtual lanes: the choice depends on the width
// alone.
template <class T, class L>
T element_wise_column(const L &loss, Index rows, const T *out, const T *y, T factor, T *d) {
    if (rows < 4) {
        T sum = 0;
        for (Index i = 0; i < rows; ++i) {
            T gradient;
            sum += loss(out[i], y[i], gradient);
            if (d)
                d[i] = factor * gradient;
        }
        return sum;
    }
    using V = simd::Packet<T>;
    const V scale = simd::broadcast<V>(factor);
    simd::Lanes16<T> lanes(T(0));
    const auto add = [&](V &sum, const T *o, const T *t, T *g, Index count) {
        V gradient;
        const V value =
            loss(simd::load_first<V>(o, count), simd::load_first<V>(t, count), gradient);
        if (g)
            simd::store_first(g, simd::mul(scale, gradient), count);
        if (count == simd::kLanes<T>) {
            sum = simd::add(sum, value);
        } else {
            T kept[simd::kLanes<T>];
            simd::store(kept, value);
            sum = simd::add(sum, simd::load_first<V>(kept, count));
        }
    };
    for (Index i = 0; i < rows; i += 16)
        lanes.each([&](V &sum, Index offset) {
            const Index at = i + offset, count = simd::lanes_before<T>(rows, at);
            if (count > 0)
                add(sum, out + at, y + at, d ? d + at : nullptr, count);
        });
    return lanes.sum();
}

template <class T, class L>
void element_wise(const L &loss, Index rows, Index n, Columns<const T> out, Columns<const T> y,
                  const T *w, double total_weight, double *losses, Columns<T> d) {
    const double mean = 1.0 / static_cast<double>(rows), share = mean / total_weight;
    for (Index j = 0; j < n; ++j) {
        const double weight = w ? static_cast<double>(w[j]) : 1.0;
        const T column =
            element_wise_column<T>(loss, rows, out.column(j), y.column(j),
                                   static_cast<T>(weight * share), d ? d.column(j) : nullptr);
        losses[j] = weight == 0 ? 0 : weight * mean * static_cast<double>(column);
    }
}

// From logits: ℓ = Σ_c y_c (log Σ e^z − z_c), by log-sum-exp;  ∂ℓ/∂z = softmax(z) Σ y − y.
// y is a class number, or one number a class.
template <class T>
void cross_entropy(bool class_index, Index rows, Index n, Columns<const T> z, Columns<const T> y,
                   const T *w, double total_weight, double *losses, Columns<T> d) {
    for (Index j = 0; j < n; ++j) {
        const T *zj = z.column(j), *yj = y.column(j);
        const double weight = w ? static_cast<double>(w[j]) : 1.0;
        T largest = zj[0];
        for (Index i = 1; i < rows; ++i)
            largest = zj[i] > largest || zj[i] != zj[i] ? zj[i] : largest;
        double exponentials = 0;
        for (Index i = 0; i < rows; ++i)
            exponentials += std::exp(static_cast<double>(zj[i] - largest));
        const double log_sum = std::log(exponentials);
        double mass = 1, loss = 0; // Σ y and Σ y (log_sum − (z − largest))
        if (class_index) {
            loss = log_sum - static_cast<double>(zj[static_cast<Index>(yj[0])] - largest);
        } else {
            mass = 0;
            for (Index i = 0; i < rows; ++i) {
                const double share = static_cast<double>(yj[i]);
                mass += share;
                if (share != 0)
                    loss += share * (log_sum - static_cast<double>(zj[i] - largest));
            }
        }
        losses[j] = weight == 0 ? 0 : weight * loss;
        if (!d)
            continue;
        T *dj = d.column(j);
        const double factor = weight / total_weight;
        for (Index i = 0; i < rows; ++i) {
            const double p = std::exp(static_cast<double>(zj[i] - largest)) / exponentials;
            const double target = class_index ? (static_cast<Index>(yj[0]) == i ? 1.0 : 0.0)
                                              : static_cast<double>(yj[i]);
            dj[i] = static_cast<T>(factor * (p * mass - target));
        }
    }
}

bool accepts(LossKind loss, ActivationKind output) {
    switch (loss) {
    case LossKind::cross_entropy:
        return output == ActivationKind::softmax || output == ActivationKind::identity;
    case LossKind::binary_cross_entropy:
        return output == ActivationKind::sigmoid || output == ActivationKind::identity;
    case LossKind::poisson:
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
    from_logits_ = spec.kind == LossKind::cross_entropy ||
                   spec.kind == LossKind::binary_cross_entropy || spec.kind == LossKind::poisson;
}

template <class T>
void Loss::operator()(Index n, Columns<const T> out, Columns<const T> y, const T *w,
                      double total_weight, double *losses, Columns<T> d) const {
    const auto run = [&](const auto &loss) {
        element_wise(loss, n_outputs_, n, out, y, w, total_weight, losses, d);
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
    case LossKind::cross_entropy:
        break;
    }
    cross_entropy(class_index_, n_outputs_, n, out, y, w, total_weight, losses, d);
}

template <class T> std::optional<TargetFault> Loss::check(Index n, Columns<const T> y) const {
    double low = 0, high = 1;
    const char *expected = "in [0, 1]";
    if (class_index_) {
        high = static_cast<double>(n_outputs_ - 1);
        expected = "a class number";
    } else if (spec_.kind == LossKind::poisson) {
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
