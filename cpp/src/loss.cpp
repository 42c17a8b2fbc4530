// Loss functions: one small struct each with ℓ and ∂ℓ/∂(output), applied to columns of a batch.
#include "deltarule/loss.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>

namespace deltarule {

namespace {

constexpr std::array<std::string_view, 6> kNames = {
    "mse", "mae", "huber", "binary_cross_entropy", "cross_entropy", "poisson"};

// kCostly: a packet of it takes longer to compute than to collect from as many columns.

// ℓ = (a − y)²;  ∂ℓ/∂a = 2 (a − y)
struct Mse {
    static constexpr bool kCostly = false;
    template <class V> V operator()(const V &a, const V &y, V &gradient) const {
        const V error = simd::sub(a, y);
        gradient = simd::add(error, error);
        return simd::mul(error, error);
    }
};

// ℓ = |a − y|;  ∂ℓ/∂a = sign(a − y), 0 where equal
struct Mae {
    static constexpr bool kCostly = false;
    template <class V> V operator()(const V &a, const V &y, V &gradient) const {
        const V one = simd::broadcast<V>(1), zero = simd::zero<V>(), error = simd::sub(a, y);
        gradient = simd::where_less(zero, error, one,
                                    simd::where_less(error, zero, simd::negate(one), zero));
        return simd::abs(error);
    }
};

// ℓ = e²/2 for |e| <= δ, else δ (|e| − δ/2), e = a − y;  ∂ℓ/∂a = e clipped to ±δ   (P. Huber, 1964)
struct Huber {
    static constexpr bool kCostly = false;
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
    static constexpr bool kCostly = true;
    template <class V> V operator()(const V &z, const V &y, V &gradient) const {
        const V one = simd::broadcast<V>(1), zero = simd::zero<V>();
        const V e = simd::exp(simd::negate(simd::abs(z)));
        // u = 1 + e as rounded; log1p(e) = log(u) + (e − (u − 1)) / u. One division does for both.
        const V u = simd::add(one, e), inverse = simd::div(one, u);
        const V lost = simd::sub(e, simd::sub(u, one));
        const V tail = simd::madd(lost, inverse, simd::log(u));
        const V sigmoid = simd::where_less(z, zero, simd::mul(e, inverse), inverse);
        gradient = simd::sub(sigmoid, y);
        // The tail last: it is all that is left where z is far on the side of y.
        return simd::add(simd::nmadd(y, z, Relu{}.value(z)), tail);
    }
};

// From the logit z of an exp output: ℓ = e^z − y z;  ∂ℓ/∂z = e^z − y
struct Poisson {
    static constexpr bool kCostly = true;
    template <class V> V operator()(const V &z, const V &y, V &gradient) const {
        const V rate = simd::exp(z);
        gradient = simd::sub(rate, y);
        return simd::nmadd(y, z, rate);
    }
};

// What each column counts: w_j · mean in its loss, w_j · mean / Σ w in the gradient; w_j = 1 if w
// is null.
template <class T> class Weights {
  public:
    Weights(const T *w, double mean, double total) : w_(w), mean_(mean), share_(mean / total) {}
    bool uniform() const { return w_ == nullptr; }
    double share() const { return share_; } // in the gradient, of weight 1
    double in_gradient(Index j) const { return weight(j) * share_; }
    // A column of weight 0 costs 0 even where its loss is not finite.
    double loss(Index j, double value) const {
        const double w = weight(j);
        return w == 0 ? 0 : w * mean_ * value;
    }

  private:
    double weight(Index j) const { return w_ ? static_cast<double>(w_[j]) : 1.0; }

    const T *w_;
    double mean_, share_;
};

// Outputs narrower than this go in packets across columns or one number at a time, the others in
// packets along a column: the choice depends on the loss and the width alone.
constexpr Index kNarrow = 4;

// Number `row` of the `count` columns from j: one a lane, the other lanes 0.
template <class T> simd::Packet<T> across(Columns<const T> x, Index row, Index j, Index count) {
    using V = simd::Packet<T>;
    if (count == simd::kLanes<T>)
        return simd::gather<V>(x.column(j) + row, x.ld);
    if (count == 1) // needs no wait for memory written in parts to be read as a whole
        return simd::load_first<V>(x.column(j) + row, 1);
    T lanes[simd::kLanes<T>] = {};
    for (Index q = 0; q < count; ++q)
        lanes[q] = x.column(j + q)[row];
    return simd::load<V>(lanes);
}

// The way back.
template <class T>
void spread(const simd::Packet<T> &values, Columns<T> x, Index row, Index j, Index count) {
    T lanes[simd::kLanes<T>];
    simd::store(lanes, values);
    for (Index q = 0; q < count; ++q)
        x.column(j + q)[row] = lanes[q];
}

template <class T> simd::Packet<T> factors(const Weights<T> &weights, Index j, Index count) {
    T lanes[simd::kLanes<T>] = {};
    for (Index q = 0; q < count; ++q)
        lanes[q] = static_cast<T>(weights.in_gradient(j + q));
    return simd::load<simd::Packet<T>>(lanes);
}

// Lane q belongs to column j + q from first to last, so that its bits depend on nothing else; the
// last columns go through packets as well.
template <class T, class L>
void narrow_element_wise(const L &loss, Index rows, Index n, Columns<const T> out,
                         Columns<const T> y, Weights<T> weights, double *losses, Columns<T> d) {
    using V = simd::Packet<T>;
    const V uniform = simd::broadcast<V>(static_cast<T>(weights.share()));
    for (Index j = 0; j < n; j += simd::kLanes<T>) {
        const Index count = std::min(n - j, Index(simd::kLanes<T>));
        const V factor = weights.uniform() ? uniform : factors(weights, j, count);
        V sum = simd::zero<V>();
        for (Index i = 0; i < rows; ++i) {
            V gradient;
            sum = simd::add(sum, loss(across(out, i, j, count), across(y, i, j, count), gradient));
            if (d)
                spread<T>(simd::mul(factor, gradient), d, i, j, count);
        }
        T sums[simd::kLanes<T>];
        simd::store(sums, sum);
        for (Index q = 0; q < count; ++q)
            losses[j + q] = weights.loss(j + q, static_cast<double>(sums[q]));
    }
}

// A cheap loss is computed in less time than it takes to collect a packet: one number at a time.
template <Index kRows, class T, class L>
void scalar_element_wise(const L &loss, Index n, Columns<const T> out, Columns<const T> y,
                         Weights<T> weights, double *losses, Columns<T> d) {
    const T uniform = static_cast<T>(weights.share());
    for (Index j = 0; j < n; ++j) {
        const T factor = weights.uniform() ? uniform : static_cast<T>(weights.in_gradient(j));
        T sum = 0;
        for (Index i = 0; i < kRows; ++i) {
            T gradient;
            sum += loss(out.column(j)[i], y.column(j)[i], gradient);
            if (d)
                d.column(j)[i] = factor * gradient;
        }
        losses[j] = weights.loss(j, static_cast<double>(sum));
    }
}

// Σ over the outputs of one column, in virtual lanes; gradient times `factor`.
template <class T, class L>
T element_wise_column(const L &loss, Index rows, const T *out, const T *y, T factor, T *d) {
    using V = simd::Packet<T>;
    const V scale = simd::broadcast<V>(factor);
    simd::Lanes16<T> sums(T(0));
    const Index whole = rows / 16 * 16;
    for (Index i = 0; i < whole; i += 16)
        sums.each([&](V &sum, Index offset) {
            const Index at = i + offset;
            V gradient;
            sum = simd::add(sum, loss(simd::load<V>(out + at), simd::load<V>(y + at), gradient));
            if (d)
                simd::store(d + at, simd::mul(scale, gradient));
        });
    sums.each([&](V &sum, Index offset) {
        const Index at = whole + offset, count = simd::lanes_before<T>(rows, at);
        if (count <= 0)
            return;
        V gradient;
        const V value = loss(simd::load_first<V>(out + at, count),
                             simd::load_first<V>(y + at, count), gradient);
        if (d)
            simd::store_first(d + at, simd::mul(scale, gradient), count);
        sum = simd::add(sum, simd::first_or(value, count, simd::zero<V>()));
    });
    return sums.sum();
}

template <class T, class L>
void wide_element_wise(const L &loss, Index rows, Index n, Columns<const T> out, Columns<const T> y,
                       Weights<T> weights, double *losses, Columns<T> d) {
    for (Index j = 0; j < n; ++j) {
        const T sum =
            element_wise_column(loss, rows, out.column(j), y.column(j),
                                static_cast<T>(weights.in_gradient(j)), d ? d.column(j) : nullptr);
        losses[j] = weights.loss(j, static_cast<double>(sum));
    }
}

template <class T, class L>
void element_wise(const L &loss, Index rows, Index n, Columns<const T> out, Columns<const T> y,
                  const Weights<T> &weights, double *losses, Columns<T> d) {
    if (rows >= kNarrow)
        return wide_element_wise(loss, rows, n, out, y, weights, losses, d);
    if constexpr (L::kCostly)
        return narrow_element_wise(loss, rows, n, out, y, weights, losses, d);
    else if (rows == 1)
        return scalar_element_wise<1>(loss, n, out, y, weights, losses, d);
    else if (rows == 2)
        return scalar_element_wise<2>(loss, n, out, y, weights, losses, d);
    scalar_element_wise<3>(loss, n, out, y, weights, losses, d);
}

// The cross-entropy of one column from its logits, with M = max z:
//     ℓ = Σ_c y_c (log Σ_k e^(z_k − M) − (z_c − M)) = mass log(sum) + rest
//     ∂ℓ/∂z = e^(z − M) mass / sum − y
template <class T> struct Target {
    T mass;      // Σ y
    double rest; // Σ y (M − z)
};

// y is the number of the true class.
struct ClassNumber {
    template <class T> static Target<T> target(Index, const T *z, const T *y, T largest) {
        const T own = z[static_cast<Index>(y[0])];
        return {T(1), static_cast<double>(largest) - static_cast<double>(own)};
    }
    // d ← d − factor y
    template <class T> static void subtract(Index, const T *y, T factor, T *d) {
        d[static_cast<Index>(y[0])] -= factor;
    }
};

// y is one number a class, none of them negative.
struct ClassShares {
    template <class T> static Target<T> target(Index rows, const T *z, const T *y, T largest) {
        using V = simd::Packet<T>;
        const V top = simd::broadcast<V>(largest), zero = simd::zero<V>();
        simd::Lanes16<T> masses(T(0)), rests(T(0));
        for (Index i = 0; i < rows; i += 16)
            for (int p = 0; p < simd::Lanes16<T>::kCount; ++p) {
                const Index at = i + p * simd::kLanes<T>;
                const Index count = simd::lanes_before<T>(rows, at);
                if (count <= 0)
                    break;
                const V share = simd::first_or(simd::load<V>(y + at), count, zero);
                const V term = simd::mul(share, simd::sub(top, simd::load<V>(z + at)));
                masses.part[p] = simd::add(masses.part[p], share);
                // 0 · ∞ counts as 0: a class of no share may have a logit of −∞.
                rests.part[p] = simd::add(rests.part[p], simd::where_less(zero, share, term, zero));
            }
        return {masses.sum(), static_cast<double>(rests.sum())};
    }
    template <class T> static void subtract(Index rows, const T *y, T factor, T *d) {
        using V = simd::Packet<T>;
        const V scale = simd::broadcast<V>(factor);
        for (Index i = 0; i < rows; i += simd::kLanes<T>)
            simd::store(d + i, simd::nmadd(scale, simd::load<V>(y + i), simd::load<V>(d + i)));
    }
};

// max z. A NaN may be missed here: its own e^(z − M) is NaN and so is their sum.
template <class T> T largest_of(Index rows, const T *z) {
    using V = simd::Packet<T>;
    const V first = simd::broadcast<V>(z[0]);
    V largest = first;
    Index i = 0;
    for (; i + simd::kLanes<T> <= rows; i += simd::kLanes<T>)
        largest = simd::max(largest, simd::load<V>(z + i));
    if (i < rows)
        largest = simd::max(largest, simd::first_or(simd::load<V>(z + i), rows - i, first));
    return simd::tree_max(largest);
}

// e^(z − M) of at most 16 classes, 0 in the lanes past them.
template <class T> simd::Lanes16<T> exponentials(Index rows, const T *z, T largest) {
    using V = simd::Packet<T>;
    const V top = simd::broadcast<V>(largest), zero = simd::zero<V>();
    simd::Lanes16<T> e(T(0));
    e.each([&](V &part, Index offset) {
        const Index count = simd::lanes_before<T>(rows, offset);
        if (count <= 0)
            return;
        const V z_part = simd::first_or(simd::load<V>(z + offset), count, top);
        part = simd::first_or(simd::exp(simd::sub(z_part, top)), count, zero);
    });
    return e;
}

// Returns S = Σ e^(z − M); d ← factor e^(z − M) / S if d is given.
template <class T> T scaled_softmax_of_few(Index rows, const T *z, T largest, double factor, T *d) {
    using V = simd::Packet<T>;
    const simd::Lanes16<T> e = exponentials(rows, z, largest);
    const T sum = e.sum();
    if (d) {
        const V scale = simd::broadcast<V>(static_cast<T>(factor / static_cast<double>(sum)));
        for (int p = 0; p < simd::Lanes16<T>::kCount && p * simd::kLanes<T> < rows; ++p)
            simd::store(d + p * simd::kLanes<T>, simd::mul(scale, e.part[p]));
    }
    return sum;
}

// The same for more than 16 classes; d keeps the exponentials until their sum is known.
template <class T>
T scaled_softmax_of_many(Index rows, const T *z, T largest, double factor, T *d) {
    using V = simd::Packet<T>;
    simd::Lanes16<T> sums(T(0));
    for (Index i = 0; i < rows; i += 16) {
        const simd::Lanes16<T> e = exponentials(rows - i, z + i, largest);
        for (int p = 0; p < simd::Lanes16<T>::kCount; ++p) {
            sums.part[p] = simd::add(sums.part[p], e.part[p]);
            if (d)
                simd::store(d + i + p * simd::kLanes<T>, e.part[p]);
        }
    }
    const T sum = sums.sum();
    const V scale = simd::broadcast<V>(static_cast<T>(factor / static_cast<double>(sum)));
    if (d)
        for (Index i = 0; i < rows; i += simd::kLanes<T>)
            simd::store(d + i, simd::mul(scale, simd::load<V>(d + i)));
    return sum;
}

// The parts of mass log(sum) + rest, of as many columns as share a few packets of logarithms.
struct LogSums {
    static constexpr Index kColumns = 16;
    double sum[kColumns], mass[kColumns], rest[kColumns];

