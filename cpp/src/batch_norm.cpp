// Batch normalisation: strips of 16 units, each gone through row by row. What is known of a unit is
// in double; of a mean that does not fit in T the rest is part of the shift, so that units with a
// large mean and a small deviation keep their digits.
#include "deltarule/layers.hpp"

#include <algorithm>

namespace deltarule {

namespace {

template <class T> using P = simd::Packet<T>;
using D = simd::Packet<double>;

constexpr Index kStrip = 16; // columns are padded to whole strips
constexpr Index kD = simd::kLanes<double>;

// A number for each unit of a strip.
struct Strip {
    static constexpr Index kPackets = kStrip / kD;
    D packet[kPackets];

    // f(q) for every packet q.
    template <class F> static Strip of(const F &f) {
        Strip s;
        for (Index q = 0; q < kPackets; ++q)
            s.packet[q] = f(q);
        return s;
    }
    static Strip of(double x) {
        return of([x](Index) { return simd::broadcast<D>(x); });
    }
    static Strip load(const double *p) {
        return of([p](Index q) { return simd::load<D>(p + q * kD); });
    }
    void store(double *p) const {
        for (Index q = 0; q < kPackets; ++q)
            simd::store(p + q * kD, packet[q]);
    }
    Strip operator-(const Strip &x) const {
        return of([&](Index q) { return simd::sub(packet[q], x.packet[q]); });
    }
    Strip operator*(const D &x) const {
        return of([&](Index q) { return simd::mul(packet[q], x); });
    }
    Strip operator*(const Strip &x) const {
        return of([&](Index q) { return simd::mul(packet[q], x.packet[q]); });
    }
};

// A strip in the network's type, as packets.
template <class T> struct Narrow {
    static constexpr Index kPackets = kStrip / simd::kLanes<T>;
    P<T> packet[kPackets];

    explicit Narrow(const Strip &strip) {
        double wide[kStrip];
        T narrow[kStrip];
        strip.store(wide);
        for (Index i = 0; i < kStrip; ++i)
            narrow[i] = static_cast<T>(wide[i]);
        for (Index q = 0; q < kPackets; ++q)
            packet[q] = simd::load<P<T>>(narrow + q * simd::kLanes<T>);
    }
    // The first `count` numbers from p on; zeros follow.
    Narrow(const T *p, Index count) {
        for (Index q = 0; q < kPackets; ++q) {
            const Index at = q * simd::kLanes<T>;
            packet[q] = simd::load_first<P<T>>(p + at, simd::lanes_before<T>(count, at));
        }
    }
    Strip wide() const {
        T narrow[kStrip];
        for (Index q = 0; q < kPackets; ++q)
            simd::store(narrow + q * simd::kLanes<T>, packet[q]);
        return Strip::of([&](Index q) { return simd::load_wide(narrow + q * kD); });
    }
};

// What rounding took from a strip.
template <class T> Strip rest_of(const Strip &strip, const Narrow<T> &rounded) {
    return strip - rounded.wide();
}

// Σ over rows [0, n), where add(sum, j, q) adds row j to packet q: 256 rows in two chains, the even
// rows and the odd ones, and blocks in order.
template <class F> Strip sum_of_rows(Index n, const F &add) {
    Strip total = Strip::of(0.0);
    for (Index first = 0; first < n; first += kRowBlock) {
        const Index end = std::min(n, first + kRowBlock);
        Strip even = Strip::of(0.0), odd = even;
        Index j = first;
        for (; j + 1 < end; j += 2)
            for (Index q = 0; q < Strip::kPackets; ++q) {
                even.packet[q] = add(even.packet[q], j, q);
                odd.packet[q] = add(odd.packet[q], j + 1, q);
            }
        if (j < end)
            even = Strip::of([&](Index q) { return add(even.packet[q], j, q); });
        total = Strip::of([&](Index q) {
            return simd::add(total.packet[q], simd::add(even.packet[q], odd.packet[q]));
        });
    }
    return total;
}

// f(place in the column, q) for every packet q of a strip in every row.
template <class T, class F> void each_packet(Index n, Index i, const F &f) {
    for (Index j = 0; j < n; ++j)
        for (Index q = 0; q < Narrow<T>::kPackets; ++q)
            f(j, i + q * simd::kLanes<T>, q);
}

// Mean and variance of units of a strip over the rows, or the running ones.
struct Moments {
    Strip mean, variance;

    // In two passes: however large the mean is, it does not cancel.
    template <class T> static Moments of_rows(Columns<const T> x, Index n, Index i) {
        const D count = simd::broadcast<D>(static_cast<double>(n));
        const auto divided = [&](const Strip &sum) {
            return Strip::of([&](Index q) { return simd::div(sum.packet[q], count); });
        };
        const Strip mean = divided(sum_of_rows(n, [&](const D &sum, Index j, Index q) {
            return simd::add(sum, simd::load_wide(x.column(j) + i + q * kD));
        }));
        const Strip variance = divided(sum_of_rows(n, [&](const D &sum, Index j, Index q) {
            const D d = simd::sub(simd::load_wide(x.column(j) + i + q * kD), mean.packet[q]);
            return simd::madd(d, d, sum);
        }));
        return {mean, variance};
    }

