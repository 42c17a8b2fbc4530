// Using a network without training it: predictions, losses, gradients, and the open box.
#pragma once

#include "deltarule/objective.hpp"

namespace deltarule {

// How many of n_threads a call is worth that passes `rows` rows, `batch` at a time, `passes` times
// through the network (1 forward, 3 with backward and gradient): 1 below about 4 MFLOP a batch or
// 1 ms in all.
template <class T>
int worthwhile_threads(const Network<T> &network, Index batch, double rows, int passes,
                       int n_threads);

// A_L for every row of X, into `out`, C-ordered (rows, n_outputs). NaN flows to its own row. A
// row's bits do not depend on the other rows. False if abandoned. Throws DataError where X holds no
// code for an Embedding, before anything is written.
template <class T>
bool predict(const Network<T> &network, const Source<T> &X, const Poll &poll, int n_threads,
             T *out);

// The same for at most w.capacity() rows, in a workspace of the caller's.
template <class T>
void predict(const Network<T> &network, const Source<T> &X, Workspace<T> &w, T *out);

// L over all rows, in inference mode; with `gradient`, ∂L/∂θ in the mode of `pass`. False if
// abandoned. Throws DataError.
template <class T>
bool evaluate(const Network<T> &network, const LossSpec &loss, const Examples<T> &data,
              const Pass &pass, const Poll &poll, int n_threads, double &value, T *gradient);

// ∂L/∂θ (summed over rows) and ∂L/∂X, C-ordered (rows, n_inputs), from a given ∂L/∂A_L. False if
// abandoned. Throws DataError.
template <class T>
bool backward(const Network<T> &network, const Source<T> &X, const Source<T> &output_gradient,
              const Pass &pass, const Poll &poll, int n_threads, T *gradient, T *input_gradient);

// Every z, a and delta of one batch, in memory of its own.
template <class T> struct Trace {
    Trace(const Network<T> &network, const LossSpec &loss, const Examples<T> &data,
          const Pass &pass);

    Index rows;
    std::vector<LayerLayout> layout;
    Workspace<T> workspace;
    Buffer<T> gradient;
    double loss;
};

} // namespace deltarule
