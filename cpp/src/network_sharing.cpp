// How threads share the layers of a network out.
#include "deltarule/network.hpp"

#include "deltarule/workspace.hpp"

#include <algorithm>

namespace deltarule {

namespace {

constexpr Index kUnitGroup = 16; // units are shared out in groups, the last part takes what is left
constexpr Index kColumnGroup = 8; // as many columns of weights as the largest tile has

Index unit_share(Index units, int part, int parts) {
    return part == parts ? units : units / kUnitGroup * part / parts * kUnitGroup;
}

} // namespace

template <class T> bool Network<T>::splits(std::size_t l, const Pass &pass, int parts) const {
    constexpr Index kLargeBytes = 512 * 1024, kUnitsOfAThread = 32;
    const auto *dense = std::get_if<Dense<T>>(&layers_[l]);
    if (parts == 1 || !dense)
        return false;
    const bool by_columns =
        dense->activation.kind == ActivationKind::softmax && !pass_of(l, pass).logits;
    return !by_columns && dense->inputs * dense->outputs * Index(sizeof(T)) >= kLargeBytes &&
           std::min(dense->inputs, dense->outputs) >= kUnitsOfAThread * parts;
}

template <class T>
void Network<T>::forward_units(std::size_t l, Workspace<T> &w, Index first, Index n,
                               const Pass &pass, int part, int parts, T *scratch) const {
    const auto &dense = std::get<Dense<T>>(layers_[l]);
    dense.forward_units(numbers(l, scratch), input_of(l, w, first), w.slots[l].from(first), n,
                        pass_of(l, pass), unit_share(dense.outputs, part, parts),
                        unit_share(dense.outputs, part + 1, parts));
}

template <class T>
void Network<T>::slope(std::size_t l, Workspace<T> &w, Index first, Index n,
                       const Pass &pass) const {
    std::get<Dense<T>>(layers_[l]).slope(w.slots[l].from(first), n, pass_of(l, pass));
}

template <class T>
void Network<T>::recursion_units(std::size_t l, Workspace<T> &w, Index first, Index n,
                                 const Pass &pass, int part, int parts, T *scratch) const {
    const auto &dense = std::get<Dense<T>>(layers_[l]);
    dense.recursion(numbers(l, scratch), w.slots[l].from(first), below(l, w, first, pass, false), n,
                    unit_share(dense.inputs, part, parts),
                    unit_share(dense.inputs, part + 1, parts));
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
void Network<T>::norm_forward(std::size_t l, Workspace<T> &w, Index n, const Pass &pass, int part,
                              int parts, FunctionRef<bool()> stop) const {
    const BatchNorm<T> &norm = *batch_norm(l);
    const Index i0 = unit_share(norm.outputs, part, parts);
    each_piece(i0, unit_share(norm.outputs, part + 1, parts), stop, [&](Index i, Index end) {
        norm.forward_units(numbers(l, nullptr), input_of(l, w, 0), w.slots[l], n, pass, i, end);
    });
}

template <class T>
void Network<T>::norm_backward(std::size_t l, Workspace<T> &w, Index n, const Pass &pass,
                               bool whole, int part, int parts, FunctionRef<bool()> stop) const {
    const BatchNorm<T> &norm = *batch_norm(l);
    const Index i0 = unit_share(norm.outputs, part, parts);
    each_piece(i0, unit_share(norm.outputs, part + 1, parts), stop, [&](Index i, Index end) {
        norm.backward_units(numbers(l, nullptr), input_of(l, w, 0), w.slots[l],
                            below(l, w, 0, pass, whole), n, pass, i, end);
    });
}

// The first column of a layer's weights (first unit, if it has parameters but no weights) in share
// `part` of `parts`: the parameters of all layers, cut into equal pieces, each cut moved to the
// nearest whole group of columns.
template <class T> Index Network<T>::share_start(std::size_t l, int part, int parts) const {
    const LayerLayout &layout = layout_[l];
    auto [rows, columns] = layout.weights;
    const Index group = columns > 0 ? kColumnGroup : kUnitGroup;
    if (columns == 0 && layout.n_parameters > 0) {
        columns = layout.n_outputs;
        rows = layout.n_parameters / columns;
    }
    if (part == 0 || part == parts || columns == 0)
        return part == 0 ? 0 : columns;
    const Index cut = n_parameters() / parts * part - layout.theta_offset;
    return std::clamp<Index>((cut / rows + group / 2) / group * group, 0, columns);
}

template <class T>
void Network<T>::gradient(Workspace<T> &w, Index first, Index n, const Pass &pass,
                          const GradientSink<T> &sink, int part, int parts, T *scratch) const {
    for (std::size_t l = 0; l < layers_.size(); ++l)
        gradient(l, w, first, n, pass, sink, part, parts, scratch);
}

template <class T>
void Network<T>::gradient(std::size_t l, Workspace<T> &w, Index first, Index n, const Pass &pass,
                          const GradientSink<T> &sink, int part, int parts, T *scratch) const {
    const Index k0 = share_start(l, part, parts), k1 = share_start(l, part + 1, parts);
    if (k0 >= k1 || (pass.skip_frozen && layout_[l].training.frozen()))
        return;
    std::visit(
        [&](const auto &layer) {
            if constexpr (requires { &std::decay_t<decltype(layer)>::gradient; })
                layer.gradient(input_of(l, w, first), w.slots[l].from(first), n,
                               layout_[l].theta_offset, k0, k1, sink, scratch);
        },
        layers_[l]);
}

template <class T>
Ahead Network<T>::ahead_of(std::size_t l, const Pass &pass, int part, int parts) const {
    while (l < layers_.size() && !std::holds_alternative<Dense<T>>(layers_[l]))
        ++l;
    if (parts == 1 || l == layers_.size() || splits(l, pass, parts))
        return {};
    const auto [rows, columns] = layout_[l].weights;
    const T *W = theta() + layout_[l].theta_offset;
    return {W, W + rows * columns, W + rows * (share_start(l, part + 1, parts) % columns)};
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template bool Network<T>::splits(std::size_t, const Pass &, int) const;                        \
    template void Network<T>::forward_units(std::size_t, Workspace<T> &, Index, Index,             \
                                            const Pass &, int, int, T *) const;                    \
    template void Network<T>::slope(std::size_t, Workspace<T> &, Index, Index, const Pass &)       \
        const;                                                                                     \
    template void Network<T>::recursion_units(std::size_t, Workspace<T> &, Index, Index,           \
                                              const Pass &, int, int, T *) const;                  \
    template void Network<T>::norm_forward(std::size_t, Workspace<T> &, Index, const Pass &, int,  \
                                           int, FunctionRef<bool()>) const;                        \
    template void Network<T>::norm_backward(std::size_t, Workspace<T> &, Index, const Pass &,      \
                                            bool, int, int, FunctionRef<bool()>) const;            \
    template void Network<T>::gradient(Workspace<T> &, Index, Index, const Pass &,                 \
                                       const GradientSink<T> &, int, int, T *) const;              \
    template void Network<T>::gradient(std::size_t, Workspace<T> &, Index, Index, const Pass &,    \
                                       const GradientSink<T> &, int, int, T *) const;              \
    template Ahead Network<T>::ahead_of(std::size_t, const Pass &, int, int) const;

DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
