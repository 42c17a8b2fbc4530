// The architecture and its parameters. forward, backward and gradient are const and write only to a
// Workspace, so that any number of threads may predict at once.
#pragma once

#include "deltarule/layer_training.hpp"
#include "deltarule/layers.hpp"
#include "deltarule/share.hpp"

#include <string>
#include <vector>

namespace deltarule {

template <class T> class Workspace;

// What a layer is asked to be; the fields that its kind does not use are ignored.
struct LayerSpec {
    // "dense" "activation" "standardize" "rescale" "dropout" "embedding" "layer_norm" "batch_norm";
    // the start and the end of a residual: "keep" "add"
    std::string kind;
    Index units = 0;
    std::string activation = "identity";
    double alpha = 0;
    double rate = 0;
    std::string initializer = "zeros";
    double gain = 1;
    std::vector<Index> columns = {}, n_levels = {}; // embedding
    Index dimension = 0;
    double momentum = 0.1; // batch_norm
    double epsilon = 1e-5; // layer_norm, batch_norm
    LayerTraining training = {};
};

// Where a layer's numbers lie.
struct LayerLayout {
    Index n_inputs, n_outputs;
    Index theta_offset, n_parameters;
    Index state_offset, n_state;
    WeightShape weights; // the first of the parameters
    LayerTraining training;
    Index n_weights() const { return weights.rows * weights.columns; }
};

template <class T> class Network {
  public:
    // Draws the initial weights from (seed, Stream::initial_weights), those of an Embedding normal
    // with deviation 1/√dimension; biases start at zero, norms at γ = 1, β = 0. Throws
    // std::invalid_argument for a list of layers that is no network.
    Network(Index n_inputs, const std::vector<LayerSpec> &specs, std::uint64_t seed);

    Index n_inputs() const { return n_inputs_; }
    Index n_outputs() const { return layout_.back().n_outputs; }
    Index n_parameters() const { return theta_.size(); }
    // Those of tables, of which a row reads few: the work of a row grows with the others only.
    Index n_looked_up() const { return embedding() ? layout_.front().n_parameters : 0; }
    std::uint64_t seed() const { return seed_; }
    // For trainers made from now on; the weights stay.
    void set_seed(std::uint64_t seed) { seed_ = seed; }
    const std::vector<LayerLayout> &layout() const { return layout_; }
    const std::vector<Layer<T>> &layers() const { return layers_; }
    ActivationKind output_activation() const;
    // The first layer, if it reads codes; else null.
    const Embedding<T> *embedding() const { return std::get_if<Embedding<T>>(&layers_.front()); }

    // Layer l, if it is a BatchNorm; else null. Such a layer is shared out by its units; in
    // training its columns are the whole batch, of at least two rows.
    const BatchNorm<T> *batch_norm(std::size_t l) const {
        return std::get_if<BatchNorm<T>>(&layers_[l]);
    }
    bool has_batch_norm() const { return has_batch_norm_; }
    // Says how layer l is trained from the next call that trains on; n_training_changes counts.
    void set_training(std::size_t l, const LayerTraining &training);
    std::uint64_t n_training_changes() const { return n_training_changes_; }
    // The settings of the layer whose parameter this is.
    const LayerTraining &training_of(Index parameter) const;

    // All trainable numbers, W_1, b_1, W_2, b_2 ..., without padding (contract 1); and what is not
    // trained.
    T *theta() { return theta_.data(); }
    const T *theta() const { return theta_.data(); }
    T *state() { return state_.data(); }
    const T *state() const { return state_.data(); }
    Index n_state() const { return state_.size(); }

    std::uint64_t n_steps = 0; // updates ever made
    // Per layer: false for a Standardize or Rescale that still waits for its statistics.
    std::vector<bool> fitted;

    // Columns [first, first + n) of the workspace, whose input holds A_0: fills every slot's z and
    // a. With pass.logits the output layer's activation is left out.
    // Each thread has a `scratch` of its own.
    void forward(Workspace<T> &w, Index first, Index n, const Pass &pass, T *scratch) const;

    // From ∂L/∂a_L in the last slot's delta (∂L/∂z_L with pass.logits): every delta down to the
    // lowest layer with parameters (with pass.skip_frozen: that is not frozen), or all of them and
    // ∂L/∂A_0 in w.input_gradient with `whole`.
    void backward(Workspace<T> &w, Index first, Index n, const Pass &pass, bool whole,
                  T *scratch) const;

    // The same for layer l alone; `ahead` is fetched meanwhile.
    void forward(std::size_t l, Workspace<T> &w, Index first, Index n, const Pass &pass, T *scratch,
                 Ahead *ahead = nullptr) const;
    void backward(std::size_t l, Workspace<T> &w, Index first, Index n, const Pass &pass,
                  bool whole, T *scratch) const;
    std::size_t lowest(const Pass &pass, bool whole) const {
        return whole ? 0 : pass.skip_frozen ? lowest_not_frozen_ : lowest_trained_;
    }

    // Whether n_threads had better share layer l out by its units, each with all n columns: so
    // each fetches and packs only its part of a large W, but needs what all have made of the
    // columns. Worth it where W is large against that.
    bool splits(std::size_t l, const Pass &pass, Index n, int n_threads) const;

    // What the one of n_threads that has this share had better fetch before the first Dense from
    // layer l on goes forward over n columns, all of its W: first what others have updated, then
    // its own, which they have fetched meanwhile. Nothing if they split that layer.
    Ahead ahead_of(std::size_t l, const Pass &pass, Index n, const Share &share,
                   int n_threads) const;

    // A share of the units of such a layer over columns [first, first + n): a; delta from ∂L/∂a to
    // ∂L/∂z in all units; the delta below it. Those by share return what part of all units it was.
    double forward_units(std::size_t l, Workspace<T> &w, Index first, Index n, const Pass &pass,
                         const Share &share, T *scratch) const;
    void slope(std::size_t l, Workspace<T> &w, Index first, Index n, const Pass &pass) const;
    double recursion_units(std::size_t l, Workspace<T> &w, Index first, Index n, const Pass &pass,
                           const Share &share, T *scratch) const;

    // Layer l, a BatchNorm, forward or back over columns [0, n): a share of its units, of which
    // each stands alone. `stop` is asked now and then: true abandons the rest.
    void norm_forward(std::size_t l, Workspace<T> &w, Index n, const Pass &pass, const Share &share,
                      FunctionRef<bool()> stop) const;
    void norm_backward(std::size_t l, Workspace<T> &w, Index n, const Pass &pass, bool whole,
                       const Share &share, FunctionRef<bool()> stop) const;
    // The running statistics of all such layers, after a step on the n rows of the workspace.
    void update_statistics(const Workspace<T> &w, Index n);

    // A share of ∂L/∂θ over columns [first, first + n), n <= 256; with pass.skip_frozen that of
    // frozen layers is left out.
    void gradient(Workspace<T> &w, Index first, Index n, const Pass &pass,
                  const GradientSink<T> &sink, const Share &share, T *scratch) const;
    // That of layer l alone.
    void gradient(std::size_t l, Workspace<T> &w, Index first, Index n, const Pass &pass,
                  const GradientSink<T> &sink, const Share &share, T *scratch) const;

  private:
    void add_layer(const LayerSpec &spec, Index width);
    void close_residual(Index width);
    void draw_weights(std::size_t layer, const LayerSpec &spec);
    std::size_t lowest_layer(bool with_frozen) const;
    Numbers<T> numbers(std::size_t layer, T *scratch) const;
    Pass pass_of(std::size_t layer, const Pass &pass) const;
    Columns<const T> input_of(std::size_t layer, Workspace<T> &w, Index first) const;
    Columns<T> below(std::size_t layer, Workspace<T> &w, Index first, const Pass &pass,
                     bool whole) const;
    Index column_at(std::size_t layer, double cut) const;

    Index n_inputs_;
    std::uint64_t seed_;
    std::vector<Layer<T>> layers_;
    std::vector<LayerLayout> layout_;
    std::size_t lowest_trained_ = 0; // below it no delta is needed for the gradient
    bool has_batch_norm_ = false;
    std::size_t lowest_not_frozen_ = 0;
    std::uint64_t n_training_changes_ = 0;
    Buffer<T> theta_, state_;
};

} // namespace deltarule
