// Σ W² over all weights and no biases, for the penalty.
#pragma once

#include "deltarule/network.hpp"
#include "deltarule/team.hpp"

#include <vector>

namespace deltarule {

// Summed in blocks of 4096 numbers, shared out among threads and added in order: the bits do not
// depend on who sums which (contract 16).
template <class T> class SquaredWeights {
  public:
    explicit SquaredWeights(const Network<T> &network);
    double sum(const T *theta, Team &team);

  private:
    struct Block {
        Index first, count; // in theta
        double sum;
    };
    std::vector<Block> blocks_;
};

} // namespace deltarule
