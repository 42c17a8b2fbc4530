// All buffers of one batch: the only place where a pass through the network allocates.
#pragma once

#include "deltarule/network.hpp"

namespace deltarule {

template <class T> class Workspace {
  public:
    // Room for `capacity` columns. With keep_all every layer with an activation keeps z apart from
    // a, and there is room for ∂L/∂A_0.
    Workspace(const Network<T> &network, Index capacity, Index target_width, bool keep_all = false);

    Index capacity() const { return capacity_; }
    Index target_width() const { return target_width_; }

    Columns<T> input, target, input_gradient; // A_0, Y, ∂L/∂A_0
    T *weight = nullptr;                      // sample weights
    Index *rows = nullptr;                    // row numbers of the block being gathered
    std::vector<Slot<T>> slots;               // one for each layer
    T *scratch = nullptr;                     // packed blocks of the products

    // What the loss is computed from: z of the output layer, or a.
    Columns<T> output(bool logits) const { return logits ? slots.back().z : slots.back().a; }

  private:
    Columns<T> take(Index width, Index columns);

    Index capacity_, target_width_;
    std::vector<Buffer<T>> buffers_;
    Buffer<Index> row_numbers_;
};

} // namespace deltarule
