// Σ |x| and Σ x², block by block.
#include "deltarule/parameter_sum.hpp"

#include <algorithm>
#include <cmath>

namespace deltarule {

namespace {

constexpr Index kBlock = 4096;
constexpr Index kWorthAPhase = 8; // blocks: fewer are summed while the others would be woken

// In 16 interleaved sums, which the compiler turns into packets of any width with the same bits.
template <class T, class F> double sum_of(const T *x, Index count, const F &f) {
    constexpr Index kSums = 16;
    double sums[kSums] = {};
    Index i = 0;
    for (; i + kSums <= count; i += kSums)
        for (Index q = 0; q < kSums; ++q)
            sums[q] += f(static_cast<double>(x[i + q]));
    for (Index q = 0; i + q < count; ++q)
        sums[q] += f(static_cast<double>(x[i + q]));
    double all = 0;
    for (const double sum : sums)
        all += sum;
    return all;
}

} // namespace

template <class T> void ParameterSum<T>::add_blocks(Index first, Index count, Factors factors) {
    for (Index done = 0; done < count; done += kBlock)
        blocks_.push_back({first + done, std::min(kBlock, count - done), factors, 0});
}

template <class T> ParameterSum<T> ParameterSum<T>::squares_of_weights(const Network<T> &network) {
    ParameterSum result;
    for (const LayerLayout &layout : network.layout())
        result.add_blocks(layout.theta_offset, layout.n_weights(), {0, 1});
    return result;
}

// Layers that are trained and follow each other are one part.
template <class T> ParameterSum<T> ParameterSum<T>::squares_of_trained(const Network<T> &network) {
    ParameterSum result;
    Index first = 0, end = 0;
    for (const LayerLayout &layout : network.layout())
        if (layout.n_parameters > 0 && !layout.training.frozen()) {
            if (layout.theta_offset != end) {
                result.add_blocks(first, end - first, {0, 1});
                first = layout.theta_offset;
            }
            end = layout.theta_offset + layout.n_parameters;
        }
    result.add_blocks(first, end - first, {0, 1});
    return result;
}

template <class T> ParameterSum<T> ParameterSum<T>::penalties_of_layers(const Network<T> &network) {
    ParameterSum result;
    for (const LayerLayout &layout : network.layout())
        if (layout.training.l1 != 0 || layout.training.l2 != 0)
            result.add_blocks(layout.theta_offset, layout.n_weights(),
                              {layout.training.l1, 0.5 * layout.training.l2});
    return result;
}

template <class T> double ParameterSum<T>::operator()(const T *values, Team &team) {
    const auto n_blocks = static_cast<Index>(blocks_.size());
    const auto share = [&](int t, int n_threads) {
        for (Index i = n_blocks * t / n_threads; i < n_blocks * (t + 1) / n_threads; ++i) {
            Block &block = blocks_[static_cast<std::size_t>(i)];
            const T *x = values + block.first;
            block.sum = 0;
            if (const double factor = block.factors.of_squares; factor != 0)
                block.sum = factor * sum_of(x, block.count, [](double v) { return v * v; });
            if (const double factor = block.factors.of_sizes; factor != 0)
                block.sum += factor * sum_of(x, block.count, [](double v) { return std::abs(v); });
        }
    };
    if (n_blocks < kWorthAPhase)
        share(0, 1);
    else
        team.run([&](int t) { share(t, team.size()); });
    double all = 0;
    for (const Block &block : blocks_)
        all += block.sum;
    return all;
}

template class ParameterSum<float>;
template class ParameterSum<double>;

} // namespace deltarule
