// The average of the parameters, a packet at a time.
#include "deltarule/average.hpp"

#include "deltarule/simd.hpp"

#include <algorithm>

namespace deltarule {

template <class T>
Average<T>::Average(double decay, Index n_parameters)
    : apart(decay > 0 ? n_parameters : 0), epoch_start(decay > 0 ? n_parameters : 0),
      decay_(decay) {}

template <class T> void Average<T>::begin_step(std::int64_t t) {
    const double step = static_cast<double>(t);
    rest_ = 1 - std::min(decay_, (1 + step) / (10 + step));
}

template <class T> void Average<T>::update(Index first, Index count, const T *theta) {
    using V = simd::Packet<T>;
    constexpr Index kP = simd::kLanes<T>;
    T *const average = apart.data() + first;
    const V rest = simd::broadcast<V>(static_cast<T>(rest_));
    const auto nearer = [&](const V &old, const V &x) {
        return simd::madd(rest, simd::sub(x, old), old);
    };
    Index i = 0;
    for (; i + kP <= count; i += kP)
        simd::store(average + i, nearer(simd::load<V>(average + i), simd::load<V>(theta + i)));
    if (const Index left = count - i; left > 0)
        simd::store_first(
            average + i,
            nearer(simd::load_first<V>(average + i, left), simd::load_first<V>(theta + i, left)),
            left);
}

template class Average<float>;
template class Average<double>;

} // namespace deltarule
