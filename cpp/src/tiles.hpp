// Register tiles and packing: the inner part of `kernels`.
#pragma once

#include "deltarule/ahead.hpp"
#include "deltarule/kernels.hpp"
#include "deltarule/simd.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace deltarule::tiles {

using simd::kLanes;
using simd::Packet;

// Tiles that fill the registers: kPackets packets of outputs times kColumns columns; or
// kMostPackets times fewer columns, with the fewest instructions for a multiply-add, but more loads
// of A.
template <class T> struct Tile {
    static constexpr int kPackets = simd::kRegisters == 32 || simd::kFused ? 3 : 2;
    static constexpr int kMostPackets = simd::kRegisters == 32 ? 4 : kPackets;
    static constexpr int kColumns = simd::kRegisters == 32 ? 8 : 4;
    static constexpr Index kRows = kPackets * kLanes<T>;
    static constexpr int columns(Index packets) { return packets > 3 ? 6 : kColumns; }
};

template <class T> constexpr Index packets_of(Index rows) {
    return (rows + kLanes<T> - 1) / kLanes<T>;
}

// Rows of the next panel when `left` remain: kMostPackets where these divide what remains and A is
// `near`, in the L1 cache; else, as a last packet alone keeps too few chains in flight, four
// packets are two and two.
template <class T> Index panel_rows(Index left, bool near = false) {
    const Index packets = packets_of<T>(left);
    if (near && packets % Tile<T>::kMostPackets == 0)
        return std::min<Index>(left, Tile<T>::kMostPackets * kLanes<T>);
    return std::min<Index>(left,
                           Tile<T>::kPackets == 3 && packets == 4 ? 2 * kLanes<T> : Tile<T>::kRows);
}

// Columns of the next tile, of at most `most`, when `left` remain: one or two more than a tile has
// are halved.
inline Index tile_columns(Index left, Index most) {
    return left > most && left <= most + 2 ? (left + 1) / 2 : std::min(left, most);
}

// Which factors of a tile are packed, so that their steps are constants: neither; A, while the
// columns of B lie along k; both.
enum class Packed { none, a, both };

// Whose sums over k a tile takes besides: nobody's; those of A's rows; that of B's first column.
enum class Sums { none, a, b };

// Steps of a packed tile that are unrolled.
inline constexpr int kUnrolled = 4;

// How often a tile fetches ahead: in each step of k; packed, where the registers are full, once for
// those that are unrolled.
inline Index fetches(Packed packed, Index k) { return packed == Packed::none ? k : k / kUnrolled; }

