// Layer normalisation: every column is centred and scaled by its own mean and variance.
//
// Sums over the units of a column run in sixteen virtual lanes, in chains of 256 a lane, and a tree
// (contract 16). A packet of columns is worked on at once, one a lane, for what is once a column.
#include "deltarule/layers.hpp"

#include "deltarule/simd.hpp"

#include <algorithm>
#include <limits>

namespace deltarule {

namespace {

using simd::kLanes;
template <class T> using P = simd::Packet<T>;

// One value for each of up to a packet of columns, as a packet and in memory.
template <class T> struct PerColumn {
    alignas(64) T values[kLanes<T>];
    explicit PerColumn(const P<T> &packet) { simd::store(values, packet); }
    P<T> operator[](Index q) const { return simd::broadcast<P<T>>(values[q]); }
};

// The sum in each virtual lane over units [i0, i1): term(i, sum) adds unit i and those after it to
// a packet of sums.
template <class T, class Term> P<T> lane_sums(Index i0, Index i1, const Term &term) {
    simd::Lanes16<T> lanes(T(0));
    Index i = i0;
    for (; i + 16 <= i1; i += 16)
        lanes.each([&](P<T> &sum, Index offset) { sum = term(i + offset, sum); });
    if (i < i1)
        lanes.each([&](P<T> &sum, Index offset) {
            const Index count = simd::lanes_before<T>(i1, i + offset);
            if (count > 0)
                sum = simd::first_or(term(i + offset, sum), count, sum);
        });
    return lanes.folded();
}

// Means over the units of columns 0 ... count - 1, one a lane: term_of(q) is the term of column q.
template <class T, class TermOf> P<T> means(Index count, Index units, const TermOf &term_of) {
    constexpr Index kLaneChain = 16 * kChain;
    P<T> totals = simd::zero<P<T>>();
    for (Index i0 = 0; i0 < units; i0 += kLaneChain) {
        const Index i1 = std::min(units, i0 + kLaneChain);
        P<T> sums;
        if (count == 1) {
            sums = simd::broadcast<P<T>>(simd::tree_sum(lane_sums<T>(i0, i1, term_of(0))));
        } else {
            P<T> square[kLanes<T>];
            for (Index q = 0; q < kLanes<T>; ++q)
                square[q] = q < count ? lane_sums<T>(i0, i1, term_of(q)) : simd::zero<P<T>>();
            sums = simd::tree_sums(square);
        }
        totals = i0 == 0 ? sums : simd::add(totals, sums);
    }
    return simd::div(totals, simd::broadcast<P<T>>(static_cast<T>(units)));
}

// Σ δ ⊙ x̂ and Σ δ over n columns, for NV packets of units.
template <class T, int NV>
void unit_sums(Columns<const T> in, const Slot<T> &slot, Index n, T *d_gamma, T *d_beta) {
    P<T> scaled[NV], plain[NV];
    for (int v = 0; v < NV; ++v)
        scaled[v] = plain[v] = simd::zero<P<T>>();
    for (Index j = 0; j < n; ++j) {
        const P<T> mean = simd::broadcast<P<T>>(slot.mean[j]);
        const P<T> inverse = simd::broadcast<P<T>>(slot.inverse[j]);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
            const P<T> x = simd::load<P<T>>(in.column(j) + v * kLanes<T>);
            const P<T> delta = simd::load<P<T>>(slot.delta.column(j) + v * kLanes<T>);
            const P<T> normed = simd::mul(simd::sub(x, mean), inverse);
            scaled[v] = simd::madd(delta, normed, scaled[v]);
            plain[v] = simd::add(plain[v], delta);
        }
    }
    for (int v = 0; v < NV; ++v) {
        simd::store(d_gamma + v * kLanes<T>, scaled[v]);
        simd::store(d_beta + v * kLanes<T>, plain[v]);
    }
}

} // namespace

