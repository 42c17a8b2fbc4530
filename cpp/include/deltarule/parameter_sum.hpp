// Sums over parts of a vector laid out like theta: Σ x² of the weights, for the optimiser's
// penalty; of the gradient of what is trained, for its norm; and the penalties of layers.
#pragma once

#include "deltarule/network.hpp"
#include "deltarule/team.hpp"

#include <vector>

namespace deltarule {

// Summed in blocks of 4096 numbers, shared out among threads and added in order: the bits do not
// depend on who sums which (contract 16).
template <class T> class ParameterSum {
  public:
    static ParameterSum squares_of_weights(const Network<T> &network);  // no biases
    static ParameterSum squares_of_trained(const Network<T> &network);  // no frozen layers
    static ParameterSum penalties_of_layers(const Network<T> &network); // l1 Σ|W| + l2/2 ΣW²
    double operator()(const T *values, Team &team);

    bool empty() const { return blocks_.empty(); }

  private:
    struct Factors {
        double of_sizes, of_squares; // of |x| and of x²
    };
    struct Block {
        Index first, count;
        Factors factors;
        double sum;
    };
    void add_blocks(Index first, Index count, Factors factors);

    std::vector<Block> blocks_;
};

} // namespace deltarule
