// The kinds of layer and the protocol they share. A network is a flat list of these structs.
//
// A layer owns no memory: its parameters lie in `theta` and what is not trained in `state`, at its
// offsets; what it saves of a batch lies in a Slot of the workspace. Every layer has
//
//   forward(numbers, in, slot, n, pass)         A_l from A_{l-1}, over n columns
//   backward(numbers, in, slot, d_in, n, pass)  slot.delta: ∂L/∂a_l on entry, ∂L/∂z_l on exit; then
//                                               d_in = ∂L/∂a_{l-1}, unless d_in is null
//
// and, where something is trained,
//
//   gradient(in, slot, n, offset, k0, k1, sink, scratch)
//                                               ∂L/∂θ_l from ∂L/∂z_l for inputs [k0, k1); n <= 256
//
// over any range of columns, so that rows can be split among blocks and threads.
#pragma once

#include "deltarule/kernels.hpp"
#include "deltarule/random.hpp"

#include <variant>

namespace deltarule {

// What one layer saves of the rows of a block. Where nobody needs z, z and a are the same memory.
template <class T> struct Slot {
    Columns<T> z, a;  // (n_l, n); without activation z is a
    Columns<T> delta; // (n_l, n)
    Columns<T> mask;  // (n_l, n), Dropout only

    // The same, from column j on.
    Slot from(Index j) const {
        const auto shift = [j](Columns<T> c) { return c ? Columns<T>{c.column(j), c.ld} : c; };
        return {shift(z), shift(a), shift(delta), shift(mask)};
    }
};

// How a batch is passed through: inference, or training with masks drawn for (seed, step,
// position).
struct Pass {
    bool training = false;
    // For the output layer, where the loss is computed from z: forward leaves the activation out,
    // and backward is handed ∂L/∂z.
    bool logits = false;
    std::uint64_t seed = 0, step = 0;
    Index position = 0; // of the first column, in the whole batch
};

// Where a layer finds its own numbers, and room to work in.
template <class T> struct Numbers {
    const T *theta;
    const T *state;
    T *scratch;
};

#define DELTARULE_LAYER_PROTOCOL                                                                   \
    void forward(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot, Index n,           \
                 const Pass &pass) const;                                                          \
    void backward(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot, Columns<T> d_in,  \
                  Index n, const Pass &pass) const;

// Z = W A + b 1ᵀ, A' = σ(Z): theta holds W (outputs, inputs) column-major, then b.
template <class T> struct Dense {
    Index inputs, outputs;
    Activation activation;

    Index n_parameters() const { return inputs * outputs + outputs; }
    Index n_state() const { return 0; }
    DELTARULE_LAYER_PROTOCOL
    // Forward for outputs [i0, i1) only; 4 or more, or all.
    void forward_units(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot, Index n,
                       const Pass &pass, Index i0, Index i1) const;
    // The two halves of backward: delta from ∂L/∂a to ∂L/∂z; then d_in for inputs [k0, k1), 4 or
    // more, or all.
    void slope(const Slot<T> &slot, Index n, const Pass &pass) const;
    void recursion(const Numbers<T> &p, const Slot<T> &slot, Columns<T> d_in, Index n, Index k0,
                   Index k1) const;
    void gradient(Columns<const T> in, const Slot<T> &slot, Index n, Index offset, Index k0,
                  Index k1, const GradientSink<T> &sink, T *scratch) const;
};

// A' = σ(A), a layer of its own.
template <class T> struct ActivationLayer {
    Index inputs, outputs;
    Activation activation;

    Index n_parameters() const { return 0; }
    Index n_state() const { return 0; }
    DELTARULE_LAYER_PROTOCOL
};

// A' = (A − mean) / scale: for inputs. state holds mean, then scale.
template <class T> struct Standardize {
    Index inputs, outputs;

    Index n_parameters() const { return 0; }
    Index n_state() const { return 2 * inputs; }
    DELTARULE_LAYER_PROTOCOL
};

// A' = mean + scale A: for outputs, so that targets keep their units. state holds mean, then scale.
template <class T> struct Rescale {
    Index inputs, outputs;

    Index n_parameters() const { return 0; }
    Index n_state() const { return 2 * inputs; }
    DELTARULE_LAYER_PROTOCOL
};

// Training: A' = A ⊙ m, m = 0 with probability `rate`, else 1 / (1 − rate); inference: A' = A.
// The mask of a unit depends on (seed, step, layer, position in the batch, unit) alone.
// (N. Srivastava et al., 2014)
template <class T> struct Dropout {
    Index inputs, outputs;
    double rate;
    std::uint64_t layer; // its index in the network, for the counter

    Index n_parameters() const { return 0; }
    Index n_state() const { return 0; }
    DELTARULE_LAYER_PROTOCOL
};

#undef DELTARULE_LAYER_PROTOCOL

template <class T>
using Layer = std::variant<Dense<T>, ActivationLayer<T>, Standardize<T>, Rescale<T>, Dropout<T>>;

} // namespace deltarule
