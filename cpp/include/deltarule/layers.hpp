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
//                                               ∂L/∂θ_l from ∂L/∂z_l for columns [k0, k1) of the
//                                               weights; n <= 256
//   weights()                                   how many rows and columns these have
//
// over any range of columns, so that rows can be split among blocks and threads. BatchNorm alone
// needs, in training, all columns of a batch at once, and is split by units.
#pragma once

#include "deltarule/kernels.hpp"
#include "deltarule/random.hpp"

#include <optional>
#include <variant>
#include <vector>

namespace deltarule {

// What one layer saves of the rows of a block. Where nobody needs z, z and a are the same memory.
template <class T> struct Slot {
    Columns<T> z, a;  // (n_l, n); without activation z is a
    Columns<T> delta; // (n_l, n)
    Columns<T> mask;  // (n_l, n), Dropout only
    Columns<T> skip;  // (n_l, n), of the other end of a residual: AddKept a, KeepInput delta
    T *mean = nullptr, *inverse = nullptr; // (n), LayerNorm only: of each column, and 1/√(var + ε)
    double *units = nullptr;               // BatchNorm only: what it knows of each unit, see there

    // The same, from column j on.
    Slot from(Index j) const {
        const auto shift = [j](Columns<T> c) { return c ? Columns<T>{c.column(j), c.ld} : c; };
        return {shift(z),
                shift(a),
                shift(delta),
                shift(mask),
                shift(skip),
                mean ? mean + j : nullptr,
                inverse ? inverse + j : nullptr,
                units};
    }
};

// A slot from column `first` on; the slot itself, not a copy, from the very first.
template <class T> class SlotFrom {
  public:
    SlotFrom(const Slot<T> &slot, Index first) : slot_(&slot) {
        if (first > 0)
            slot_ = &moved_.emplace(slot.from(first));
    }
    SlotFrom(const SlotFrom &) = delete;
    operator const Slot<T> &() const { return *slot_; } // NOLINT: passed where a slot is wanted

  private:
    std::optional<Slot<T>> moved_;
    const Slot<T> *slot_;
};

// How a batch is passed through: inference, or training with masks drawn for (seed, step,
// position).
struct Pass {
    bool training = false;
    // For the output layer, where the loss is computed from z: forward leaves the activation out,
    // and backward is handed ∂L/∂z.
    bool logits = false;
    bool skip_frozen = false; // backward and gradient: no more than the trained layers need
    std::uint64_t seed = 0, step = 0;
    Index position = 0; // of the first column, in the whole batch
};

// Where a layer finds its own numbers, and room to work in.
template <class T> struct Numbers {
    const T *theta;
    const T *state;
    T *scratch;
    Ahead *ahead = nullptr; // what a Dense fetches while it goes forward
};

// The weights of a layer: a column-major matrix, first among its parameters. Penalties act on it
// alone, and its columns are shared out among threads.
struct WeightShape {
    Index rows = 0, columns = 0;
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

