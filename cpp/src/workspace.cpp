// Sizes of the buffers of a batch.
#include "deltarule/workspace.hpp"

#include "deltarule/kernels.hpp"

namespace deltarule {

namespace {

// The activation a layer applies, and whether the layer draws a mask.
struct Wants {
    bool z_apart = false, mask = false;
};

template <class T> Wants wants(const Layer<T> &layer, bool keep_all) {
    Wants w;
    if (const auto *dense = std::get_if<Dense<T>>(&layer))
        w.z_apart = slope_needs_z(dense->activation.kind) ||
                    (keep_all && dense->activation.kind != ActivationKind::identity);
    else if (std::holds_alternative<ActivationLayer<T>>(layer))
        w.z_apart = keep_all;
    else if (std::holds_alternative<Dropout<T>>(layer))
        w.mask = true;
    return w;
}

} // namespace

template <class T>
Workspace<T>::Workspace(const Network<T> &network, Index capacity, Index target_width,
                        bool keep_all)
    : capacity_(capacity), target_width_(target_width), row_numbers_(capacity) {
    input = take(network.n_inputs(), capacity);
    if (keep_all)
        input_gradient = take(network.n_inputs(), capacity);
    target = take(target_width, capacity);
    weight = take(capacity, 1).data;
    rows = row_numbers_.data();
    Index scratch_needed = 0;
    for (std::size_t l = 0; l < network.layers().size(); ++l) {
        const LayerLayout &layout = network.layout()[l];
        const Wants need = wants(network.layers()[l], keep_all);
        Slot<T> slot;
        slot.a = take(layout.n_outputs, capacity);
        slot.z = need.z_apart ? take(layout.n_outputs, capacity) : slot.a;
        slot.delta = take(layout.n_outputs, capacity);
        if (need.mask)
            slot.mask = take(layout.n_outputs, capacity);
        slots.push_back(slot);
        scratch_needed =
            std::max(scratch_needed, scratch_size<T>(layout.n_inputs, layout.n_outputs));
    }
    scratch = take(scratch_needed, 1).data;
}

template <class T> Columns<T> Workspace<T>::take(Index width, Index columns) {
    const Index ld = padded(width);
    buffers_.emplace_back(ld * columns);
    return {buffers_.back().data(), ld};
}

template class Workspace<float>;
template class Workspace<double>;

} // namespace deltarule
