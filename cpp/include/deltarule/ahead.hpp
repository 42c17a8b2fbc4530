// Weights that a later product reads, fetched into this core's cache while it computes another.
#pragma once

#include "deltarule/types.hpp"

#include <cstddef>

namespace deltarule {

// Memory [begin, end) is walked once around from `next`. To read what another core has just written
// takes hundreds of cycles a line, but they cost nothing while there is something else to do.
struct Ahead {
    static constexpr Index kLine = 64, kLinesAtOnce = 2; // for each multiply-add of a chain

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
};

} // namespace deltarule
