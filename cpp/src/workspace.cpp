// Sizes of the buffers of a batch.
#include "deltarule/workspace.hpp"

#include "deltarule/kernels.hpp"

#include <algorithm>

namespace deltarule {

namespace {

template <class T> bool keeps_z_apart(const Layer<T> &layer, Keep keep) {
    if (const auto *dense = std::get_if<Dense<T>>(&layer))
        return slope_needs_z(dense->activation.kind) ||
               (keep == Keep::everything && dense->activation.kind != ActivationKind::identity);
    return std::holds_alternative<ActivationLayer<T>>(layer) && keep == Keep::everything;
}

// Outputs of one number each, if nothing is written to them in whole packets.
template <class T> bool has_packed_output(const Network<T> &network, Keep keep) {
    const auto *dense = std::get_if<Dense<T>>(&network.layers().back());
    return keep != Keep::everything && dense && dense->outputs == 1 &&
           dense->activation.kind != ActivationKind::softmax;
}

} // namespace

template <class T>
Workspace<T>::Workspace(const Network<T> &network, Index capacity, Index target_width, Keep keep,
                        int n_threads)
    : capacity_(capacity), target_width_(target_width), n_threads_(n_threads),
      row_numbers_(capacity), row_losses_(capacity) {
    const auto *first = std::get_if<Dense<T>>(&network.layers().front());
    input_may_stay_ = first && first->outputs >= kNarrow; // whose products read no more than that
    // Never class numbers: another thread may change them after they were checked.
    target_may_stay_ = target_width == 1 && network.n_outputs() == 1;
    gathered_input = take(network.n_inputs(), capacity);
    input = gathered_input;
    if (keep == Keep::everything)
        input_gradient = take(network.n_inputs(), capacity);
    gathered_target = take_packed(target_width, capacity);
    target = gathered_target;
    weight = take(capacity, 1).data;
    rows = row_numbers_.data();
    losses = row_losses_.data();
    Index scratch_needed = 0;
    for (std::size_t l = 0; l < network.layers().size(); ++l) {
        const Layer<T> &layer = network.layers()[l];
        const LayerLayout &layout = network.layout()[l];
        const bool packed = l + 1 == network.layers().size() && has_packed_output(network, keep);
        const auto take_outputs = [&] {
            return packed ? take_packed(1, capacity) : take(layout.n_outputs, capacity);
        };
        Slot<T> slot;
        if (std::holds_alternative<KeepInput<T>>(layer))
            slot.a = l == 0 ? gathered_input : slots[l - 1].a;
        else
            slot.a = take_outputs();
        slot.z = keeps_z_apart(layer, keep) ? take_outputs() : slot.a;
        if (keep != Keep::outputs) {
            slot.delta = take_outputs();
            if (std::holds_alternative<Dropout<T>>(layer))
                slot.mask = take(layout.n_outputs, capacity);
            if (std::holds_alternative<BatchNorm<T>>(layer)) {
                units_.emplace_back(BatchNorm<T>::kNumbersOfAUnit * padded(layout.n_outputs));
                slot.units = units_.back().data();
            }
        }
        if (std::holds_alternative<LayerNorm<T>>(layer)) {
            slot.mean = take(capacity, 1).data;
            slot.inverse = take(capacity, 1).data;
        }
        if (const auto *add = std::get_if<AddKept<T>>(&layer)) {
            Slot<T> &start = slots[add->start];
            slot.skip = start.a;
            start.skip = slot.delta;
        }
        slots.push_back(slot);
        scratch_needed =
            std::max(scratch_needed, scratch_size<T>(layout.n_inputs, layout.n_outputs));
        std::visit(
            [&](const auto &each) {
                if constexpr (requires { each.scratch_size(); })
                    scratch_needed = std::max(scratch_needed, each.scratch_size());
            },
            layer);
    }
    scratch_ = take(scratch_needed, n_threads);
}

template <class T> Columns<T> Workspace<T>::take(Index width, Index columns) {
    const Index ld = padded(width);
    buffers_.emplace_back(ld * columns);
    return {buffers_.back().data(), ld};
}

// Without a gap between columns of one number each.
template <class T> Columns<T> Workspace<T>::take_packed(Index width, Index columns) {
    return width == 1 ? Columns<T>{take(columns, 1).data, 1} : take(width, columns);
}

template <class T> void Workspace<T>::read_input(const Source<T> *X, Index first) {
    input = gathered_input;
    if (const Columns<const T> lying = X ? X->in_place() : Columns<const T>{};
        lying && input_may_stay_)
        input = {lying.column(first), lying.ld};
}

template <class T> void Workspace<T>::read_target(const Source<T> *y, Index first) {
    target = gathered_target;
    if (const Columns<const T> lying = y ? y->in_place() : Columns<const T>{};
        lying && target_may_stay_ && lying.ld == 1)
        target = {lying.column(first), lying.ld};
}

template class Workspace<float>;
template class Workspace<double>;

} // namespace deltarule
