// All matrix products, as register tiles under one summation rule (contract 16):
//
//   a sum over k runs in blocks of 256; a block is one chain of multiply-adds from zero, k
//   ascending; blocks are added in order. Forward products and recursions with fewer than 4 outputs
//   sum in 16 virtual lanes along k and a tree; which of the two is chosen by the shape of the
//   layer alone.
//
// So tile shape, packing, position and batch size never change a bit.
#pragma once

#include "deltarule/activation.hpp"
#include "deltarule/ahead.hpp"
#include "deltarule/columns.hpp"
#include "deltarule/function_ref.hpp"
#include "deltarule/parameter_range.hpp"

#include <array>

namespace deltarule {

inline constexpr Index kNarrow = 4;  // products with fewer outputs use virtual lanes
inline constexpr Index kChain = 256; // length of one chain of multiply-adds

// Scratch elements that the products below need for a layer of these widths.
template <class T> Index scratch_size(Index inputs, Index outputs);

// Z = W A + b 1ᵀ and A' = σ(Z): W (M, K) with leading dimension ldw, A (K, n), Z and A' (M, n),
// b (M). `z` and `a` may be the same memory (then Z is lost). With softmax A' = Z, to be activated
// by whole columns. Some of the outputs of a layer, 4 or more, have the same bits as in all of
// them. `ahead`, if there is one, is fetched meanwhile.
template <class T>
void forward_product(Index m, Index k, Index n, const T *W, Index ldw, const T *b,
                     Columns<const T> in, const Activation &activation, Columns<T> z, Columns<T> a,
                     T *scratch, Ahead *ahead = nullptr);

// D' = Wᵀ D: W (M, K), D (M, n), D' (K, n). The delta recursion before ⊙ σ'. Likewise for 4 or more
// of the inputs.
template <class T>
void recursion_product(Index m, Index k, Index n, const T *W, Columns<const T> delta,
                       Columns<T> d_in, T *scratch);

// Where a gradient goes: into memory laid out like theta (= or +=), to an optimiser while it is
// still in cache, or both.
template <class T> struct GradientSink {
    T *gradient = nullptr; // null: finished tiles live in scratch only, and `apply` is set
    bool add = false;      // gradient += , from a block of rows after the first
    // Takes the finished ∂L/∂θ of some parameters.
    FunctionRef<void(const ParameterRange &range, const T *values)> apply;
    // Up to three arrays laid out like theta that `apply` reads: fetched into cache ahead of it.
    std::array<const T *, 3> touched = {};

    // Takes the sums over a block of rows of parameters [first, first + count), no weights.
    void take_sums(Index first, Index count, const T *sums) const {
        const T *values = sums;
        if (gradient) {
            T *total = gradient + first;
            for (Index i = 0; i < count; ++i)
                total[i] = add ? total[i] + sums[i] : sums[i];
            values = total;
        }
        if (apply)
            apply({first, 0, count}, values);
    }
};

// dW = D Aᵀ for inputs (columns of W) [k0, k1), and with k0 = 0 db = D 1: D (M, n), A (K, n), W (M,
// K) at theta[offset], then b; n <= 256.
template <class T>
void gradient_product(Index m, Index k, Index k0, Index k1, Index n, Columns<const T> delta,
                      Columns<const T> in, Index offset, const GradientSink<T> &sink, T *scratch);

} // namespace deltarule
