// Products with fewer than 4 outputs, in sixteen virtual lanes: the narrow part of `kernels`.
#pragma once

#include "deltarule/kernels.hpp"
#include "deltarule/simd.hpp"

#include <algorithm>

namespace deltarule::narrow {

using simd::kLanes;
using simd::Packet;

// Σ x y over [k0, k1) in sixteen virtual lanes, folded to the width of a packet by the first levels
// of the tree.
template <class T> Packet<T> lane_sums(const T *x, const T *y, Index k0, Index k1) {
    using V = Packet<T>;
    simd::Lanes16<T> lanes(T(0));
    Index t = k0;
    for (; t + 16 <= k1; t += 16)
        lanes.each([&](V &sum, Index offset) {
            sum = simd::madd(simd::load<V>(x + t + offset), simd::load<V>(y + t + offset), sum);
        });
    if (t < k1)
        lanes.each([&](V &sum, Index offset) {
            const Index count = simd::lanes_before<T>(k1, t + offset);
            sum = simd::madd(simd::load_first<V>(x + t + offset, count),
                             simd::load_first<V>(y + t + offset, count), sum);
        });
    return lanes.folded();
}

// The same for k <= 16: one multiply-add in each lane, with `x` loaded once for many columns.
template <class T> class ShortRow {
  public:
    ShortRow(const T *x, Index k) {
        for (int p = 0; p < kParts; ++p) {
            count_[p] = simd::lanes_before<T>(k, p * kLanes<T>);
            x_[p] = simd::load_first<Packet<T>>(x + p * kLanes<T>, count_[p]);
        }
    }
    Packet<T> operator()(const T *y) const {
        simd::Lanes16<T> lanes(T(0));
        for (int p = 0; p < kParts; ++p) {
            const auto values = simd::load_first<Packet<T>>(y + p * kLanes<T>, count_[p]);
            lanes.part[p] = simd::madd(x_[p], values, lanes.part[p]);
        }
        return lanes.folded();
    }

  private:
    static constexpr int kParts = simd::Lanes16<T>::kCount;
    Packet<T> x_[kParts];
    Index count_[kParts];
};

// Σ_t x_t b(t, j) for columns [j, j + count), count <= width of a packet, as one packet: the lanes
// of all columns are turned into packets of columns, so that the tree is walked once for all.
template <class T>
Packet<T> narrow_columns(Index j, Index count, Index k, const T *x, Columns<const T> b) {
    using V = Packet<T>;
    constexpr Index kP = kLanes<T>, kLaneChain = 16 * kChain;
    if (k <= 16) {
        const ShortRow<T> row(x, k);
        if (count == 1)
            return simd::broadcast<V>(simd::tree_sum(row(b.column(j))));
        V square[kP];
        if (count == kP)
#pragma GCC unroll 16
            for (Index q = 0; q < kP; ++q)
                square[q] = row(b.column(j + q));
        else
            for (Index q = 0; q < kP; ++q)
                square[q] = q < count ? row(b.column(j + q)) : simd::zero<V>();
        return simd::tree_sums(square);
    }
    V totals = simd::zero<V>();
    for (Index k0 = 0; k0 < k; k0 += kLaneChain) {
        const Index k1 = std::min(k, k0 + kLaneChain);
        V sums;
        if (count == 1) {
            sums = simd::broadcast<V>(simd::tree_sum(lane_sums(x, b.column(j), k0, k1)));
        } else {
            V square[kP];
            for (Index q = 0; q < kP; ++q)
                square[q] = q < count ? lane_sums(x, b.column(j + q), k0, k1) : simd::zero<V>();
            sums = simd::tree_sums(square);
        }
        totals = k0 == 0 ? sums : simd::add(totals, sums);
    }
    return totals;
}

// C (m, n) = A (m, k) B (k, n) for m < 4: row i of A is contiguous at a + i a_row, column j of B at
// b.column(j). Sixteen virtual lanes along k, in chains of 256 per lane, then the tree. finish(i,
// j, count, packet) takes c(i, j ... j + count).
template <class T, class Finish>
void narrow_product(Index m, Index n, Index k, const T *a, Index a_row, Columns<const T> b,
                    Finish &&finish) {
    for (Index i = 0; i < m; ++i)
        for (Index j = 0; j < n; j += kLanes<T>) {
            const Index count = std::min<Index>(kLanes<T>, n - j);
            finish(i, j, count, narrow_columns(j, count, k, a + i * a_row, b));
        }
}

// Row i of C, columns [j, j + count), from a packet.
template <class T>
void store_row(Columns<T> c, Index i, Index j, Index count, const Packet<T> &values) {
    if (c.ld == 1)
        return simd::store_first(c.data + j, values, count);
    T each[kLanes<T>];
    simd::store(each, values);
    for (Index q = 0; q < count; ++q)
        c.column(j + q)[i] = each[q];
}

} // namespace deltarule::narrow
