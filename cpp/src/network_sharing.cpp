// How threads share the layers of a network out.
#include "deltarule/network.hpp"

#include "deltarule/workspace.hpp"

#include <algorithm>

namespace deltarule {

namespace {

constexpr Index kUnitGroup = 16; // units are shared out in groups

struct Units {
    Index begin, end;
    double part; // of all
};

// Nobody is left with so few that the product would sum them another way.
Units units_of(const Share &share, Index n) {
    const auto cut = [n](Index i) { return n - i < kNarrow ? n : i; };
    const Index begin = cut(share.first(n, kUnitGroup)), end = cut(share.last(n, kUnitGroup));
    return {begin, end, static_cast<double>(end - begin) / static_cast<double>(n)};
}

} // namespace

template <class T>
bool Network<T>::splits(std::size_t l, const Pass &pass, Index n, int n_threads) const {
    constexpr Index kLargeBytes = 512 * 1024, kUnitsOfAThread = 32;
    const auto *dense = std::get_if<Dense<T>>(&layers_[l]);
    if (n_threads == 1 || !dense)
        return false;
    const bool by_columns =
        dense->activation.kind == ActivationKind::softmax && !pass_of(l, pass).logits;
    return !by_columns && dense->inputs * dense->outputs * Index(sizeof(T)) >= kLargeBytes &&
           std::min(dense->inputs, dense->outputs) >= kUnitsOfAThread * n_threads &&
           4 * dense->inputs * dense->outputs >=
               5 * std::min(n, kRowBlock) * (dense->inputs + dense->outputs);
}

template <class T>
double Network<T>::forward_units(std::size_t l, Workspace<T> &w, Index first, Index n,
                                 const Pass &pass, const Share &share, T *scratch) const {
    const auto &dense = std::get<Dense<T>>(layers_[l]);
    const Units units = units_of(share, dense.outputs);
    dense.forward_units(numbers(l, scratch), input_of(l, w, first), SlotFrom(w.slots[l], first), n,
                        pass_of(l, pass), units.begin, units.end);
    return units.part;
}

template <class T>
void Network<T>::slope(std::size_t l, Workspace<T> &w, Index first, Index n,
                       const Pass &pass) const {
    std::get<Dense<T>>(layers_[l]).slope(SlotFrom(w.slots[l], first), n, pass_of(l, pass));
}

template <class T>
double Network<T>::recursion_units(std::size_t l, Workspace<T> &w, Index first, Index n,
                                   const Pass &pass, const Share &share, T *scratch) const {
    const auto &dense = std::get<Dense<T>>(layers_[l]);
    const Units units = units_of(share, dense.inputs);
    dense.recursion(numbers(l, scratch), SlotFrom(w.slots[l], first),
                    below(l, w, first, pass, false), n, units.begin, units.end);
    return units.part;
}

namespace {

// f(first, end) for pieces of units [i0, i1), until `stop`.
template <class F> void each_piece(Index i0, Index i1, FunctionRef<bool()> stop, const F &f) {
    constexpr Index kPiece = 4 * kUnitGroup;
    for (Index i = i0; i < i1 && (i == i0 || !stop()); i += kPiece)
        f(i, std::min(i + kPiece, i1));
}

} // namespace

template <class T>
void Network<T>::norm_forward(std::size_t l, Workspace<T> &w, Index n, const Pass &pass,
                              const Share &share, FunctionRef<bool()> stop) const {
    const BatchNorm<T> &norm = *batch_norm(l);
    const Index i0 = share.first(norm.outputs, kUnitGroup);
    each_piece(i0, share.last(norm.outputs, kUnitGroup), stop, [&](Index i, Index end) {
        norm.forward_units(numbers(l, nullptr), input_of(l, w, 0), w.slots[l], n, pass, i, end);
    });
}

template <class T>
void Network<T>::norm_backward(std::size_t l, Workspace<T> &w, Index n, const Pass &pass,
                               bool whole, const Share &share, FunctionRef<bool()> stop) const {
    const BatchNorm<T> &norm = *batch_norm(l);
    const Index i0 = share.first(norm.outputs, kUnitGroup);
    each_piece(i0, share.last(norm.outputs, kUnitGroup), stop, [&](Index i, Index end) {
        norm.backward_units(numbers(l, nullptr), input_of(l, w, 0), w.slots[l],
                            below(l, w, 0, pass, whole), n, pass, i, end);
    });
}

// Where the parameters of all layers are cut at a place from 0 to 1: the first column of a layer's
// weights after it (first unit, if it has parameters but no weights), moved to the nearest whole
// group of columns.
template <class T> Index Network<T>::column_at(std::size_t l, double cut) const {
    const LayerLayout &layout = layout_[l];
    auto [rows, columns] = layout.weights;
    const Index group = columns > 0 ? kColumnTile : kUnitGroup;
    if (columns == 0 && layout.n_parameters > 0) {
        columns = layout.n_outputs;
        rows = layout.n_parameters / columns;
    }
    if (cut <= 0 || cut >= 1 || columns == 0)
        return cut <= 0 ? 0 : columns;
    const Index place = static_cast<Index>(static_cast<double>(n_parameters()) * cut);
    const Index column = (place - layout.theta_offset) / rows;
    return std::clamp<Index>((column + group / 2) / group * group, 0, columns);
}

template <class T>
void Network<T>::gradient(Workspace<T> &w, Index first, Index n, const Pass &pass,
                          const GradientSink<T> &sink, const Share &share, T *scratch) const {
    for (std::size_t l = 0; l < layers_.size(); ++l)
        gradient(l, w, first, n, pass, sink, share, scratch);
}

template <class T>
void Network<T>::gradient(std::size_t l, Workspace<T> &w, Index first, Index n, const Pass &pass,
                          const GradientSink<T> &sink, const Share &share, T *scratch) const {
    const LayerLayout &layout = layout_[l];
    const Index k0 = column_at(l, share.begin), k1 = column_at(l, share.end);
    if (k0 >= k1 || (pass.skip_frozen && layout.training.frozen()))
        return;
    std::visit(
        [&](const auto &layer) {
            if constexpr (requires { &std::decay_t<decltype(layer)>::gradient; })
                layer.gradient(input_of(l, w, first), SlotFrom(w.slots[l], first), n,
                               layout.theta_offset, k0, k1, sink, scratch);
        },
        layers_[l]);
}

template <class T>
Ahead Network<T>::ahead_of(std::size_t l, const Pass &pass, Index n, const Share &share,
                           int n_threads) const {
    while (l < layers_.size() && !std::holds_alternative<Dense<T>>(layers_[l]))
        ++l;
    if (n_threads == 1 || l == layers_.size() || splits(l, pass, n, n_threads))
        return {};
    const auto [rows, columns] = layout_[l].weights;
    const T *W = theta() + layout_[l].theta_offset;
    return {W, W + rows * columns, W + rows * (column_at(l, share.end) % columns)};
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template bool Network<T>::splits(std::size_t, const Pass &, Index, int) const;                 \
    template double Network<T>::forward_units(std::size_t, Workspace<T> &, Index, Index,           \
                                              const Pass &, const Share &, T *) const;             \
    template void Network<T>::slope(std::size_t, Workspace<T> &, Index, Index, const Pass &)       \
        const;                                                                                     \
    template double Network<T>::recursion_units(std::size_t, Workspace<T> &, Index, Index,         \
                                                const Pass &, const Share &, T *) const;           \
    template void Network<T>::norm_forward(std::size_t, Workspace<T> &, Index, const Pass &,       \
                                           const Share &, FunctionRef<bool()>) const;              \
    template void Network<T>::norm_backward(std::size_t, Workspace<T> &, Index, const Pass &,      \
                                            bool, const Share &, FunctionRef<bool()>) const;       \
    template void Network<T>::gradient(Workspace<T> &, Index, Index, const Pass &,                 \
                                       const GradientSink<T> &, const Share &, T *) const;         \
    template void Network<T>::gradient(std::size_t, Workspace<T> &, Index, Index, const Pass &,    \
                                       const GradientSink<T> &, const Share &, T *) const;         \
    template Ahead Network<T>::ahead_of(std::size_t, const Pass &, Index, const Share &, int) const;

DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
