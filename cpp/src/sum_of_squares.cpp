// Σ x², block by block.
#include "deltarule/sum_of_squares.hpp"

#include <algorithm>

namespace deltarule {

namespace {

constexpr Index kBlock = 4096;
constexpr Index kWorthAPhase = 8; // blocks: fewer are summed while the others would be woken

// In 16 interleaved sums, which the compiler turns into packets of any width with the same bits.
template <class T> double sum_of_squares(const T *x, Index count) {
    constexpr Index kSums = 16;
    double sums[kSums] = {};
    Index i = 0;
    for (; i + kSums <= count; i += kSums)
        for (Index q = 0; q < kSums; ++q)
            sums[q] += static_cast<double>(x[i + q]) * static_cast<double>(x[i + q]);
    for (Index q = 0; i + q < count; ++q)
        sums[q] += static_cast<double>(x[i + q]) * static_cast<double>(x[i + q]);
    double all = 0;
    for (const double sum : sums)
        all += sum;
    return all;
}

} // namespace

template <class T> void SumOfSquares<T>::add_blocks(Index first, Index count) {
    for (Index done = 0; done < count; done += kBlock)
        blocks_.push_back({first + done, std::min(kBlock, count - done), 0});
}

template <class T> SumOfSquares<T> SumOfSquares<T>::of_weights(const Network<T> &network) {
    SumOfSquares result;
    for (const LayerLayout &layout : network.layout())
        result.add_blocks(layout.theta_offset, layout.n_weights());
    return result;
}

template <class T> SumOfSquares<T> SumOfSquares<T>::of_all(const Network<T> &network) {
    SumOfSquares result;
    result.add_blocks(0, network.n_parameters());
    return result;
}

template <class T> double SumOfSquares<T>::operator()(const T *values, Team &team) {
    const auto n_blocks = static_cast<Index>(blocks_.size());
    const auto share = [&](int t, int n_threads) {
        for (Index i = n_blocks * t / n_threads; i < n_blocks * (t + 1) / n_threads; ++i) {
            Block &block = blocks_[static_cast<std::size_t>(i)];
            block.sum = sum_of_squares(values + block.first, block.count);
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

template class SumOfSquares<float>;
template class SumOfSquares<double>;

} // namespace deltarule
