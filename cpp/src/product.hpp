// A blocked product out of tiles: the middle part of `kernels`.
#pragma once

#include "tiles.hpp"

namespace deltarule::tiles {

inline constexpr Index kPackedBytes = 600 * 1024; // a packed block stays in a 1 MiB L2 cache
inline constexpr Index kSmallResult =
    16 * 1024; // a result that is still in the L1 cache when complete

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

} // namespace deltarule::tiles
