// Neighbours in theta.
#pragma once

#include "deltarule/types.hpp"

namespace deltarule {

// Weights from parameter `first` on, then others, such as biases, on which no penalty acts.
struct ParameterRange {
    Index first, n_weights, n_others;

    Index count() const { return n_weights + n_others; }
};

} // namespace deltarule
