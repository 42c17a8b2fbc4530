// Register tiles, packing, and the three products of backpropagation.
#include "deltarule/kernels.hpp"

#include <algorithm>
#include <array>

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

// C (m, n) = A (m, k) B (k, n). A is the vector side: a(i, t) = a[i + t a_step], or, transposed,
// a[i a_step + t]. B is the broadcast side: b(t, j) = b[t b_step + j b_column].
template <class T> struct Operands {
    Index m, n, k;
    const T *a;
    Index a_step;
    const T *b;
    Index b_step, b_column;
    T *c;
    Index ldc;
    bool c_padded; // whole packets may be stored at the end of a column
    bool add;      // C += A B
};

enum class Pack { none, copy, transpose };

// c (rows, NR) (+)= one chain over k. `rows` may be less than NV packets in the last of them.
template <class T, int NV, int NR>
[[gnu::noinline]] void tile(Index k, const T *a, Index a_step, const T *b, Index b_step,
                            Index b_column, T *c, Index ldc, bool add, Index rows) {
    using V = Packet<T>;
    V acc[NR][NV];
#pragma GCC unroll 8
    for (int r = 0; r < NR; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v)
            acc[r][v] = simd::zero<V>();
    for (Index t = 0; t < k; ++t, a += a_step, b += b_step) {
        V x[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v)
            x[v] = simd::load<V>(a + v * kLanes<T>);
#pragma GCC unroll 8
        for (int r = 0; r < NR; ++r) {
            const V y = simd::broadcast<V>(b[r * b_column]);
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v)
                acc[r][v] = simd::madd(x[v], y, acc[r][v]);
        }
    }
    const Index last = rows - (NV - 1) * kLanes<T>; // lanes of the last packet
    const bool whole = last >= kLanes<T>;
