// Register tiles, packing, and the three products of backpropagation.
#include "deltarule/kernels.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace deltarule {

namespace {

using simd::kLanes;
using simd::Packet;

// The largest tile: kPackets packets of outputs times kColumns columns, all in registers.
template <class T> struct Tile {
    static constexpr int kPackets = simd::kRegisters == 32 || simd::kFused ? 3 : 2;
    static constexpr int kColumns = simd::kRegisters == 32 ? 8 : 4;
    static constexpr Index kRows = kPackets * kLanes<T>;
};

constexpr Index kPackedBytes = 600 * 1024; // a packed block stays in a 1 MiB L2 cache
constexpr Index kPackWeights = 200 * 1024; // weights beyond this are worth packing
constexpr Index kSmallResult = 16 * 1024;  // a result that is still in the L1 cache when complete

// C (m, n) = A (m, k) B (k, n). A is the vector side: a(i, t) = a[i + t a_step], or, transposed,
// a[i a_step + t]. B is the broadcast side: b(t, j) = b[t b_step + j b_column].
template <class T> struct Operands {
    Index m = 0, n = 0, k = 0;
    const T *a = nullptr;
    Index a_step = 0;
    const T *b = nullptr;
    Index b_step = 0, b_column = 0;
    T *c = nullptr;
    Index ldc = 0;
    bool c_padded = false; // whole packets may be stored at the end of a column
    bool add = false;      // C += A B
    bool c_local = false;  // C holds one group of columns of one block of rows at a time
};

enum class Pack { none, copy, transpose };

// c (rows, NR) (+)= one chain over k. `rows` may be less than NV packets in the last of them.
template <class T, int NV, int NR>
[[gnu::noinline]] void tile(Index k, const T *a, Index a_step, const T *b, Index b_step,
                            Index b_column, T *c, Index ldc, bool add, Index rows) {
    using V = Packet<T>;
    [[maybe_unused]] constexpr Index kAhead = 8;
    V acc[NR][NV];
#pragma GCC unroll 8
    for (int r = 0; r < NR; ++r)
#pragma GCC unroll 16
        for (int v = 0; v < NV; ++v)
            acc[r][v] = simd::zero<V>();
    for (Index t = 0; t < k; ++t, a += a_step, b += b_step) {
        if constexpr (NR == 1 && NV > 4) // streams from L2 or beyond: keep lines on their way
            for (int v = 0; v < NV; ++v)
                __builtin_prefetch(a + v * kLanes<T> + kAhead * a_step);
        V x[NV];
#pragma GCC unroll 16
        for (int v = 0; v < NV; ++v)
            x[v] = simd::load<V>(a + v * kLanes<T>);
#pragma GCC unroll 8
        for (int r = 0; r < NR; ++r) {
            const V y = simd::broadcast<V>(b[r * b_column]);
#pragma GCC unroll 16
            for (int v = 0; v < NV; ++v)
                acc[r][v] = simd::madd(x[v], y, acc[r][v]);
        }
    }
    const Index last = rows - (NV - 1) * kLanes<T>; // lanes of the last packet
    const bool whole = last >= kLanes<T>;
#pragma GCC unroll 8
    for (int r = 0; r < NR; ++r) {
        T *column = c + r * ldc;
#pragma GCC unroll 16
        for (int v = 0; v < NV; ++v) {
            T *p = column + v * kLanes<T>;
            if (v + 1 < NV || whole) {
                simd::store(p, add ? simd::add(simd::load<V>(p), acc[r][v]) : acc[r][v]);
            } else {
                const V sum = add ? simd::add(simd::load_first<V>(p, last), acc[r][v]) : acc[r][v];
                simd::store_first(p, sum, last);
            }
        }
    }
}

template <class T>
using TileFunction = void (*)(Index, const T *, Index, const T *, Index, Index, T *, Index, bool,
                              Index);

template <class T, int NV, int... NR> constexpr auto tiles_of(std::integer_sequence<int, NR...>) {
    return std::array<TileFunction<T>, sizeof...(NR)>{tile<T, NV, NR + 1>...};
}
template <class T> using ColumnCounts = std::make_integer_sequence<int, Tile<T>::kColumns>;

// kTiles[packets - 1][columns - 1]; three packets also where a panel has two, for what is left of a
// single column
template <class T>
constexpr std::array<std::array<TileFunction<T>, Tile<T>::kColumns>, 3> kTiles = {
    tiles_of<T, 1>(ColumnCounts<T>{}), tiles_of<T, 2>(ColumnCounts<T>{}),
    tiles_of<T, 3>(ColumnCounts<T>{})};

// For a single column: as many packets as leave registers to work with, so that their chains
// overlap.
template <class T> constexpr int kTallest = simd::kRegisters / 2;
template <class T>
constexpr std::array<TileFunction<T>, 3> kTallTiles = {tile<T, 4, 1>, tile<T, 8, 1>,
                                                       tile<T, kTallest<T>, 1>};

// Rows of C (rows, columns) += or = A B, with columns <= Tile::kColumns and rows <= Tile::kRows, or
// any number of rows if A is not packed and there is one column.
template <class T>
void panel(Index rows, Index columns, Index k, const T *a, Index a_step, const T *b, Index b_step,
           Index b_column, T *c, Index ldc, bool add, bool c_padded) {
    Index packets = (rows + kLanes<T> - 1) / kLanes<T>;
    Index stored = c_padded ? packets * kLanes<T> : rows;
    for (int size = 2; size >= 0 && packets > Tile<T>::kPackets; --size) {
        const Index height = size == 2 ? kTallest<T> : Index(4) << size;
        for (; packets >= height; packets -= height) {
            const Index here = std::min(stored, height * kLanes<T>);
            kTallTiles<T>[static_cast<std::size_t>(size)](k, a, a_step, b, b_step, b_column, c, ldc,
                                                          add, here);
            a += height * kLanes<T>;
            c += height * kLanes<T>;
            stored -= here;
        }
    }
    if (packets > 0)
        kTiles<T>[static_cast<std::size_t>(packets - 1)][static_cast<std::size_t>(columns - 1)](
            k, a, a_step, b, b_step, b_column, c, ldc, add, stored);
}

// Packs rows [0, m) x [0, k) of A into panels of Tile rows, each k x (whole packets), k-major.
template <class T> void pack_copy(Index m, Index k, const T *a, Index a_step, T *out) {
    using V = Packet<T>;
    for (Index i = 0; i < m; i += Tile<T>::kRows) {
        const Index rows = std::min(Tile<T>::kRows, m - i);
        const Index packets = (rows + kLanes<T> - 1) / kLanes<T>;
        for (Index t = 0; t < k; ++t)
            for (Index v = 0; v < packets; ++v, out += kLanes<T>)
                simd::store(out, simd::load<V>(a + i + v * kLanes<T> + t * a_step));
    }
}

// The same from a(i, t) = a[i a_step + t], a square of packets at a time.
template <class T> void pack_transpose(Index m, Index k, const T *a, Index a_step, T *out) {
    using V = Packet<T>;
    constexpr Index kP = kLanes<T>;
    for (Index i = 0; i < m; i += Tile<T>::kRows) {
        const Index rows = std::min(Tile<T>::kRows, m - i);
        const Index width = (rows + kP - 1) / kP * kP;
        for (Index v = 0; v < width; v += kP)
            for (Index t = 0; t < k; t += kP) {
                V square[kP];
                const Index have = std::min(kP, m - i - v);
                for (Index q = 0; q < kP; ++q)
                    square[q] = q < have ? simd::load_first<V>(a + (i + v + q) * a_step + t,
                                                               k - t < kP ? k - t : kP)
                                         : simd::zero<V>();
                simd::transpose(square);
                for (Index q = 0; q < std::min(kP, k - t); ++q)
                    simd::store(out + (t + q) * width + v, square[q]);
            }
        out += width * k;
    }
}

// Rows of C that one packed block of A serves.
template <class T> Index block_rows(Index m, Pack pack) {
    return pack == Pack::none
               ? m
               : kPackedBytes / Index(sizeof(T)) / kChain / Tile<T>::kRows * Tile<T>::kRows;
}

// Runs the product; calls finish(i0, i1, j0, j1) when those elements of C are complete. Columns are
// the outer loop and rows the inner one, so that C is walked down contiguous memory.
template <class T, class Finish>
void product(const Operands<T> &o, Pack pack, T *scratch, Finish &&finish) {
    const bool tall = pack == Pack::none && o.n == 1;
    const bool finish_once = !o.c_local && o.m * o.n * Index(sizeof(T)) <= kSmallResult;
    const Index panel_rows = tall ? o.m : Tile<T>::kRows;
    const Index block = block_rows<T>(o.m, pack);
    for (Index i0 = 0; i0 < o.m; i0 += block) {
        const Index i1 = std::min(o.m, i0 + block);
        for (Index k0 = 0; k0 < o.k; k0 += kChain) {
            const Index k = std::min(kChain, o.k - k0);
            if (pack == Pack::copy)
                pack_copy(i1 - i0, k, o.a + i0 + k0 * o.a_step, o.a_step, scratch);
            else if (pack == Pack::transpose)
                pack_transpose(i1 - i0, k, o.a + i0 * o.a_step + k0, o.a_step, scratch);
            for (Index j = 0; j < o.n; j += Tile<T>::kColumns) {
                const Index columns = std::min<Index>(Tile<T>::kColumns, o.n - j);
                T *c = o.c_local ? o.c : o.c + i0 + j * o.ldc;
                for (Index i = i0; i < i1; i += panel_rows) {
                    const Index rows = std::min(panel_rows, i1 - i);
                    const T *a = o.a + i + k0 * o.a_step;
                    Index a_step = o.a_step;
                    if (pack != Pack::none) {
                        a = scratch + (i - i0) * k;
                        a_step = (rows + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
                    }
                    panel(rows, columns, k, a, a_step, o.b + k0 * o.b_step + j * o.b_column,
                          o.b_step, o.b_column, c + (i - i0), o.ldc, o.add || k0 > 0, o.c_padded);
                }
                if (k0 + k == o.k && !finish_once)
                    finish(i0, i1, j, j + columns);
            }
        }
    }
    if (finish_once)
        finish(0, o.m, 0, o.n);
}

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

// Σ_t x_t b(t, j) for columns [j, j + count), count <= width of a packet, as one packet: the lanes
// of all columns are turned into packets of columns, so that the tree is walked once for all.
template <class T>
Packet<T> narrow_columns(Index j, Index count, Index k, const T *x, Columns<const T> b) {
    using V = Packet<T>;
    constexpr Index kP = kLanes<T>, kLaneChain = 16 * kChain;
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
            simd::transpose(square);
            for (Index half = kP / 2; half > 0; half /= 2)
                for (Index q = 0; q < half; ++q)
                    square[q] = simd::add(square[q], square[q + half]);
            sums = square[0];
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
    T each[kLanes<T>];
    simd::store(each, values);
    for (Index q = 0; q < count; ++q)
        c.column(j + q)[i] = each[q];
}

template <class T> void no_finish(Index, Index, Index, Index) {}

// A product whose C is the gradient of theta[first ...], laid out like it (leading dimension ldc).
template <class T>
void product_to_sink(Operands<T> o, Pack pack, Index first, bool is_weight,
                     const GradientSink<T> &sink, T *scratch) {
    o.add = sink.add;
    o.c = sink.gradient + first;
    T *free_scratch = scratch;
    if (!sink.gradient) { // one group of columns at a time, in cache
        o.c = scratch;
        o.c_local = true;
        o.ldc = std::min(o.m, block_rows<T>(o.m, pack));
        free_scratch += padded(o.ldc) * Tile<T>::kColumns;
    }
    product<T>(o, pack, free_scratch, [&](Index i0, Index i1, Index j0, Index j1) {
        if (!sink.apply)
            return;
        const auto at = [&](Index j) { return o.c_local ? (j - j0) * o.ldc : i0 + j * o.ldc; };
        if (i1 - i0 == o.m) // whole columns: one run
            return sink.apply(first + i0 + j0 * o.m, (i1 - i0) * (j1 - j0), o.c + at(j0),
                              is_weight);
        for (Index j = j0; j < j1; ++j)
            sink.apply(first + i0 + j * o.m, i1 - i0, o.c + at(j), is_weight);
    });
}

// dW for fewer than 4 outputs: vectors along the inputs into scratch, then turned.
template <class T>
void narrow_gradient(Index m, Index k, Index n, Columns<const T> delta, Columns<const T> in,
                     Index first, const GradientSink<T> &sink, T *scratch) {
    const Index ld = padded(k);
    T *turned = scratch + ld * kNarrow;
    product<T>({.m = k,
                .n = m,
                .k = n,
                .a = in.data,
                .a_step = in.ld,
                .b = delta.data,
                .b_step = delta.ld,
                .b_column = 1,
                .c = scratch,
                .ldc = ld,
                .c_padded = true},
               Pack::none, turned, no_finish<T>);
    T *values = sink.gradient ? sink.gradient + first : turned;
    for (Index t = 0; t < k; ++t)
        for (Index i = 0; i < m; ++i) {
            const T value = scratch[i * ld + t];
            values[i + t * m] = sink.add ? values[i + t * m] + value : value;
        }
    if (sink.apply)
        sink.apply(first, m * k, values, true);
}

} // namespace

template <class T> Index scratch_size(Index inputs, Index outputs) {
    const Index widest = padded(std::max(inputs, outputs));
    const Index packed = std::min(kPackedBytes / Index(sizeof(T)), widest * kChain);
    return packed + Tile<T>::kRows * kChain + 2 * widest * Tile<T>::kColumns;
}

template <class T>
void forward_product(Index m, Index k, Index n, const T *W, const T *b, Columns<const T> in,
                     const Activation &activation, Columns<T> z, Columns<T> a, T *scratch) {
    if (m < kNarrow) {
        const T *rows = W; // row i of W, contiguous along k
        if (m > 1) {
            for (Index t = 0; t < k; ++t)
                for (Index i = 0; i < m; ++i)
                    scratch[i * k + t] = W[i + t * m];
            rows = scratch;
        }
        visit_activation(activation, [&](auto f) {
            narrow_product(m, n, k, rows, k, in,
                           [&](Index i, Index j, Index count, const Packet<T> &sums) {
                               const auto sum = simd::add(sums, simd::broadcast<Packet<T>>(b[i]));
                               if (z.data != a.data)
                                   store_row(z, i, j, count, sum);
                               store_row(a, i, j, count, f.value(sum));
                           });
        });
        return;
    }
    const Pack pack = m * k * Index(sizeof(T)) > kPackWeights && n >= 4 * Tile<T>::kColumns
                          ? Pack::copy
                          : Pack::none;
    product<T>({m, n, k, W, m, in.data, 1, in.ld, z.data, z.ld, true, false}, pack, scratch,
               [&](Index i0, Index i1, Index j0, Index j1) {
                   add_bias_and_activate(activation, i1 - i0, j1 - j0, b + i0,
                                         Columns<T>{z.column(j0) + i0, z.ld},
                                         Columns<T>{a.column(j0) + i0, a.ld});
               });
}

template <class T>
void recursion_product(Index m, Index k, Index n, const T *W, Columns<const T> delta,
                       Columns<T> d_in, T *scratch) {
    if (k < kNarrow)
        narrow_product(k, n, m, W, m, delta,
                       [&](Index i, Index j, Index count, const Packet<T> &sums) {
                           store_row(d_in, i, j, count, sums);
                       });
    else if (m == 1) // W is one row: already contiguous along the outputs
        product<T>({k, n, 1, W, 1, delta.data, 1, delta.ld, d_in.data, d_in.ld, true, false},
                   Pack::none, scratch, no_finish<T>);
    else
        product<T>({k, n, m, W, m, delta.data, 1, delta.ld, d_in.data, d_in.ld, true, false},
                   Pack::transpose, scratch, no_finish<T>);
}

template <class T>
void gradient_product(Index m, Index k, Index k0, Index k1, Index n, Columns<const T> delta,
                      Columns<const T> in, Index offset, const GradientSink<T> &sink, T *scratch) {
    const auto run = [&](const Operands<T> &shape, Pack pack, Index first, bool is_weight) {
        product_to_sink(shape, pack, first, is_weight, sink, scratch);
    };
    static const T kOne = 1;
    if (k0 == 0)
        run({.m = m, .n = 1, .k = n, .a = delta.data, .a_step = delta.ld, .b = &kOne, .ldc = m},
            Pack::none, offset + m * k, false);
    if (k0 >= k1)
        return;
    const T *inputs = in.data + k0;
    const Index first = offset + k0 * m, columns = k1 - k0;
    if (m == 1) { // vectors along the inputs: the same chains, the factors exchanged
        run({.m = columns,
             .n = 1,
             .k = n,
             .a = inputs,
             .a_step = in.ld,
             .b = delta.data,
             .b_step = delta.ld,
             .b_column = 1,
             .ldc = columns},
            Pack::none, first, true);
    } else if (m < kNarrow) {
        narrow_gradient(m, columns, n, delta, Columns<const T>{inputs, in.ld}, first, sink,
                        scratch);
    } else {
        const bool large = m * n * Index(sizeof(T)) > 16 * 1024 && columns >= 4 * Tile<T>::kColumns;
        run({.m = m,
             .n = columns,
             .k = n,
             .a = delta.data,
             .a_step = delta.ld,
             .b = inputs,
             .b_step = in.ld,
             .b_column = 1,
             .ldc = m},
            large ? Pack::copy : Pack::none, first, true);
    }
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template Index scratch_size<T>(Index, Index);                                                  \
    template void forward_product<T>(Index, Index, Index, const T *, const T *, Columns<const T>,  \
                                     const Activation &, Columns<T>, Columns<T>, T *);             \
    template void recursion_product<T>(Index, Index, Index, const T *, Columns<const T>,           \
                                       Columns<T>, T *);                                           \
    template void gradient_product<T>(Index, Index, Index, Index, Index, Columns<const T>,         \
                                      Columns<const T>, Index, const GradientSink<T> &, T *);
DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
