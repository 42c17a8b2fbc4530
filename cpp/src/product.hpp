// A blocked product out of tiles: the middle part of `kernels`.
#pragma once

#include "tiles.hpp"

namespace deltarule::tiles {

inline constexpr Index kPackedBytes = 600 * 1024; // a packed block stays in a 1 MiB L2 cache
inline constexpr Index kSmallResult =
    16 * 1024; // a result that is still in the L1 cache when complete
// Rows of B of which a tile needs a piece of a cache line each: more would drive each other out of
// the L1 cache between two panels.
inline constexpr Index kNearRows = 128;

// Weights beyond this come from memory when they are read, or updated.
template <class T> constexpr bool are_far(Index count) {
    return count * Index(sizeof(T)) > 1024 * 1024;
}

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
    // Arrays laid out as C whole, with m rows, that `finish` will read: fetched meanwhile.
    std::array<const T *, 3> touched = {};
    Ahead *ahead = nullptr; // what to fetch besides
};

enum class Pack { none, copy, transpose };

// Rows of C that one packed block of A serves.
template <class T> Index block_rows(Index m, Pack pack) {
    return pack == Pack::none
               ? m
               : kPackedBytes / Index(sizeof(T)) / kChain / Tile<T>::kRows * Tile<T>::kRows;
}

// The block of A to be packed after that of rows [i0, i1) and k [k0, k0 + k), if that is far away,
// for the tiles of this one to fetch.
template <class T>
BlockAhead<T> next_block(const Operands<T> &o, Pack pack, Index i0, Index i1, Index k0, Index k) {
    const bool last = k0 + k == o.k;
    const Index i = last ? i1 : i0, t = last ? 0 : k0 + k;
    if (pack == Pack::none || i == o.m || !are_far<T>(o.m * o.k))
        return {};
    const Index rows = std::min(o.m - i, block_rows<T>(o.m, pack));
    const Index steps = std::min(o.k - t, kChain);
    const Index panels = (i1 - i0 + Tile<T>::kRows - 1) / Tile<T>::kRows;
    const Index calls = panels * (o.n / Tile<T>::kColumns) * fetches(Packed::a, k);
    return pack == Pack::copy
               ? BlockAhead<T>({o.a}, i + t * o.a_step, rows, steps, o.a_step, calls)
               : BlockAhead<T>({o.a}, i * o.a_step + t, steps, rows, o.a_step, calls);
}

// Operands small enough that all of them stay in the L1 cache: rows are the outer loop, and the
// result is finished at once.
template <class T, class Finish> void small_product(const Operands<T> &o, Finish &&finish) {
    if (o.n == 1)
        tall_panel<T>(o.m, o.k, {o.a, o.a_step}, {o.b, o.b_step}, o.c, o.add, o.c_padded);
    else
        for (Index i = 0, rows = 0; i < o.m; i += rows) {
            rows = panel_rows<T>(o.m - i, true);
            panel<T>(rows, o.n, o.k, {o.a + i, o.a_step}, {o.b, o.b_step}, o.b_column, o.c + i,
                     o.ldc, o.add, o.c_padded);
        }
    finish(0, o.m, 0, o.n);
}

template <class T> bool is_small(const Operands<T> &o, Pack pack) {
    return pack == Pack::none && o.k <= kChain && o.m * o.n * Index(sizeof(T)) <= kSmallResult;
}

// Runs the product; calls finish(i0, i1, j0, j1) when those elements of C are complete. Columns are
// the outer loop and rows the inner one, so that C is walked down contiguous memory.
template <class T, class Finish>
void product(const Operands<T> &o, Pack pack, T *scratch, Finish &&finish) {
    if (is_small(o, pack))
        return small_product(o, finish);
    const Index block = block_rows<T>(o.m, pack);
    const bool columns_packed =
        o.b_column == 1 && o.m >= 3 * Tile<T>::kRows && (pack != Pack::none || o.k > kNearRows);
    alignas(64) T packed_columns[kChain * Tile<T>::kColumns];
    for (Index i0 = 0; i0 < o.m; i0 += block) {
        const Index i1 = std::min(o.m, i0 + block);
        for (Index k0 = 0; k0 < o.k; k0 += kChain) {
            const Index k = std::min(kChain, o.k - k0);
            const bool add = o.add || k0 > 0;
            if (pack == Pack::copy)
                pack_copy(i1 - i0, k, o.a + i0 + k0 * o.a_step, o.a_step, scratch);
            else if (pack == Pack::transpose)
                pack_transpose(i1 - i0, k, o.a + i0 * o.a_step + k0, o.a_step, scratch);
            const bool complete = k0 + k == o.k, touches = o.touched[0] && complete;
            BlockAhead<T> next;
            if (!touches)
                next = next_block(o, pack, i0, i1, k0, k);
            for (Index j = 0; j < o.n; j += Tile<T>::kColumns) {
                const Index columns = std::min<Index>(Tile<T>::kColumns, o.n - j);
                Packed packed = pack != Pack::none && o.b_step == 1 ? Packed::a : Packed::none;
                Walk<T> b{o.b + k0 * o.b_step + j * o.b_column, o.b_step};
                if (columns_packed && columns == Tile<T>::kColumns) {
                    b = pack_columns(k, b, packed_columns);
                    packed = pack != Pack::none ? Packed::both : Packed::none;
                }
                T *c = o.c_local ? o.c : o.c + i0 + j * o.ldc;
                if (pack == Pack::none && o.n == 1) {
                    tall_panel<T>(o.m, k, {o.a + k0 * o.a_step, o.a_step}, b, c, add, o.c_padded);
                } else {
                    for (Index i = i0, rows = 0; i < i1; i += rows) {
                        rows = panel_rows<T>(i1 - i);
                        Walk<T> a{o.a + i + k0 * o.a_step, o.a_step};
                        if (pack != Pack::none)
                            a = {scratch + (i - i0) * k, packets_of<T>(rows) * kLanes<T>};
                        if (touches)
                            next = {o.touched, i + j * o.m, rows, columns, o.m, fetches(packed, k)};
                        const auto run = [&](auto *fetched) {
                            panel(rows, columns, k, a, b, o.b_column, c + (i - i0), o.ldc, add,
                                  o.c_padded, packed, fetched);
                        };
                        if (next.any())
                            run(&next);
                        else
                            run(o.ahead);
                    }
                }
                if (complete)
                    finish(i0, i1, j, j + columns);
            }
        }
    }
}

} // namespace deltarule::tiles
