// Cross-entropy from logits, a column at a time. Part of `loss`.
#pragma once

#include "loss_weights.hpp"

#include "deltarule/columns.hpp"
#include "deltarule/simd.hpp"

#include <algorithm>
#include <limits>

namespace deltarule::losses {

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

// Either of the two with y (1 − ε) + ε/K for y, K classes   (C. Szegedy et al., 2016)
template <class Y> struct Smoothed {
    Y form;
    double smoothing;

    template <class T> Target<T> target(Index rows, const T *z, const T *y, T largest) const {
        using V = simd::Packet<T>;
        const V top = simd::broadcast<V>(largest), zero = simd::zero<V>();
        simd::Lanes16<T> gaps(T(0));
        for (Index i = 0; i < rows; i += 16)
            gaps.each([&](V &sum, Index offset) {
                const Index count = simd::lanes_before<T>(rows, i + offset);
                if (count <= 0)
                    return;
                const V gap = simd::sub(top, simd::load_first<V>(z + i + offset, count));
                sum = simd::add(sum, simd::first_or(gap, count, zero));
            });
        const Target<T> own = form.target(rows, z, y, largest);
        const double kept = 1 - smoothing;
        return {static_cast<T>(kept * static_cast<double>(own.mass) + smoothing),
                kept * own.rest + shared(rows) * static_cast<double>(gaps.sum())};
    }
    template <class T> void subtract(Index rows, const T *y, T factor, T *d) const {
        using V = simd::Packet<T>;
        const V part = simd::broadcast<V>(static_cast<T>(factor * shared(rows)));
        for (Index i = 0; i < rows; i += simd::kLanes<T>)
            simd::store(d + i, simd::sub(simd::load<V>(d + i), part));
        form.subtract(rows, y, static_cast<T>(factor * (1 - smoothing)), d);
    }
    double shared(Index rows) const { return smoothing / static_cast<double>(rows); }
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

} // namespace deltarule::losses
