// Activation functions applied to columns of a batch.
#include "deltarule/activation.hpp"

#include <array>
#include <stdexcept>

namespace deltarule {

namespace {

constexpr std::array<std::string_view, 13> kNames = {
    "identity", "sigmoid", "tanh", "relu",     "leaky_relu", "elu",    "selu",
    "silu",     "gelu",    "mish", "softplus", "exp",        "softmax"};

// a = e^(z − max z) / Σ e^(z − max z), one column
template <class T> void softmax_column(Index rows, const T *z, T *a) {
    using V = simd::Packet<T>;
    constexpr T kLowest = -std::numeric_limits<T>::infinity();
    T largest = kLowest;
    for (Index i = 0; i < rows; ++i)
        largest = z[i] > largest || z[i] != z[i] ? z[i] : largest;
    const V shift = simd::broadcast<V>(largest);
    simd::Lanes16<T> sums(T(0));
    for (Index i = 0; i < rows; i += 16)
        sums.each([&](V &sum, Index offset) {
            const Index count = simd::lanes_before<T>(rows, i + offset);
            if (count <= 0)
                return;
            const V e = simd::exp(simd::sub(simd::load_first<V>(z + i + offset, count), shift));
            simd::store_first(a + i + offset, e, count);
            sum = simd::add(sum, simd::load_first<V>(a + i + offset, count));
        });
    const V total = simd::broadcast<V>(sums.sum());
    for (Index i = 0; i < rows; i += simd::kLanes<T>)
        simd::store(a + i, simd::div(simd::load<V>(a + i), total));
}

// d ← a ⊙ (d − Σ a d), one column
template <class T> void softmax_slope_column(Index rows, const T *a, T *d) {
    using V = simd::Packet<T>;
    simd::Lanes16<T> sums(T(0));
    for (Index i = 0; i < rows; i += 16)
        sums.each([&](V &sum, Index offset) {
            const Index count = simd::lanes_before<T>(rows, i + offset);
            if (count > 0)
                sum = simd::madd(simd::load_first<V>(a + i + offset, count),
                                 simd::load_first<V>(d + i + offset, count), sum);
        });
    const V dot = simd::broadcast<V>(sums.sum());
    for (Index i = 0; i < rows; i += simd::kLanes<T>)
        simd::store(d + i, simd::mul(simd::load<V>(a + i), simd::sub(simd::load<V>(d + i), dot)));
}

// Loops below work on variables of their own: a store of a packet may alias anything that has an
// address, such as what a lambda captured, which would be read again and again.

// Columns without a gap between their last packet and the next column are one long column.
template <class T> bool gapless(Index rows, Index ld) {
    return rows <= ld && ld - rows < simd::kLanes<T> && ld % simd::kLanes<T> == 0;
}

} // namespace

ActivationKind activation_kind(std::string_view name) {
    for (std::size_t i = 0; i < kNames.size(); ++i)
        if (kNames[i] == name)
            return static_cast<ActivationKind>(i);
    throw std::invalid_argument("unknown activation '" + std::string(name) + "'");
}

std::string_view activation_name(ActivationKind kind) {
    return kNames[static_cast<std::size_t>(kind)];
}

bool slope_needs_z(ActivationKind kind) {
    return kind == ActivationKind::silu || kind == ActivationKind::gelu ||
           kind == ActivationKind::mish;
}

template <class T>
void activate(const Activation &activation, Index rows, Index n, Columns<T> z, Columns<T> a) {
    using V = simd::Packet<T>;
    if (activation.kind == ActivationKind::softmax) {
        for (Index j = 0; j < n; ++j)
            softmax_column(rows, z.column(j), a.column(j));
        return;
    }
    if (gapless<T>(rows, z.ld) && z.ld == a.ld) {
        rows = n * z.ld;
        n = 1;
    }
    visit_activation(activation, [=](auto f) {
        const Index end = rows;
        for (Index j = 0; j < n; ++j) {
            const T *zp = z.column(j);
            T *ap = a.column(j);
            for (Index i = 0; i < end; i += simd::kLanes<T>)
                simd::store(ap + i, f.value(simd::load<V>(zp + i)));
        }
    });
}

template <class T>
void add_bias_and_activate(const Activation &activation, Index rows, Index n, const T *b,
                           Columns<T> z, Columns<T> a) {
    using V = simd::Packet<T>;
    const bool apart = z.data != a.data;
    visit_activation(activation, [=](auto f) {
        const Index columns = n, z_ld = z.ld, a_ld = a.ld;
        const bool keeps_z = apart;
        for (Index i = 0; i < rows; i += simd::kLanes<T>) {
            const V bias = simd::load<V>(b + i);
            T *zp = z.data + i, *ap = a.data + i;
            for (Index j = 0; j < columns; ++j, zp += z_ld, ap += a_ld) {
                const V sum = simd::add(simd::load<V>(zp), bias);
                if (keeps_z)
                    simd::store(zp, sum);
                simd::store(ap, f.value(sum));
            }
        }
    });
}

template <class T>
void multiply_by_slope(const Activation &activation, Index rows, Index n, Columns<const T> z,
                       Columns<const T> a, Columns<T> d) {
    using V = simd::Packet<T>;
    if (activation.kind == ActivationKind::identity)
        return;
    if (activation.kind == ActivationKind::softmax) {
        for (Index j = 0; j < n; ++j)
            softmax_slope_column(rows, a.column(j), d.column(j));
        return;
    }
    const bool alike = z.ld == d.ld && a.ld == d.ld, packed = rows == 1 && d.ld == 1;
    if (alike && (packed || gapless<T>(rows, d.ld))) {
        rows = n * d.ld;
        n = 1;
    }
    visit_activation(activation, [=](auto f) {
        const Index end = packed ? rows / simd::kLanes<T> * simd::kLanes<T> : rows;
        for (Index j = 0; j < n; ++j) {
            const T *zp = z.column(j), *ap = a.column(j);
            T *dp = d.column(j);
            for (Index i = 0; i < end; i += simd::kLanes<T>) {
                const V slope = f.slope(simd::load<V>(zp + i), simd::load<V>(ap + i));
                simd::store(dp + i, simd::mul(simd::load<V>(dp + i), slope));
            }
            if (end < rows) { // what comes next is another thread's
                const Index rest = rows - end;
                const V slope = f.slope(simd::load_first<V>(zp + end, rest),
                                        simd::load_first<V>(ap + end, rest));
                simd::store_first(dp + end, simd::mul(simd::load_first<V>(dp + end, rest), slope),
                                  rest);
            }
        }
    });
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template void activate<T>(const Activation &, Index, Index, Columns<T>, Columns<T>);           \
    template void add_bias_and_activate<T>(const Activation &, Index, Index, const T *,            \
                                           Columns<T>, Columns<T>);                                \
    template void multiply_by_slope<T>(const Activation &, Index, Index, Columns<const T>,         \
                                       Columns<const T>, Columns<T>);
DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
