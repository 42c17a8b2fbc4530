// Σ x² over parts of a vector laid out like theta: of the weights, for the penalty; of the whole
// gradient, for its norm.
#pragma once

#include "deltarule/network.hpp"
#include "deltarule/team.hpp"

#include <vector>

namespace deltarule {

// Summed in blocks of 4096 numbers, shared out among threads and added in order: the bits do not
// depend on who sums which (contract 16).
template <class T> class SumOfSquares {
  public:
    static SumOfSquares of_weights(const Network<T> &network); // no biases
    static SumOfSquares of_all(const Network<T> &network);
    double operator()(const T *values, Team &team);

  private:
    struct Block {
        Index first, count;
        double sum;
    };
    void add_blocks(Index first, Index count);

    std::vector<Block> blocks_;
};

} // namespace deltarule
