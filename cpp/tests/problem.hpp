// A small problem to train on: data in memory, its sources, and trainers that must end up equal.
#pragma once

#include "deltarule/trainer.hpp"

#include "values.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace check {

// Rows of random numbers, read as the library reads NumPy's.
template <class T> class Table {
  public:
    Table(Index rows, Index columns, std::uint64_t seed)
        : values(static_cast<std::size_t>(rows * columns)), rows_(rows), columns_(columns),
          source_({reinterpret_cast<const std::byte *>(values.data()),
                   sizeof(T) == 4 ? deltarule::DType::float32 : deltarule::DType::float64, false,
                   rows, columns, columns * Index{sizeof(T)}, sizeof(T)}) {
        Random(seed).fill(values.data(), rows * columns);
    }
    Table(const Table &) = delete; // the source points into the values
    Table &operator=(const Table &) = delete;

    T &operator()(Index row, Index column) {
        return values[static_cast<std::size_t>(row * columns_ + column)];
    }
    Index rows() const { return rows_; }
    const deltarule::Source<T> *source() const { return &source_; }

    std::vector<T> values;

  private:
    Index rows_, columns_;
    deltarule::StridedSource<T> source_;
};

template <class T> struct Problem {
    static constexpr Index kInputs = 9, kOutputs = 2;
    Table<T> X, y, weight;

    explicit Problem(Index rows, std::uint64_t seed = 1)
        : X(rows, kInputs, seed), y(rows, kOutputs, seed + 1), weight(rows, 1, seed + 2) {
        for (T &w : weight.values)
            w = w < T(-0.5) ? T(0) : 1 + w;
    }
    deltarule::Examples<T> examples(bool weighted = true) const {
        return {X.source(), y.source(), weighted ? weight.source() : nullptr};
    }
    static deltarule::Examples<T> none() { return {}; }
};

// The sum of squares over the outputs, from outside. It throws in call number `fails_in`.
struct SquaredError final : deltarule::LossFunction {
    explicit SquaredError(int fails_in = -1) : fails_in_(fails_in) {}
    void operator()(const deltarule::LossCall<float> &call) const override { compute(call); }
    void operator()(const deltarule::LossCall<double> &call) const override { compute(call); }
    int n_calls() const { return n_calls_; }

  private:
    template <class T> void compute(const deltarule::LossCall<T> &call) const {
        if (n_calls_++ == fails_in_)
            throw std::domain_error("from outside");
        for (Index j = 0; j < call.n; ++j) {
            call.losses[j] = 0;
            for (Index i = 0; i < call.n_outputs; ++i) {
                const T r = call.a.column(j)[i] - call.y.column(j)[i];
                call.losses[j] += static_cast<double>(r * r);
                if (call.d)
                    call.d.column(j)[i] = 2 * r;
            }
        }
    }
    int fails_in_;
    mutable int n_calls_ = 0;
};

// Everything a step can meet: packets with tails, virtual lanes, masks.
template <class T>
std::shared_ptr<deltarule::Network<T>> small_network(const std::string &hidden = "tanh") {
    using Spec = deltarule::LayerSpec;
    const auto dense = [](Index units, const std::string &activation) {
        return Spec{.kind = "dense",
                    .units = units,
                    .activation = activation,
                    .initializer = "glorot_uniform"};
    };
    const std::vector<Spec> specs = {dense(21, hidden),
                                     {.kind = "dropout", .rate = 0.25},
                                     dense(13, "relu"),
                                     dense(Problem<T>::kOutputs, "identity")};
    return std::make_shared<deltarule::Network<T>>(Problem<T>::kInputs, specs, 5);
}

// BatchNorm first, beside dense layers and dropout, and last.
template <class T> std::shared_ptr<deltarule::Network<T>> norm_network(Index units = 21) {
    using Spec = deltarule::LayerSpec;
    const Spec norm{.kind = "batch_norm"};
    const std::vector<Spec> specs = {
        norm,
        {.kind = "dense", .units = units, .initializer = "he_normal"},
        norm,
        {.kind = "activation", .activation = "silu"},
        {.kind = "dropout", .rate = 0.25},
        {.kind = "dense", .units = units, .activation = "relu", .initializer = "he_normal"},
        {.kind = "dense", .units = Problem<T>::kOutputs, .initializer = "he_normal"},
        norm};
    return std::make_shared<deltarule::Network<T>>(Problem<T>::kInputs, specs, 5);
}

// Large enough to be worth several threads, and for one layer to be shared out by its units.
template <class T> std::shared_ptr<deltarule::Network<T>> large_network() {
    using Spec = deltarule::LayerSpec;
    const std::vector<Spec> specs = {
        {.kind = "dense", .units = 401, .activation = "tanh", .initializer = "he_normal"},
        {.kind = "dropout", .rate = 0.25},
        {.kind = "dense", .units = 370, .activation = "relu", .initializer = "he_normal"},
        {.kind = "dense", .units = Problem<T>::kOutputs, .initializer = "he_normal"}};
    return std::make_shared<deltarule::Network<T>>(Problem<T>::kInputs, specs, 5);
}

