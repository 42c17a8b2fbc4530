// Streaming mean and deviation.
#include "deltarule/scaling.hpp"

#include <algorithm>
#include <cmath>

namespace deltarule {

namespace {

// Weight, means and sums of squared deviations of some rows.
struct Moments {
    double weight = 0;
    Vector<double> mean, square;
    explicit Moments(Index width)
        : mean(Vector<double>::Zero(width)), square(Vector<double>::Zero(width)) {}

    void merge(const Moments &other) {
        const double total = weight + other.weight;
        if (!(total > 0))
            return;
        const Vector<double> gap = other.mean - mean;
        mean += gap * (other.weight / total);
        square += other.square + gap.cwiseAbs2() * (weight * other.weight / total);
        weight = total;
    }
};

template <class T>
Moments block_moments(Index width, Index n, Columns<const T> block, const T *weight) {
    Moments m(width);
    for (Index j = 0; j < n; ++j) {
        const double w = weight ? static_cast<double>(weight[j]) : 1.0;
        m.weight += w;
        m.mean += w * ConstVectorMap<T>(block.column(j), width).template cast<double>();
    }
    if (!(m.weight > 0))
        return Moments(width);
    m.mean /= m.weight;
    for (Index j = 0; j < n; ++j) {
        const double w = weight ? static_cast<double>(weight[j]) : 1.0;
        m.square += w * (ConstVectorMap<T>(block.column(j), width).template cast<double>() - m.mean)
                            .cwiseAbs2();
    }
    return m;
}

// Reads all rows in order; false if abandoned.
template <class T>
bool stream(const Source<T> &source, const std::string &name, const Source<T> *weight,
            const std::string &weight_name, const Poll &poll, Moments &all) {
    const Index width = source.width(), ld = padded(width);
    Buffer<T> block(ld * kRowBlock), weights(kRowBlock);
    Buffer<Index> rows(kRowBlock);
    for (Index first = 0; first < source.rows(); first += kRowBlock) {
        if (first > 0 && poll && poll())
            return false;
        const Index n = std::min(kRowBlock, source.rows() - first);
        for (Index j = 0; j < n; ++j)
            rows[j] = first + j;
        if (!source.gather(rows.data(), n, block.data(), ld, Check::finite))
            refuse(source, name);
        if (weight && !weight->gather(rows.data(), n, weights.data(), 1, Check::finite))
            refuse(*weight, weight_name);
        all.merge(
            block_moments<T>(width, n, {block.data(), ld}, weight ? weights.data() : nullptr));
    }
    return true;
}

} // namespace

template <class T>
bool fit_scaling(Network<T> &network, const Examples<T> &data, const Poll &poll) {
    struct Fitted {
        std::size_t layer;
        Moments moments;
    };
    std::vector<Fitted> results;
    for (std::size_t l = 0; l < network.layers().size(); ++l) {
        if (network.fitted[l])
            continue;
        const bool inputs = std::holds_alternative<Standardize<T>>(network.layers()[l]);
        const Source<T> &source = inputs ? *data.X : *data.y;
        if (source.width() != network.layout()[l].n_inputs)
            throw std::invalid_argument("a Rescale output needs targets with one column for each "
                                        "of its " +
                                        std::to_string(network.layout()[l].n_inputs) +
                                        " outputs, got " + std::to_string(source.width()));
        Moments moments(source.width());
        if (!stream(source, inputs ? data.names.X : data.names.y, data.weight, data.names.weight,
                    poll, moments))
            return false;
        results.push_back({l, std::move(moments)});
    }
    for (const auto &[layer, moments] : results) {
        const LayerLayout &layout = network.layout()[layer];
        T *mean = network.state() + layout.state_offset, *scale = mean + layout.n_inputs;
        for (Index i = 0; i < layout.n_inputs; ++i) {
            const double variance = moments.weight > 0 ? moments.square[i] / moments.weight : 0;
            const double deviation = std::sqrt(variance), size = std::abs(moments.mean[i]);
            // Rounding of the mean alone gives a constant column a deviation of this order.
            const bool spread = deviation > 4 * double(Eigen::NumTraits<T>::epsilon()) * size &&
                                static_cast<T>(deviation) > 0;
            mean[i] = static_cast<T>(moments.mean[i]);
            scale[i] = spread ? static_cast<T>(deviation) : T(1);
        }
        network.fitted[layer] = true;
    }
    return true;
}

template bool fit_scaling<float>(Network<float> &, const Examples<float> &, const Poll &);
template bool fit_scaling<double>(Network<double> &, const Examples<double> &, const Poll &);

} // namespace deltarule