// c (rows, NR) (+)= one chain over k. `rows` may be less than NV packets in the last of them. What
// is `fetched`, if anything, is so meanwhile. Sums are whole packets, a chain each.
template <class T, int NV, int NR, Packed kPacked, Sums kSums, class... Fetched>
[[gnu::always_inline]] inline void
tile_and_sums(Index k, const T *a, Index a_step, const T *b, Index b_step, Index b_column, T *c,
              Index ldc, bool add, Index rows, T *sums, Fetched &...fetched) {
    using V = Packet<T>;
    constexpr int kSummed = kSums == Sums::a ? NV : 1;
    constexpr bool kUnroll = kPacked != Packed::none, kTwice = (NR + 2) * NV < simd::kRegisters;
    if constexpr (kPacked != Packed::none) {
        a_step = NV * kLanes<T>;
        b_step = kPacked == Packed::both ? NR : 1;
        b_column = kPacked == Packed::both ? 1 : b_column;
    }
    V acc[NR][NV], summed[kSummed];
#pragma GCC unroll 16
    for (int v = 0; v < kSummed; ++v)
        summed[v] = simd::zero<V>();
#pragma GCC unroll 8
    for (int r = 0; r < NR; ++r)
#pragma GCC unroll 16
        for (int v = 0; v < NV; ++v)
            acc[r][v] = simd::zero<V>();
    const auto load_rows = [&](V(&x)[NV]) [[gnu::always_inline]] {
#pragma GCC unroll 16
        for (int v = 0; v < NV; ++v)
            x[v] = simd::load<V>(a + v * kLanes<T>);
        a += a_step;
    };
    const auto accumulate = [&](const V(&x)[NV]) [[gnu::always_inline]] {
        if constexpr (!kUnroll)
            (fetched.fetch(), ...);
#pragma GCC unroll 8
        for (int r = 0; r < NR; ++r) {
            const V y = simd::broadcast<V>(b[r * b_column]);
            if constexpr (kSums == Sums::b)
                if (r == 0)
                    summed[0] = simd::add(summed[0], y);
#pragma GCC unroll 16
            for (int v = 0; v < NV; ++v)
                acc[r][v] = kPacked == Packed::none ? simd::madd(x[v], y, acc[r][v])
                                                    : simd::accumulate(x[v], y, acc[r][v]);
        }
        if constexpr (kSums == Sums::a)
#pragma GCC unroll 16
            for (int v = 0; v < NV; ++v)
                summed[v] = simd::add(summed[v], x[v]);
        b += b_step;
    };
    Index left = k;
    if constexpr (kUnroll && kTwice) { // room for twice the rows: they are loaded a step before
        if (left > kUnrolled) {
            V even[NV], odd[NV];
            load_rows(even);
            for (; left > kUnrolled; left -= kUnrolled) {
                (fetched.fetch(), ...);
#pragma GCC unroll 4
                for (int i = 0; i < kUnrolled; i += 2) {
                    load_rows(odd);
                    accumulate(even);
                    load_rows(even);
                    accumulate(odd);
                }
            }
            accumulate(even);
            --left;
        }
    } else if constexpr (kUnroll) {
        for (; left >= kUnrolled; left -= kUnrolled) {
            (fetched.fetch(), ...);
#pragma GCC unroll 4
            for (int i = 0; i < kUnrolled; ++i) {
                V x[NV];
                load_rows(x);
                accumulate(x);
            }
        }
    }
#pragma GCC unroll 1
    for (; left > 0; --left) {
        V x[NV];
        load_rows(x);
        accumulate(x);
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
    if constexpr (kSums != Sums::none)
        for (int v = 0; v < kSummed; ++v)
            simd::store(sums + v * kLanes<T>, summed[v]);
}

template <class T, int NV, int NR, Packed kPacked, class... Fetched>
[[gnu::noinline]] void tile(Index k, const T *a, Index a_step, const T *b, Index b_step,
                            Index b_column, T *c, Index ldc, bool add, Index rows,
                            Fetched &...fetched) {
    tile_and_sums<T, NV, NR, kPacked, Sums::none>(k, a, a_step, b, b_step, b_column, c, ldc, add,
                                                  rows, static_cast<T *>(nullptr), fetched...);
}

template <class T, class... Fetched>
using TileFunction = void (*)(Index, const T *, Index, const T *, Index, Index, T *, Index, bool,
                              Index, Fetched &...);

template <class T> using TilesByColumns = std::array<TileFunction<T>, Tile<T>::kColumns>;
template <class T, int NV, int... NR>
constexpr TilesByColumns<T> tiles_of(std::integer_sequence<int, NR...>) {
    return {tile<T, NV, NR + 1, Packed::none>...};
}
template <class T, int NV>
using ColumnCounts = std::make_integer_sequence<int, Tile<T>::columns(NV)>;

// kTiles[packets - 1][columns - 1]; three packets also where a panel has two, for what is left of a
// single column
template <class T>
constexpr std::array<TilesByColumns<T>, 4> kTiles = {
    tiles_of<T, 1>(ColumnCounts<T, 1>{}), tiles_of<T, 2>(ColumnCounts<T, 2>{}),
    tiles_of<T, 3>(ColumnCounts<T, 3>{}),
    tiles_of<T, Tile<T>::kMostPackets>(ColumnCounts<T, Tile<T>::kMostPackets>{})};

// Those of all columns, kWideTiles[packed][packets - 1], which may fetch ahead.
template <class T, Packed kPacked, class... Fetched>
constexpr std::array<TileFunction<T, Fetched...>, 3> kTilesOfAllColumns = {
    tile<T, 1, Tile<T>::kColumns, kPacked, Fetched...>,
    tile<T, 2, Tile<T>::kColumns, kPacked, Fetched...>,
    tile<T, 3, Tile<T>::kColumns, kPacked, Fetched...>};
template <class T, class... Fetched>
constexpr std::array<std::array<TileFunction<T, Fetched...>, 3>, 3> kWideTiles = {
    kTilesOfAllColumns<T, Packed::none, Fetched...>, kTilesOfAllColumns<T, Packed::a, Fetched...>,
    kTilesOfAllColumns<T, Packed::both, Fetched...>};

// For a single column: as many packets as leave registers to work with, so that their chains
// overlap.
template <class T> constexpr int kTallest = simd::kRegisters / 2;
template <class T>
constexpr std::array<TileFunction<T>, 3> kTallTiles = {tile<T, 4, 1, Packed::none>,
                                                       tile<T, 8, 1, Packed::none>,
                                                       tile<T, kTallest<T>, 1, Packed::none>};

// Those of a product whose sums are wanted too: kSummingTiles[packets - 1][columns - 1] for A's,
// kSummingColumn[packets - 1] for B's.
template <class T>
using SummingTile = void (*)(Index, const T *, Index, const T *, Index, Index, T *, Index, Index,
                             T *);
template <class T, int NV, int NR, Sums kSums>
[[gnu::noinline]] void summing_tile(Index k, const T *a, Index a_step, const T *b, Index b_step,
                                    Index b_column, T *c, Index ldc, Index rows, T *sums) {
    tile_and_sums<T, NV, NR, Packed::none, kSums>(k, a, a_step, b, b_step, b_column, c, ldc, false,
                                                  rows, sums);
}
template <class T, int NV, int... NR>
constexpr auto summing_tiles_of(std::integer_sequence<int, NR...>) {
    return std::array<SummingTile<T>, sizeof...(NR)>{summing_tile<T, NV, NR + 1, Sums::a>...};
}
template <class T>
constexpr std::array<std::array<SummingTile<T>, Tile<T>::kColumns>, 2> kSummingTiles = {
    summing_tiles_of<T, 1>(ColumnCounts<T, 1>{}), summing_tiles_of<T, 2>(ColumnCounts<T, 2>{})};
template <class T>
constexpr std::array<SummingTile<T>, 2> kSummingColumn = {summing_tile<T, 1, 1, Sums::b>,
                                                          summing_tile<T, 2, 1, Sums::b>};

// One operand of a panel: where it starts, and how far it is to the next k.
template <class T> struct Walk {
    const T *data;
    Index step;
};

// Rows of C (rows, columns) += or = A B, no more of them than a tile has.
template <class T, class Fetched = Ahead>
void panel(Index rows, Index columns, Index k, Walk<T> a, Walk<T> b, Index b_column, T *c,
           Index ldc, bool add, bool c_padded, Packed packed = Packed::none,
           Fetched *fetched = nullptr) {
    const Index packets = packets_of<T>(rows), most = Tile<T>::columns(packets);
    const Index stored = c_padded ? packets * kLanes<T> : rows;
    const auto size = static_cast<std::size_t>(packets - 1);
    const auto kind = static_cast<std::size_t>(packed);
    while (columns > 0) {
        const Index here = tile_columns(columns, most);
        const bool wide = here == Tile<T>::kColumns;
        if (wide && fetched && fetched->any()) {
            kWideTiles<T, Fetched>[kind][size](k, a.data, a.step, b.data, b.step, b_column, c, ldc,
                                               add, stored, *fetched);
            fetched->done(fetches(packed, k));
        } else {
            const auto run = wide ? kWideTiles<T>[kind][size]
                                  : kTiles<T>[size][static_cast<std::size_t>(here - 1)];
            run(k, a.data, a.step, b.data, b.step, b_column, c, ldc, add, stored);
        }
        b.data += here * b_column;
        c += here * ldc;
        columns -= here;
    }
}

// A single column of any number of rows, A not packed.
template <class T>
void tall_panel(Index rows, Index k, Walk<T> a, Walk<T> b, T *c, bool add, bool c_padded) {
    Index packets = packets_of<T>(rows);
    Index stored = c_padded ? packets * kLanes<T> : rows;
    for (int size = 2; size >= 0 && packets > 3; --size) {
        const Index height = size == 2 ? kTallest<T> : Index(4) << size;
        for (; packets >= height; packets -= height) {
            const Index here = std::min(stored, height * kLanes<T>);
            kTallTiles<T>[static_cast<std::size_t>(size)](k, a.data, a.step, b.data, b.step, 0, c,
                                                          0, add, here);
            a.data += height * kLanes<T>;
            c += height * kLanes<T>;
            stored -= here;
        }
    }
    if (packets > 0)
        kTiles<T>[static_cast<std::size_t>(packets - 1)][0](k, a.data, a.step, b.data, b.step, 0, c,
                                                            0, add, stored);
}

// Packs rows [0, m) x [0, k) of A into panels, each k x (whole packets), k-major.
template <class T> void pack_copy(Index m, Index k, const T *a, Index a_step, T *out) {
    using V = Packet<T>;
    for (Index i = 0, rows = 0; i < m; i += rows) {
        rows = panel_rows<T>(m - i);
        const Index packets = packets_of<T>(rows);
        for (Index t = 0; t < k; ++t)
            for (Index v = 0; v < packets; ++v, out += kLanes<T>)
                simd::store(out, simd::load<V>(a + i + v * kLanes<T> + t * a_step));
    }
}

// The same from a(i, t) = a[i a_step + t], a few k at a time; where rows or k are too few for that
// a square of packets.
template <class T> void pack_transpose(Index m, Index k, const T *a, Index a_step, T *out) {
    using V = Packet<T>;
    constexpr Index kP = kLanes<T>, kAtOnce = simd::kTransposed<T>;
    for (Index i = 0, rows = 0; i < m; i += rows) {
        rows = panel_rows<T>(m - i);
        const Index width = packets_of<T>(rows) * kP;
        for (Index v = 0; v < width; v += kP) {
            const T *from = a + (i + v) * a_step;
            T *to = out + v;
            const Index have = std::min(kP, m - i - v);
            Index t = 0;
            for (; have == kP && t + kAtOnce <= k; t += kAtOnce) {
                V packets[kAtOnce];
                simd::load_transposed(from + t, a_step, packets);
#pragma GCC unroll 16
                for (Index q = 0; q < kAtOnce; ++q)
                    simd::store(to + (t + q) * width, packets[q]);
            }
            for (; t < k; t += kP) {
                V square[kP];
                for (Index q = 0; q < kP; ++q)
                    square[q] =
                        q < have ? simd::load_first<V>(from + q * a_step + t, std::min(kP, k - t))
                                 : simd::zero<V>();
                simd::transpose(square);
                for (Index q = 0; q < std::min(kP, k - t); ++q)
                    simd::store(to + (t + q) * width, square[q]);
            }
        }
        out += width * k;
    }
}

// Packs the columns of a tile of B, which are neighbours, out of k rows; where that then is.
template <class T> Walk<T> pack_columns(Index k, Walk<T> b, T *out) {
    constexpr Index kColumns = Tile<T>::kColumns;
    for (Index t = 0; t < k; ++t)
        std::copy_n(b.data + t * b.step, kColumns, out + t * kColumns);
    return {out, kColumns};
}

} // namespace deltarule::tiles
