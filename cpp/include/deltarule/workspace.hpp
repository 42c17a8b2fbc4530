// All buffers of one batch: the only place where a pass through the network allocates.
#pragma once

#include "deltarule/dataset.hpp"
#include "deltarule/network.hpp"

namespace deltarule {

// What a workspace keeps of a pass: what predictions need; what the gradient needs; or everything,
// with z apart from a in every layer, and ∂L/∂A_0.
enum class Keep { outputs, gradient, everything };

template <class T> class Workspace {
  public:
    // Room for `capacity` columns, and scratch for each thread.
    Workspace(const Network<T> &network, Index capacity, Index target_width, Keep keep,
              int n_threads = 1);

    Index capacity() const { return capacity_; }
    Index target_width() const { return target_width_; }
    int n_threads() const { return n_threads_; }

    Columns<T> gathered_input, gathered_target; // room for A_0 and Y
    Columns<const T> input, target;             // A_0 and Y: there, or in the user's own memory
    Columns<T> input_gradient;                  // ∂L/∂A_0
    T *weight = nullptr;                        // sample weights
    Index *rows = nullptr;                      // row numbers of the block being gathered
    double *losses = nullptr;                   // w_i ℓ_i of each column
    std::vector<Slot<T>> slots;                 // one for each layer

    // From now on A_0, or Y, are rows [first, ...) of a source as they lie, if they can be used so;
    // else, and for null, they are to be gathered.
    void read_input(const Source<T> *X, Index first);
    void read_target(const Source<T> *y, Index first);

    // What the loss is computed from: z of the output layer, or a.
    Columns<T> output(bool logits) const { return logits ? slots.back().z : slots.back().a; }

    // Room for the packed blocks of a thread's products.
    T *scratch(int thread) const { return scratch_.column(thread); }

  private:
    Columns<T> take(Index width, Index columns);
    Columns<T> take_packed(Index width, Index columns);

    Index capacity_, target_width_;
    int n_threads_;
    bool input_may_stay_ = false, target_may_stay_ = false;
    std::vector<Buffer<T>> buffers_;
    std::vector<Buffer<double>> units_; // of BatchNorm layers
    Buffer<Index> row_numbers_;
    Buffer<double> row_losses_;
    Columns<T> scratch_;
};

} // namespace deltarule
