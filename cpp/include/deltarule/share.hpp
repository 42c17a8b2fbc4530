// A thread's part of the work of a phase.
#pragma once

#include "deltarule/types.hpp"

#include <algorithm>

namespace deltarule {

constexpr Index kColumnTile = 8; // columns of the largest tile: shares are cut between tiles

// From `begin` to `end`, where all the work is from 0 to 1. Of n things it is those in [first,
// last), in whole groups: shares that lie side by side do not overlap and leave nothing out.
struct Share {
    double begin = 0, end = 1;

    static Share equal(int t, int n) { return {double(t) / n, double(t + 1) / n}; }
    Index first(Index n, Index group) const { return cut(begin, n, group); }
    Index last(Index n, Index group) const { return cut(end, n, group); }

  private:
    static Index cut(double place, Index n, Index group) {
        if (place >= 1)
            return n;
        const double groups = place * static_cast<double>(n) / static_cast<double>(group);
        return std::min(n, static_cast<Index>(groups + 0.5) * group);
    }
};

} // namespace deltarule
