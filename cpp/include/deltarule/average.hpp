// The exponential moving average of the parameters (B. Polyak, A. Juditsky, 1992):
//
//   θ̄ ← θ̄ + (1 − d_t) (θ − θ̄),  d_t = min(d, (1 + t) / (10 + t)),  t = 1, 2 ... the step
//
// so that an average over few steps has forgotten the initial weights. A parameter that does not
// change is its own average, to the bit.
#pragma once

#include "deltarule/types.hpp"

#include <cstdint>

namespace deltarule {

template <class T> class Average {
  public:
    // A decay of 0 is none: no memory is taken.
    Average(double decay, Index n_parameters);

    explicit operator bool() const { return decay_ > 0; }

    void begin_step(std::int64_t t);
    // Takes parameters [first, first + count) in, from their place in theta.
    void update(Index first, Index count, const T *theta);

    // The average; while the network holds that, the parameters that are trained.
    Buffer<T> apart;
    // The average at the epoch's start.
    Buffer<T> epoch_start;

  private:
    double decay_, rest_ = 1; // rest: 1 − d_t of this step
};

} // namespace deltarule