    WeightShape weights() const { return {outputs, inputs}; }
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

// Learned vectors for columns of codes: A' holds the inputs that are not coded, in their order,
// and then for each coded one the vector of its code, looked up in a table of its own. theta holds
// the tables, C-ordered (n_levels, dimension), one after another: a column of the weights is the
// vector of a level. (Y. Bengio et al., 2003; C. Guo, F. Berkhahn, 2016)
//
// The gradient of a level is the sum of delta over the rows that have it: those of a block of 256
// in one chain of additions from zero, rows ascending; blocks are added in order (contract 16).
template <class T> struct Embedding {
    // Where codes from 0 to n_levels - 1 stand, and the first column of the weights that is theirs.
    struct Coded {
        Index input, n_levels, first_level;
    };
    Index inputs, outputs, dimension, n_levels;
    std::vector<Index> passed; // the inputs that are not coded
    std::vector<Coded> coded;

    // Throws std::invalid_argument unless `columns` are different inputs, each with a number of
    // levels whose codes T holds exactly.
    Embedding(Index n_inputs, const std::vector<Index> &columns,
              const std::vector<Index> &levels_of_columns, Index n_dimensions);

    WeightShape weights() const { return {dimension, n_levels}; }
    Index n_parameters() const { return n_levels * dimension; }
    Index n_state() const { return 0; }
    // Forward makes NaN of what is no code; backward makes d_in 0 where codes stand.
    DELTARULE_LAYER_PROTOCOL
    void gradient(Columns<const T> in, const Slot<T> &slot, Index n, Index offset, Index k0,
                  Index k1, const GradientSink<T> &sink, T *scratch) const;
    Index scratch_size() const; // that gradient needs

    // Whether n columns hold codes where they should; with nan_passes NaN will do.
    bool holds_codes(Columns<const T> in, Index n, bool nan_passes) const;
    // The first input of a row that does not hold its code; null if all do.
    const Coded *fault_of(const T *row, bool nan_passes) const;
};

// A' = γ x̂ + β, x̂ = (A − μ) / √(v + ε) for each unit. Training: μ is the mean and v the variance
// (divided by n) over the whole batch, so that the columns of a call are all of it; inference: what
// state holds, the running mean and then the running variance. theta holds γ, then β.
// (S. Ioffe, C. Szegedy, 2015)
//
// What is found of a batch stays in slot.units: μ, v, ∂L/∂γ and ∂L/∂β of every unit. Sums over
// rows follow contract 16: units of 256 rows, in double, added in order.
template <class T> struct BatchNorm {
    static constexpr Index kNumbersOfAUnit = 4;
    Index inputs, outputs;
    double momentum, epsilon;

    Index n_parameters() const { return 2 * outputs; }
    Index n_state() const { return 2 * outputs; }
    DELTARULE_LAYER_PROTOCOL
    // The same for units [i0, i1) only, both multiples of 16, or i1 = outputs.
    void forward_units(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot, Index n,
                       const Pass &pass, Index i0, Index i1) const;
    void backward_units(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot,
                        Columns<T> d_in, Index n, const Pass &pass, Index i0, Index i1) const;
    // ∂L/∂θ of units [k0, k1), from the columns that went backward since the last call.
    void gradient(Columns<const T> in, const Slot<T> &slot, Index n, Index offset, Index k0,
                  Index k1, const GradientSink<T> &sink, T *scratch) const;
    Index scratch_size() const { return outputs; } // that gradient needs

    // The running statistics after a step on n rows, n > 1: they move by `momentum` towards those
    // of the batch, the variance towards that divided by n - 1.
    void update_statistics(const Slot<T> &slot, Index n, T *state) const;
};

// A' = γ ⊙ x̂ + β, x̂ = (A − mean) / √(var + ε): mean and biased variance of each column, over its
// units. theta holds γ, then β. (J. Ba, J. Kiros, G. Hinton, 2016)
//
//   d_in = (g − mean(g) − x̂ ⊙ mean(g ⊙ x̂)) / √(var + ε), g = γ ⊙ δ
//   dγ = Σ δ ⊙ x̂, dβ = Σ δ over the columns, those of a block in one chain
template <class T> struct LayerNorm {
    Index inputs, outputs;
    double epsilon; // the smallest normal number of T if that is larger

    Index n_parameters() const { return 2 * outputs; }
    Index n_state() const { return 0; }
    DELTARULE_LAYER_PROTOCOL
    // Of units [k0, k1).
    void gradient(Columns<const T> in, const Slot<T> &slot, Index n, Index offset, Index k0,
                  Index k1, const GradientSink<T> &sink, T *scratch) const;
    Index scratch_size() const { return 2 * padded(outputs); } // that gradient needs
};

// The start of a residual, A' = A, and its end, A' = A + the A' of its start. (K. He et al., 2016)
// What is kept is not copied: it is the memory of the layer below. Backward, delta of the start is
// what its layers send down plus delta of the end.
template <class T> struct KeepInput {
    Index inputs, outputs;
    std::size_t end; // the AddKept; 0 until there is one

    Index n_parameters() const { return 0; }
    Index n_state() const { return 0; }
    DELTARULE_LAYER_PROTOCOL
};

template <class T> struct AddKept {
    Index inputs, outputs;
    std::size_t start; // the KeepInput

    Index n_parameters() const { return 0; }
    Index n_state() const { return 0; }
    DELTARULE_LAYER_PROTOCOL
};

#undef DELTARULE_LAYER_PROTOCOL

template <class T>
using Layer = std::variant<Dense<T>, ActivationLayer<T>, Standardize<T>, Rescale<T>, Dropout<T>,
                           Embedding<T>, LayerNorm<T>, BatchNorm<T>, KeepInput<T>, AddKept<T>>;

} // namespace deltarule