    // loss[q] = mass[q] log(sum[q]) + rest[q] for the first `count`.
    void losses(Index count, double *loss) const {
        using V = simd::Packet<double>;
        for (Index q = 0; q < count; q += simd::kLanes<double>) {
            const V logs = simd::log(simd::load<V>(sum + q));
            simd::store(loss + q,
                        simd::madd(simd::load<V>(mass + q), logs, simd::load<V>(rest + q)));
        }
    }
};

// Reads and writes whole packets: columns are padded.
template <class T, class Y>
void cross_entropy(Y form, Index rows, Index n, Columns<const T> z, Columns<const T> y,
                   Weights<T> weights, double *losses, Columns<T> d) {
    const auto softmax = rows <= 16 ? scaled_softmax_of_few<T> : scaled_softmax_of_many<T>;
    for (Index first = 0; first < n; first += LogSums::kColumns) {
        const Index count = std::min(LogSums::kColumns, n - first);
        LogSums sums{};
        for (Index q = 0; q < count; ++q) {
            const Index j = first + q;
            const T *zj = z.column(j), *yj = y.column(j);
            T *dj = d ? d.column(j) : nullptr;
            const T largest = largest_of(rows, zj);
            const Target<T> target = form.target(rows, zj, yj, largest);
            const double factor = weights.in_gradient(j);
            sums.mass[q] = static_cast<double>(target.mass);
            sums.rest[q] = target.rest;
            sums.sum[q] =
                static_cast<double>(softmax(rows, zj, largest, factor * sums.mass[q], dj));
            if (dj)
                form.subtract(rows, yj, static_cast<T>(factor), dj);
        }
        double values[LogSums::kColumns];
        sums.losses(count, values);
        for (Index q = 0; q < count; ++q)
            losses[first + q] = weights.loss(first + q, values[q]);
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
        const Weights<T> weights(w, 1.0 / static_cast<double>(n_outputs_), total_weight);
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
    case LossKind::cross_entropy:
        break;
    }
    const Weights<T> weights(w, 1.0, total_weight);
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
