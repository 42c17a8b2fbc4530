// Building a network, and passing columns through it.
#include "deltarule/network.hpp"

#include "deltarule/workspace.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <stdexcept>

namespace deltarule {

namespace {

// Glorot: K. Glorot, Y. Bengio, 2010, variance 2 / (inputs + outputs).
// He: K. He et al., 2015, variance 2 / inputs.
// LeCun: Y. LeCun et al., 1998, variance 1 / inputs.
double initial_deviation(const LayerSpec &spec, Index inputs, Index outputs) {
    const std::string &name = spec.initializer;
    const double in = static_cast<double>(inputs), out = static_cast<double>(outputs);
    if (name == "zeros")
        return 0;
    if (name == "glorot_uniform" || name == "glorot_normal")
        return spec.gain * std::sqrt(2 / (in + out));
    if (name == "he_uniform" || name == "he_normal")
        return spec.gain * std::sqrt(2 / in);
    if (name == "lecun_uniform" || name == "lecun_normal")
        return spec.gain * std::sqrt(1 / in);
    throw std::invalid_argument("unknown initializer '" + name + "'");
}

} // namespace

template <class T>
Network<T>::Network(Index n_inputs, const std::vector<LayerSpec> &specs, std::uint64_t seed)
    : n_inputs_(n_inputs), seed_(seed) {
    if (n_inputs < 1 || specs.empty())
        throw std::invalid_argument("a network needs at least one input and one layer");
    Index width = n_inputs;
    for (std::size_t l = 0; l < specs.size(); ++l) {
        if (specs[l].kind == "standardize" && l != 0)
            throw std::invalid_argument("Standardize must be the first layer after Input, found at "
                                        "layer " +
                                        std::to_string(l));
        if (specs[l].kind == "embedding" && l != 0)
            throw std::invalid_argument("Embedding must be the first layer after Input, found at "
                                        "layer " +
                                        std::to_string(l));
        if (specs[l].kind == "rescale" && l + 1 != specs.size())
            throw std::invalid_argument("Rescale must be the last layer, found at layer " +
                                        std::to_string(l) + " of " + std::to_string(specs.size()));
        add_layer(specs[l], width);
        width = layout_.back().n_outputs;
    }
    for (std::size_t l = 0; l < layers_.size(); ++l)
        if (const auto *keep = std::get_if<KeepInput<T>>(&layers_[l]); keep && keep->end == 0)
            throw std::invalid_argument("the residual that starts at layer " + std::to_string(l) +
                                        " has no end");
    theta_ = Buffer<T>(layout_.back().theta_offset + layout_.back().n_parameters);
    state_ = Buffer<T>(layout_.back().state_offset + layout_.back().n_state);
    lowest_trained_ = lowest_layer(true);
    lowest_not_frozen_ = lowest_layer(false);
    for (std::size_t l = 0; l < specs.size(); ++l) {
        draw_weights(l, specs[l]);
        T *scale = state() + layout_[l].state_offset + layout_[l].n_state / 2;
        std::fill(scale, scale + layout_[l].n_state / 2, T(1));
        if (specs[l].kind == "layer_norm" || specs[l].kind == "batch_norm")
            std::fill_n(theta() + layout_[l].theta_offset, layout_[l].n_outputs, T(1)); // γ
    }
}

// The end of the residual that was started last.
template <class T> void Network<T>::close_residual(Index width) {
    for (std::size_t l = layers_.size(); l-- > 0;) {
        auto *keep = std::get_if<KeepInput<T>>(&layers_[l]);
        if (!keep || keep->end != 0)
            continue;
        if (keep->outputs != width)
            throw std::invalid_argument("a residual must keep its width, got " +
                                        std::to_string(keep->outputs) + " in and " +
                                        std::to_string(width) + " out");
        keep->end = layers_.size();
        layers_.push_back(AddKept<T>{width, width, l});
        return;
    }
    throw std::invalid_argument("the end of a residual without a start, found at layer " +
                                std::to_string(layers_.size()));
}

template <class T> void Network<T>::add_layer(const LayerSpec &spec, Index width) {
    const Activation activation{activation_kind(spec.activation), spec.alpha};
    if (spec.kind == "dense")
        layers_.push_back(Dense<T>{width, spec.units, activation});
    else if (spec.kind == "activation")
        layers_.push_back(ActivationLayer<T>{width, width, activation});
    else if (spec.kind == "standardize")
        layers_.push_back(Standardize<T>{width, width});
    else if (spec.kind == "rescale")
        layers_.push_back(Rescale<T>{width, width});
    else if (spec.kind == "dropout")
        layers_.push_back(Dropout<T>{width, width, spec.rate, layers_.size()});
    else if (spec.kind == "embedding")
        layers_.push_back(Embedding<T>(width, spec.columns, spec.n_levels, spec.dimension));
    else if (spec.kind == "layer_norm")
        layers_.push_back(LayerNorm<T>{width, width, spec.epsilon});
    else if (spec.kind == "batch_norm")
        layers_.push_back(BatchNorm<T>{width, width, spec.momentum, spec.epsilon});
    else if (spec.kind == "keep")
        layers_.push_back(KeepInput<T>{width, width, 0});
    else if (spec.kind == "add")
        close_residual(width);
    else
        throw std::invalid_argument("unknown kind of layer '" + spec.kind + "'");
    const bool is_norm = std::holds_alternative<BatchNorm<T>>(layers_.back());
    has_batch_norm_ = has_batch_norm_ || is_norm;
    const Index theta =
        layout_.empty() ? 0 : layout_.back().theta_offset + layout_.back().n_parameters;
    const Index state = layout_.empty() ? 0 : layout_.back().state_offset + layout_.back().n_state;
    std::visit(
        [&](const auto &layer) {
            WeightShape weights;
            if constexpr (requires { layer.weights(); })
                weights = layer.weights();
            layout_.push_back({layer.inputs, layer.outputs, theta, layer.n_parameters(), state,
                               layer.n_state(), weights, spec.training});
            fitted.push_back(is_norm || layer.n_state() == 0);
        },
        layers_.back());
}

template <class T> void Network<T>::draw_weights(std::size_t l, const LayerSpec &spec) {
    const LayerLayout &layout = layout_[l];
    const Index size = layout.n_weights();
    if (size == 0)
        return;
    const bool looked_up = spec.kind == "embedding";
    const double deviation = looked_up ? 1 / std::sqrt(static_cast<double>(spec.dimension))
                                       : initial_deviation(spec, layout.n_inputs, layout.n_outputs);
    const bool normal = looked_up || spec.initializer.ends_with("_normal");
    T *W = theta() + layout.theta_offset;
    for (Index i = 0; i < size && deviation != 0; i += 4) {
        const Words words =
            draw(seed_, Stream::initial_weights, {0, l, static_cast<std::uint64_t>(i / 4), 0});
        double x[4];
        for (std::size_t q = 0; q < 4; q += 2) {
            if (normal) {
                const auto pair = to_normals(words[q], words[q + 1]);
                x[q] = pair[0];
                x[q + 1] = pair[1];
            } else { // uniform in ±√3, of deviation 1
                x[q] = std::sqrt(3.0) * (2 * to_unit_interval(words[q]) - 1);
                x[q + 1] = std::sqrt(3.0) * (2 * to_unit_interval(words[q + 1]) - 1);
            }
        }
        for (Index q = 0; q < std::min<Index>(4, size - i); ++q)
            W[i + q] = static_cast<T>(deviation * x[q]);
    }
}

// The lowest layer with parameters, and the lowest of those that are not frozen.
template <class T> std::size_t Network<T>::lowest_layer(bool with_frozen) const {
    const auto wanted = [&](const LayerLayout &layer) {
        return layer.n_parameters > 0 && (with_frozen || !layer.training.frozen());
    };
    return static_cast<std::size_t>(std::ranges::find_if(layout_, wanted) - layout_.begin());
}

template <class T> void Network<T>::set_training(std::size_t l, const LayerTraining &training) {
    layout_[l].training = training;
    ++n_training_changes_;
    lowest_not_frozen_ = lowest_layer(false); // no other: a thread may look for gradients meanwhile
}

// Of layers that start at the same place all but the last are without parameters.
template <class T> const LayerTraining &Network<T>::training_of(Index parameter) const {
    const auto after = std::ranges::upper_bound(layout_, parameter, {}, &LayerLayout::theta_offset);
    return std::prev(after)->training;
}

template <class T> ActivationKind Network<T>::output_activation() const {
    if (const auto *dense = std::get_if<Dense<T>>(&layers_.back()))
        return dense->activation.kind;
    if (const auto *layer = std::get_if<ActivationLayer<T>>(&layers_.back()))
        return layer->activation.kind;
    return ActivationKind::identity;
}

template <class T> Numbers<T> Network<T>::numbers(std::size_t l, T *scratch) const {
    return {theta() + layout_[l].theta_offset, state() + layout_[l].state_offset, scratch};
}

// Only the output layer leaves its activation out.
template <class T> Pass Network<T>::pass_of(std::size_t l, const Pass &pass) const {
    Pass here = pass;
    here.logits = pass.logits && l + 1 == layers_.size();
    return here;
}

template <class T>
Columns<const T> Network<T>::input_of(std::size_t l, Workspace<T> &w, Index first) const {
    const Columns<const T> below = l == 0 ? w.input : w.slots[l - 1].a;
    return {below.column(first), below.ld};
}

template <class T>
void Network<T>::forward(std::size_t l, Workspace<T> &w, Index first, Index n, const Pass &pass,
                         T *scratch, Ahead *ahead) const {
    Numbers<T> p = numbers(l, scratch);
    p.ahead = ahead;
    std::visit(
        [&](const auto &layer) {
            layer.forward(p, input_of(l, w, first), SlotFrom(w.slots[l], first), n,
                          pass_of(l, pass));
        },
        layers_[l]);
}

template <class T>
void Network<T>::backward(std::size_t l, Workspace<T> &w, Index first, Index n, const Pass &pass,
                          bool whole, T *scratch) const {
    std::visit(
        [&](const auto &layer) {
            layer.backward(numbers(l, scratch), input_of(l, w, first), SlotFrom(w.slots[l], first),
                           below(l, w, first, pass, whole), n, pass_of(l, pass));
        },
        layers_[l]);
}

// Where ∂L/∂a of the layer below goes, if it is needed.
template <class T>
Columns<T> Network<T>::below(std::size_t l, Workspace<T> &w, Index first, const Pass &pass,
                             bool whole) const {
    if (l == lowest(pass, false) && !whole)
        return {};
    const Columns<T> d_in = l == 0 ? w.input_gradient : w.slots[l - 1].delta;
    return {d_in.column(first), d_in.ld};
}

template <class T>
void Network<T>::forward(Workspace<T> &w, Index first, Index n, const Pass &pass,
                         T *scratch) const {
    for (std::size_t l = 0; l < layers_.size(); ++l)
        forward(l, w, first, n, pass, scratch);
}

template <class T>
void Network<T>::backward(Workspace<T> &w, Index first, Index n, const Pass &pass, bool whole,
                          T *scratch) const {
    for (std::size_t l = layers_.size(); l-- > lowest(pass, whole);)
        backward(l, w, first, n, pass, whole, scratch);
}

template <class T> void Network<T>::update_statistics(const Workspace<T> &w, Index n) {
    for (std::size_t l = 0; l < layers_.size(); ++l)
        if (const BatchNorm<T> *norm = batch_norm(l))
            norm->update_statistics(w.slots[l], n, state() + layout_[l].state_offset);
}

template class Network<float>;
template class Network<double>;

} // namespace deltarule
