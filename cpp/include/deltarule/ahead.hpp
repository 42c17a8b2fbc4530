// What is read later, fetched into this core's cache while it computes a product. Each kind has
// fetch(), for tiles to call many times; any(), whether something is left; and done(times).
#pragma once

#include "deltarule/types.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace deltarule {

// Weights that a later product reads: memory [begin, end), walked once around from `next`. To read
// what another core has just written takes hundreds of cycles a line, but they cost nothing while
// there is something else to do.
struct Ahead {
    static constexpr Index kLine = 64, kLinesAtOnce = 2; // in each call of fetch

    const std::byte *begin = nullptr, *end = nullptr, *next = nullptr;
    Index lines = 0; // that are left

    Ahead() = default;
    template <class T>
    Ahead(const T *first, const T *last, const T *start)
        : begin(reinterpret_cast<const std::byte *>(first)),
          end(reinterpret_cast<const std::byte *>(last)),
          next(reinterpret_cast<const std::byte *>(start)), lines((end - begin) / kLine) {}

    void fetch() {
        for (Index i = 0; i < kLinesAtOnce; ++i)
            __builtin_prefetch(next + i * kLine);
        next += kLinesAtOnce * kLine;
        next = next < end ? next : begin;
    }
    bool any() const { return lines > 0; }
    void done(Index times) { lines -= times * kLinesAtOnce; }
};

// A block of up to three arrays of the same layout: `pieces` of `count` numbers, `ld` apart, for
// the L2 cache. It is spread over `times` calls of fetch: lines from memory, all asked for at once,
// would keep out those that a tile itself reads.
template <class T> struct BlockAhead {
    static constexpr Index kLine = 64;

    std::array<const std::byte *, 3> next = {};
    int arrays = 0;
    Index height = 0, gap = 0;           // of a piece, in lines; from its end to the next
    Index lines = 0, times = 1, due = 0; // a line for each time that `due` reaches `times`
    Index left = 0;                      // lines of the piece

    BlockAhead() = default;
    BlockAhead(const std::array<const T *, 3> &all, Index place, Index count, Index pieces,
               Index ld, Index calls)
        : height((count * Index(sizeof(T)) + kLine - 1) / kLine),
          gap(ld * Index(sizeof(T)) - height * kLine), lines(height * pieces),
          times(std::max<Index>(calls, 1)), left(height) {
        for (const T *array : all)
            if (array)
                next[static_cast<std::size_t>(arrays++)] =
                    reinterpret_cast<const std::byte *>(array + place);
    }

    void fetch() {
        for (due += lines; due >= times; due -= times) {
            Index step = kLine;
            if (--left == 0) {
                step += gap;
                left = height;
            }
            for (std::size_t i = 0; i < static_cast<std::size_t>(arrays); ++i) {
                __builtin_prefetch(next[i], 0, 2);
                next[i] += step;
            }
        }
    }
    bool any() const { return lines > 0; }
    void done(Index) {}
};

} // namespace deltarule