#pragma GCC unroll 8
    for (int r = 0; r < NR; ++r) {
        T *column = c + r * ldc;
#pragma GCC unroll 4
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

template <class T, int NV> constexpr std::array<TileFunction<T>, 4> tiles_of() {
    constexpr int kMax = Tile<T>::kColumns;
    return {tile<T, NV, 1>, tile<T, NV, 2>, tile<T, NV, 4>, tile < T, NV, kMax == 8 ? 8 : 4 > };
}

// kTiles[packets - 1][log2 columns]
template <class T>
constexpr std::array<std::array<TileFunction<T>, 4>, 3> kTiles = {
    tiles_of<T, 1>(), tiles_of<T, 2>(), tiles_of<T, Tile<T>::kPackets>()};

// One panel of A (at most Tile rows) times `columns` columns of B.
template <class T>
void panel(Index rows, Index columns, Index k, const T *a, Index a_step, const T *b, Index b_step,
           Index b_column, T *c, Index ldc, bool add, bool c_padded) {
    const Index packets = (rows + kLanes<T> - 1) / kLanes<T>;
    const auto &by_columns = kTiles<T>[static_cast<std::size_t>(packets - 1)];
    const Index stored = c_padded ? packets * kLanes<T> : rows;
    for (int shift = 3; shift >= 0; --shift) {
        const Index width = Index(1) << shift;
        if (width > Tile<T>::kColumns)
            continue;
        for (; columns >= width; columns -= width) {
            by_columns[static_cast<std::size_t>(shift)](k, a, a_step, b, b_step, b_column, c, ldc,
                                                        add, stored);
            b += width * b_column;
            c += width * ldc;
        }
    }
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

// Runs the product; calls finish(i0, i1, j0, j1) when those elements of C are complete. Columns are
// the outer loop and rows the inner one, so that C is walked down contiguous memory.
template <class T, class Finish>
void product(const Operands<T> &o, Pack pack, T *scratch, Finish &&finish) {
    constexpr Index kRows = Tile<T>::kRows;
    constexpr Index kBlockRows =
        kPackedBytes / Index(sizeof(T)) / kChain / kRows * kRows; // rows of one packed block
    const Index block_rows = pack == Pack::none ? o.m : kBlockRows;
    for (Index i0 = 0; i0 < o.m; i0 += block_rows) {
        const Index i1 = std::min(o.m, i0 + block_rows);
        for (Index k0 = 0; k0 < o.k; k0 += kChain) {
            const Index k = std::min(kChain, o.k - k0);
            if (pack == Pack::copy)
                pack_copy(i1 - i0, k, o.a + i0 + k0 * o.a_step, o.a_step, scratch);
            else if (pack == Pack::transpose)
                pack_transpose(i1 - i0, k, o.a + i0 * o.a_step + k0, o.a_step, scratch);
            for (Index j = 0; j < o.n; j += Tile<T>::kColumns) {
                const Index columns = std::min<Index>(Tile<T>::kColumns, o.n - j);
                for (Index i = i0; i < i1; i += kRows) {
                    const Index rows = std::min(kRows, i1 - i);
                    const T *a = o.a + i + k0 * o.a_step;
                    Index a_step = o.a_step;
                    if (pack != Pack::none) {
                        a = scratch + (i - i0) * k;
                        a_step = (rows + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
                    }
                    panel(rows, columns, k, a, a_step, o.b + k0 * o.b_step + j * o.b_column,
                          o.b_step, o.b_column, o.c + i + j * o.ldc, o.ldc, o.add || k0 > 0,
                          o.c_padded);
                }
                if (k0 + k == o.k)
                    finish(i0, i1, j, j + columns);
            }
        }
    }
}

// C (m, n) = A (m, k) B (k, n) for m < 4: row i of A is contiguous at a + i a_row, column j of B at
// b.column(j). Sixteen virtual lanes along k, in chains of 256 per lane, then the tree.
template <class T>
void narrow_product(Index m, Index n, Index k, const T *a, Index a_row, Columns<const T> b,
                    Columns<T> c) {
    using V = Packet<T>;
    constexpr Index kLaneChain = 16 * kChain;
    for (Index j = 0; j < n; ++j) {
        const T *y = b.column(j);
        for (Index i = 0; i < m; ++i) {
            const T *x = a + i * a_row;
            T total = 0;
            for (Index k0 = 0; k0 < k; k0 += kLaneChain) {
                const Index k1 = std::min(k, k0 + kLaneChain);
                simd::Lanes16<T> lanes(T(0));
                Index t = k0;
                for (; t + 16 <= k1; t += 16)
                    lanes.each([&](V &sum, Index offset) {
                        sum = simd::madd(simd::load<V>(x + t + offset),
                                         simd::load<V>(y + t + offset), sum);
                    });
                if (t < k1)
                    lanes.each([&](V &sum, Index offset) {
                        const Index count = simd::lanes_before<T>(k1, t + offset);
                        sum = simd::madd(simd::load_first<V>(x + t + offset, count),
                                         simd::load_first<V>(y + t + offset, count), sum);
                    });
                total = k0 == 0 ? lanes.sum() : total + lanes.sum();
            }
            c.column(j)[i] = total;
        }
    }
}

template <class T> void no_finish(Index, Index, Index, Index) {}

} // namespace

template <class T> Index scratch_size(Index inputs, Index outputs) {
    const Index packed = kPackedBytes / Index(sizeof(T)) + Tile<T>::kRows * kChain;
    const Index block = (std::max(inputs, outputs) + 16) * kChain; // what a small layer can fill
    return std::min(packed, block + Tile<T>::kRows * kChain) +
           kNarrow * padded(std::max(inputs, outputs));
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
        narrow_product(m, n, k, rows, k, in, z);
        add_bias_and_activate(activation, m, n, b, z, a);
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
        narrow_product(k, n, m, W, m, delta, d_in);
    else if (m == 1) // W is one row: already contiguous along the outputs
        product<T>({k, n, 1, W, 1, delta.data, 1, delta.ld, d_in.data, d_in.ld, true, false},
                   Pack::none, scratch, no_finish<T>);
    else
        product<T>({k, n, m, W, m, delta.data, 1, delta.ld, d_in.data, d_in.ld, true, false},
                   Pack::transpose, scratch, no_finish<T>);
}

template <class T>
void gradient_product(Index m, Index k, Index n, Columns<const T> delta, Columns<const T> in, T *dW,
                      T *db, bool add, T *scratch) {
    static const T kOne = 1;
    product<T>({m, 1, n, delta.data, delta.ld, &kOne, 0, 0, db, m, false, add}, Pack::none, scratch,
               no_finish<T>);
    if (m == 1) { // vectors along the inputs; the same chains, the factors exchanged
        product<T>({k, 1, n, in.data, in.ld, delta.data, delta.ld, 1, dW, k, false, add},
                   Pack::none, scratch, no_finish<T>);
    } else if (m < kNarrow) {
        const Index ld = padded(k);
        product<T>({k, m, n, in.data, in.ld, delta.data, delta.ld, 1, scratch, ld, true, false},
                   Pack::none, scratch, no_finish<T>);
        for (Index t = 0; t < k; ++t)
            for (Index i = 0; i < m; ++i)
                dW[i + t * m] = add ? dW[i + t * m] + scratch[i * ld + t] : scratch[i * ld + t];
    } else {
        const bool large = m * n * Index(sizeof(T)) > 16 * 1024 && k >= 4 * Tile<T>::kColumns;
        product<T>({m, k, n, delta.data, delta.ld, in.data, in.ld, 1, dW, m, false, add},
                   large ? Pack::copy : Pack::none, scratch, no_finish<T>);
    }
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template Index scratch_size<T>(Index, Index);                                                  \
    template void forward_product<T>(Index, Index, Index, const T *, const T *, Columns<const T>,  \
                                     const Activation &, Columns<T>, Columns<T>, T *);             \
    template void recursion_product<T>(Index, Index, Index, const T *, Columns<const T>,           \
                                       Columns<T>, T *);                                           \
    template void gradient_product<T>(Index, Index, Index, Columns<const T>, Columns<const T>,     \
                                      T *, T *, bool, T *);
DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