template <class T>
void LayerNorm<T>::forward(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot, Index n,
                           const Pass &) const {
    using V = P<T>;
    const T *gamma = p.theta, *beta = gamma + outputs;
    const V floor =
        simd::broadcast<V>(std::max(static_cast<T>(epsilon), std::numeric_limits<T>::min()));
    for (Index j = 0; j < n; j += kLanes<T>) {
        const Index count = std::min<Index>(kLanes<T>, n - j);
        const V mean = means<T>(count, outputs, [&](Index q) {
            return [x = in.column(j + q)](Index i, const V &sum) {
                return simd::add(sum, simd::load<V>(x + i));
            };
        });
        const PerColumn<T> mean_of(mean);
        const V variance = means<T>(count, outputs, [&](Index q) {
            return [x = in.column(j + q), m = mean_of[q]](Index i, const V &sum) {
                const V centred = simd::sub(simd::load<V>(x + i), m);
                return simd::madd(centred, centred, sum);
            };
        });
        const V inverse =
            simd::div(simd::broadcast<V>(T(1)), simd::sqrt(simd::add(variance, floor)));
        const PerColumn<T> inverse_of(inverse);
        simd::store_first(slot.mean + j, mean, count);
        simd::store_first(slot.inverse + j, inverse, count);
        for (Index q = 0; q < count; ++q) {
            const T *x = in.column(j + q);
            T *a = slot.a.column(j + q);
            const V m = mean_of[q], s = inverse_of[q];
            for (Index i = 0; i < outputs; i += kLanes<T>) {
                const V normed = simd::mul(simd::sub(simd::load<V>(x + i), m), s);
                simd::store(a + i,
                            simd::madd(simd::load<V>(gamma + i), normed, simd::load<V>(beta + i)));
            }
        }
    }
}

template <class T>
void LayerNorm<T>::backward(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot,
                            Columns<T> d_in, Index n, const Pass &) const {
    using V = P<T>;
    if (!d_in)
        return;
    const T *gamma = p.theta;
    for (Index j = 0; j < n; j += kLanes<T>) {
        const Index count = std::min<Index>(kLanes<T>, n - j);
        const PerColumn<T> mean_of(simd::load_first<V>(slot.mean + j, count));
        const V inverse = simd::load_first<V>(slot.inverse + j, count);
        const PerColumn<T> inverse_of(inverse);
        const PerColumn<T> of_g(means<T>(count, outputs, [&](Index q) {
            return [delta = slot.delta.column(j + q), gamma](Index i, const V &sum) {
                return simd::madd(simd::load<V>(gamma + i), simd::load<V>(delta + i), sum);
            };
        }));
        const V of_g_centred = means<T>(count, outputs, [&](Index q) {
            return [delta = slot.delta.column(j + q), x = in.column(j + q), gamma,
                    m = mean_of[q]](Index i, const V &sum) {
                const V g = simd::mul(simd::load<V>(gamma + i), simd::load<V>(delta + i));
                return simd::madd(g, simd::sub(simd::load<V>(x + i), m), sum);
            };
        });
        const PerColumn<T> of_g_normed(simd::mul(of_g_centred, inverse));
        for (Index q = 0; q < count; ++q) {
            const T *x = in.column(j + q), *delta = slot.delta.column(j + q);
            T *out = d_in.column(j + q);
            const V m = mean_of[q], s = inverse_of[q], c = of_g[q], d = of_g_normed[q];
            for (Index i = 0; i < outputs; i += kLanes<T>) {
                const V normed = simd::mul(simd::sub(simd::load<V>(x + i), m), s);
                const V g = simd::mul(simd::load<V>(gamma + i), simd::load<V>(delta + i));
                simd::store(out + i, simd::mul(s, simd::nmadd(normed, d, simd::sub(g, c))));
            }
        }
    }
}

template <class T>
void LayerNorm<T>::gradient(Columns<const T> in, const Slot<T> &slot, Index n, Index offset,
                            Index k0, Index k1, const GradientSink<T> &sink, T *scratch) const {
    T *d_gamma = scratch, *d_beta = scratch + padded(k1 - k0);
    Index packets = (k1 - k0 + kLanes<T> - 1) / kLanes<T>, place = 0;
    const auto sum = [&]<int NV>(std::integral_constant<int, NV>) { // chains overlap
        for (; packets >= NV; packets -= NV, place += NV * kLanes<T>) {
            Slot<T> here = slot;
            here.delta.data += k0 + place;
            unit_sums<T, NV>({in.data + k0 + place, in.ld}, here, n, d_gamma + place,
                             d_beta + place);
        }
    };
    sum(std::integral_constant<int, 4>{});
    sum(std::integral_constant<int, 2>{});
    sum(std::integral_constant<int, 1>{});
    sink.take_sums(offset + k0, k1 - k0, d_gamma);
    sink.take_sums(offset + outputs + k0, k1 - k0, d_beta);
}

template struct LayerNorm<float>;
template struct LayerNorm<double>;

} // namespace deltarule