// Residuals, one in another, with norms inside and around them.
template <class T>
std::shared_ptr<deltarule::Network<T>> residual_network(Index units = 21, Index inside = 13) {
    using Spec = deltarule::LayerSpec;
    const auto dense = [](Index width, const std::string &activation) {
        return Spec{.kind = "dense",
                    .units = width,
                    .activation = activation,
                    .initializer = "glorot_uniform"};
    };
    const Spec norm{.kind = "layer_norm"}, keep{.kind = "keep"}, add{.kind = "add"};
    const std::vector<Spec> specs = {dense(units, "tanh"),
                                     keep,
                                     norm,
                                     dense(inside, "silu"),
                                     {.kind = "dropout", .rate = 0.25},
                                     keep,
                                     dense(inside, "tanh"),
                                     add,
                                     dense(units, "identity"),
                                     add,
                                     norm,
                                     dense(Problem<T>::kOutputs, "identity")};
    return std::make_shared<deltarule::Network<T>>(Problem<T>::kInputs, specs, 5);
}

// Tables for two inputs, one of them of several tiles, before dense layers.
template <class T>
std::shared_ptr<deltarule::Network<T>> coded_network(Index units = 21, Index n_levels = 900) {
    using Spec = deltarule::LayerSpec;
    const std::vector<Spec> specs = {
        {.kind = "embedding", .columns = {4, 1}, .n_levels = {n_levels, 3}, .dimension = 5},
        {.kind = "dense", .units = units, .activation = "tanh", .initializer = "he_normal"},
        {.kind = "dropout", .rate = 0.25},
        {.kind = "dense", .units = units, .activation = "relu", .initializer = "he_normal"},
        {.kind = "dense", .units = Problem<T>::kOutputs, .initializer = "he_normal"}};
    return std::make_shared<deltarule::Network<T>>(Problem<T>::kInputs, specs, 5);
}

// Rows for coded_network.
template <class T> void put_codes(Table<T> &X, Index n_levels = 900) {
    for (Index row = 0; row < X.rows(); ++row) {
        X(row, 4) = T(row * row % n_levels);
        X(row, 1) = T(row % 3);
    }
}

inline deltarule::ScheduleSpec waves() {
    return {.kind = deltarule::ScheduleKind::cosine,
            .steps = 90,
            .restarts = 2,
            .t_mult = 1.5,
            .warm_up_steps = 5};
}

inline std::vector<deltarule::OptimizerSpec> optimizers() {
    using deltarule::OptimizerKind;
    return {{.kind = OptimizerKind::sgd, .learning_rate = 0.05},
            {.kind = OptimizerKind::sgd, .learning_rate = 0.05, .momentum = 0.9},
            {.kind = OptimizerKind::sgd, .momentum = 0.9, .nesterov = true, .l2 = 0.01},
            {.kind = OptimizerKind::adam, .learning_rate = 0.01},
            {.kind = OptimizerKind::adam, .l2 = 0.01, .weight_decay = 0.1},
            {.kind = OptimizerKind::adam, .amsgrad = true, .clip_norm = 0.5},
            {.kind = OptimizerKind::rmsprop, .momentum = 0.5, .centered = true},
            {.kind = OptimizerKind::adagrad, .initial_accumulator = 0.1, .clip_value = 0.01},
            {.kind = OptimizerKind::nadam, .clip_norm = 0.2, .clip_value = 0.05},
            {.kind = OptimizerKind::lion, .learning_rate = 0.001, .weight_decay = 0.1},
            {.kind = OptimizerKind::irprop_plus, .l2 = 0.01},
            {.kind = OptimizerKind::adam, .schedule = check::waves()}};
}

// Whether two trainers stand at the same place with the same bits.
template <class T> bool same(deltarule::Trainer<T> &a, deltarule::Trainer<T> &b) {
    const auto vectors_a = a.vectors(), vectors_b = b.vectors();
    bool equal = vectors_a.size() == vectors_b.size() && a.records.size() == b.records.size() &&
                 a.optimizer().n_steps() == b.optimizer().n_steps() &&
                 a.network().n_steps == b.network().n_steps && a.state.step == b.state.step &&
                 a.state.epoch == b.state.epoch && a.state.position == b.state.position &&
                 same_bits(a.state.loss_sum, b.state.loss_sum) &&
                 same_bits(a.state.weight_sum, b.state.weight_sum) &&
                 same_bits(a.state.best_loss, b.state.best_loss) &&
                 a.state.kept_epoch == b.state.kept_epoch &&
                 same_bits(a.state.kept_loss, b.state.kept_loss) &&
                 same_bits(a.network().theta(), b.network().theta(), a.network().n_parameters()) &&
                 same_bits(a.network().state(), b.network().state(), a.network().n_state());
    for (std::size_t i = 0; equal && i < vectors_a.size(); ++i)
        equal = same_bits(vectors_a[i].second->data(), vectors_b[i].second->data(),
                          vectors_a[i].second->size());
    const auto scalars_a = a.optimizer().scalars(), scalars_b = b.optimizer().scalars();
    for (std::size_t i = 0; equal && i < scalars_a.size(); ++i)
        equal = same_bits(*scalars_a[i].second, *scalars_b[i].second);
    for (std::size_t i = 0; equal && i < a.records.size(); ++i)
        equal = same_bits(a.records[i].loss, b.records[i].loss) &&
                same_bits(a.records[i].validation_loss, b.records[i].validation_loss);
    return equal;
}

} // namespace check