    // 1 / √(v + ε)
    Strip inverse_deviation(double epsilon) const {
        const D one = simd::broadcast<D>(1), eps = simd::broadcast<D>(epsilon);
        return Strip::of([&](Index q) {
            return simd::div(one, simd::sqrt(simd::add(variance.packet[q], eps)));
        });
    }
};

} // namespace

template <class T>
void BatchNorm<T>::forward(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot, Index n,
                           const Pass &pass) const {
    forward_units(p, in, slot, n, pass, 0, outputs);
}

template <class T>
void BatchNorm<T>::backward(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot,
                            Columns<T> d_in, Index n, const Pass &pass) const {
    backward_units(p, in, slot, d_in, n, pass, 0, outputs);
}

template <class T>
void BatchNorm<T>::forward_units(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot,
                                 Index n, const Pass &pass, Index i0, Index i1) const {
    const Index stride = padded(outputs);
    for (Index i = i0; i < i1; i += kStrip) {
        const Index left = outputs - i;
        Narrow<T> mean(p.state + i, left), scale(p.theta + i, left),
            shift(p.theta + outputs + i, left);
        if (pass.training) {
            const Moments moments = Moments::of_rows<T>(in, n, i);
            moments.mean.store(slot.units + i);
            moments.variance.store(slot.units + stride + i);
            mean = Narrow<T>(moments.mean);
            const Strip factor = scale.wide() * moments.inverse_deviation(epsilon);
            scale = Narrow<T>(factor);
            shift = Narrow<T>(shift.wide() - rest_of(moments.mean, mean) * factor);
        } else {
            const Narrow<T> variance(p.state + outputs + i, left);
            const P<T> eps = simd::broadcast<P<T>>(static_cast<T>(epsilon));
            for (Index q = 0; q < Narrow<T>::kPackets; ++q)
                scale.packet[q] =
                    simd::div(scale.packet[q], simd::sqrt(simd::add(variance.packet[q], eps)));
        }
        each_packet<T>(n, i, [&](Index j, Index at, Index q) {
            const P<T> d = simd::sub(simd::load<P<T>>(in.column(j) + at), mean.packet[q]);
            simd::store(slot.a.column(j) + at, simd::madd(d, scale.packet[q], shift.packet[q]));
        });
    }
}

// With r = 1 / √(v + ε): ∂L/∂β = Σ δ, ∂L/∂γ = r Σ δ (x − μ), and in training
// d_in = γ r (δ − ∂L/∂β / n − (x − μ) r ∂L/∂γ / n); in inference, where μ and v are given, γ r δ.
template <class T>
void BatchNorm<T>::backward_units(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot,
                                  Columns<T> d_in, Index n, const Pass &pass, Index i0,
                                  Index i1) const {
    const Index stride = padded(outputs);
    const D share = simd::broadcast<D>(pass.training ? 1 / static_cast<double>(n) : 0);
    const Columns<const T> delta = slot.delta;
    for (Index i = i0; i < i1; i += kStrip) {
        const Index left = outputs - i;
        double *units = slot.units + i;
        const Moments moments = pass.training
                                    ? Moments{Strip::load(units), Strip::load(units + stride)}
                                    : Moments{Narrow<T>(p.state + i, left).wide(),
                                              Narrow<T>(p.state + outputs + i, left).wide()};
        const Strip r = moments.inverse_deviation(epsilon);
        const Strip d_beta = sum_of_rows(n, [&](const D &sum, Index j, Index q) {
            return simd::add(sum, simd::load_wide(delta.column(j) + i + q * kD));
        });
        const Strip d_gamma =
            r * sum_of_rows(n, [&](const D &sum, Index j, Index q) {
                const Index at = i + q * kD;
                const D d = simd::sub(simd::load_wide(in.column(j) + at), moments.mean.packet[q]);
                return simd::madd(simd::load_wide(delta.column(j) + at), d, sum);
            });
        d_gamma.store(units + 2 * stride);
        d_beta.store(units + 3 * stride);
        if (!d_in)
            continue;
        const Strip slope = r * d_gamma * share;
        const Narrow<T> scale(Narrow<T>(p.theta + i, left).wide() * r), mean(moments.mean);
        const Narrow<T> level(d_beta * share - rest_of(moments.mean, mean) * slope), narrow(slope);
        each_packet<T>(n, i, [&](Index j, Index at, Index q) {
            const P<T> x = simd::sub(simd::load<P<T>>(in.column(j) + at), mean.packet[q]);
            const P<T> d = simd::sub(simd::load<P<T>>(delta.column(j) + at), level.packet[q]);
            simd::store(d_in.column(j) + at,
                        simd::mul(scale.packet[q], simd::nmadd(x, narrow.packet[q], d)));
        });
    }
}

template <class T>
void BatchNorm<T>::gradient(Columns<const T>, const Slot<T> &slot, Index, Index offset, Index k0,
                            Index k1, const GradientSink<T> &sink, T *scratch) const {
    T *values = sink.gradient ? sink.gradient + offset : scratch;
    for (Index k = 0; k < 2; ++k) { // gamma, beta
        double *sums = slot.units + (2 + k) * padded(outputs);
        T *out = values + k * outputs;
        for (Index i = k0; i < k1; ++i) {
            out[i] = (sink.add ? out[i] : T(0)) + static_cast<T>(sums[i]);
            sums[i] = 0;
        }
        if (sink.apply)
            sink.apply(offset + k * outputs + k0, k1 - k0, out + k0, false);
    }
}

template <class T>
void BatchNorm<T>::update_statistics(const Slot<T> &slot, Index n, T *state) const {
    const double *mean = slot.units, *variance = mean + padded(outputs);
    const double unbiased = static_cast<double>(n) / static_cast<double>(n - 1);
    const auto move = [this](T &running, double found) {
        running = static_cast<T>((1 - momentum) * static_cast<double>(running) + momentum * found);
    };
    for (Index i = 0; i < outputs; ++i) {
        move(state[i], mean[i]);
        move(state[outputs + i], unbiased * variance[i]);
    }
}

template struct BatchNorm<float>;
template struct BatchNorm<double>;

} // namespace deltarule
