// What each kind of layer does to the columns of a batch.
#include "deltarule/layers.hpp"

#include <algorithm>
#include <cmath>

namespace deltarule {

namespace {

template <class T> using P = simd::Packet<T>;

// out = f(packet of in, unit) for every packet of n columns; columns are padded to whole packets.
template <class T, class F>
void map(Index rows, Index n, Columns<const T> in, Columns<T> out, F &&f) {
    for (Index j = 0; j < n; ++j)
        for (Index i = 0; i < rows; i += simd::kLanes<T>)
            simd::store(out.column(j) + i, f(simd::load<P<T>>(in.column(j) + i), i));
}

template <class T> void copy(Index rows, Index n, Columns<const T> in, Columns<T> out) {
    map<T>(rows, n, in, out, [](const P<T> &x, Index) { return x; });
}

} // namespace

template <class T>
void Dense<T>::forward(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot, Index n,
                       const Pass &pass) const {
    forward_units(p, in, slot, n, pass, 0, outputs);
    if (activation.kind == ActivationKind::softmax && !pass.logits)
        activate(activation, outputs, n, slot.z, slot.a);
}

template <class T>
void Dense<T>::forward_units(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot, Index n,
                             const Pass &pass, Index i0, Index i1) const {
    const Columns<T> z{slot.z.data + i0, slot.z.ld}, a{slot.a.data + i0, slot.a.ld};
    forward_product(i1 - i0, inputs, n, p.theta + i0, outputs, p.theta + outputs * inputs + i0, in,
                    pass.logits ? Activation{} : activation, z, a, p.scratch, p.ahead);
}

template <class T>
void Dense<T>::backward(const Numbers<T> &p, Columns<const T>, const Slot<T> &slot, Columns<T> d_in,
                        Index n, const Pass &pass) const {
    slope(slot, n, pass);
    if (d_in)
        recursion(p, slot, d_in, n, 0, inputs);
}

template <class T> void Dense<T>::slope(const Slot<T> &slot, Index n, const Pass &pass) const {
    if (!pass.logits)
        multiply_by_slope<T>(activation, outputs, n, slot.z, slot.a, slot.delta);
}

template <class T>
void Dense<T>::recursion(const Numbers<T> &p, const Slot<T> &slot, Columns<T> d_in, Index n,
                         Index k0, Index k1) const {
    recursion_product<T>(outputs, k1 - k0, n, p.theta + k0 * outputs, slot.delta,
                         {d_in.data + k0, d_in.ld}, p.scratch);
}

template <class T>
void Dense<T>::gradient(Columns<const T> in, const Slot<T> &slot, Index n, Index offset, Index k0,
                        Index k1, const GradientSink<T> &sink, T *scratch) const {
    gradient_product<T>(outputs, inputs, k0, k1, n, slot.delta, in, offset, sink, scratch);
}

template <class T>
void ActivationLayer<T>::forward(const Numbers<T> &, Columns<const T> in, const Slot<T> &slot,
                                 Index n, const Pass &pass) const {
    copy(outputs, n, in, slot.z);
    if (!pass.logits)
        activate(activation, outputs, n, slot.z, slot.a);
}

template <class T>
void ActivationLayer<T>::backward(const Numbers<T> &, Columns<const T> in, const Slot<T> &slot,
                                  Columns<T> d_in, Index n, const Pass &pass) const {
    if (!pass.logits)
        multiply_by_slope<T>(activation, outputs, n, in, slot.a, slot.delta);
    if (d_in)
        copy<T>(outputs, n, slot.delta, d_in);
}

template <class T>
void Standardize<T>::forward(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot, Index n,
                             const Pass &) const {
    const T *mean = p.state, *scale = p.state + inputs;
    map<T>(outputs, n, in, slot.a, [&](const P<T> &x, Index i) {
        return simd::div(simd::sub(x, simd::load<P<T>>(mean + i)), simd::load<P<T>>(scale + i));
    });
}

template <class T>
void Standardize<T>::backward(const Numbers<T> &p, Columns<const T>, const Slot<T> &slot,
                              Columns<T> d_in, Index n, const Pass &) const {
    const T *scale = p.state + inputs;
    if (d_in)
        map<T>(outputs, n, slot.delta, d_in,
               [&](const P<T> &d, Index i) { return simd::div(d, simd::load<P<T>>(scale + i)); });
}

template <class T>
void Rescale<T>::forward(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot, Index n,
                         const Pass &) const {
    const T *mean = p.state, *scale = p.state + inputs;
    map<T>(outputs, n, in, slot.a, [&](const P<T> &x, Index i) {
        return simd::madd(simd::load<P<T>>(scale + i), x, simd::load<P<T>>(mean + i));
    });
}

template <class T>
void Rescale<T>::backward(const Numbers<T> &p, Columns<const T>, const Slot<T> &slot,
                          Columns<T> d_in, Index n, const Pass &) const {
    const T *scale = p.state + inputs;
    if (d_in)
        map<T>(outputs, n, slot.delta, d_in,
               [&](const P<T> &d, Index i) { return simd::mul(d, simd::load<P<T>>(scale + i)); });
}

template <class T>
void Dropout<T>::forward(const Numbers<T> &, Columns<const T> in, const Slot<T> &slot, Index n,
                         const Pass &pass) const {
    if (!pass.training)
        return copy(outputs, n, in, slot.a);
    constexpr Index kDrawn = 8; // units: two a word, four words a draw
    constexpr Index kBlock = 8 * kDrawn;
    const auto threshold = static_cast<std::uint32_t>(std::floor(rate * 4294967296.0));
    const T kept = static_cast<T>(1 / (1 - rate));
    std::uint32_t bits[kBlock];
    for (Index j = 0; j < n; ++j)
        for (Index first = 0; first < outputs; first += kBlock) {
            const Index count = std::min(kBlock, outputs - first);
            std::uint32_t *next = bits;
            for (Index i = first; i < first + count; i += kDrawn)
                for (const std::uint64_t word :
                     draw(pass.seed, Stream::masks,
                          {pass.step, layer, static_cast<std::uint64_t>(pass.position + j),
                           static_cast<std::uint64_t>(i / kDrawn)})) {
                    *next++ = static_cast<std::uint32_t>(word);
                    *next++ = static_cast<std::uint32_t>(word >> 32);
                }
            // A dropped unit is exactly 0, also where it was infinite or NaN.
            const T *x = in.column(j) + first;
            T *mask = slot.mask.column(j) + first, *a = slot.a.column(j) + first;
            for (Index i = 0; i < count; ++i) { // no branch: it would be mispredicted
                mask[i] = bits[i] < threshold ? T(0) : kept;
                a[i] = bits[i] < threshold ? T(0) : x[i] * kept;
            }
        }
}

template <class T>
void Dropout<T>::backward(const Numbers<T> &, Columns<const T>, const Slot<T> &slot,
                          Columns<T> d_in, Index n, const Pass &pass) const {
    if (!d_in)
        return;
    if (!pass.training)
        return copy<T>(outputs, n, slot.delta, d_in);
    for (Index j = 0; j < n; ++j)
        for (Index i = 0; i < outputs; i += simd::kLanes<T>)
            simd::store(d_in.column(j) + i, simd::mul(simd::load<P<T>>(slot.delta.column(j) + i),
                                                      simd::load<P<T>>(slot.mask.column(j) + i)));
}

template <class T>
void KeepInput<T>::forward(const Numbers<T> &, Columns<const T>, const Slot<T> &, Index,
                           const Pass &) const {} // slot.a is the memory of the layer below

template <class T>
void KeepInput<T>::backward(const Numbers<T> &, Columns<const T>, const Slot<T> &slot,
                            Columns<T> d_in, Index n, const Pass &) const {
    for (Index j = 0; j < n; ++j)
        for (Index i = 0; i < outputs; i += simd::kLanes<T>) {
            const P<T> delta = simd::add(simd::load<P<T>>(slot.delta.column(j) + i),
                                         simd::load<P<T>>(slot.skip.column(j) + i));
            simd::store(slot.delta.column(j) + i, delta);
            if (d_in)
                simd::store(d_in.column(j) + i, delta);
        }
}

template <class T>
void AddKept<T>::forward(const Numbers<T> &, Columns<const T> in, const Slot<T> &slot, Index n,
                         const Pass &) const {
    for (Index j = 0; j < n; ++j)
        for (Index i = 0; i < outputs; i += simd::kLanes<T>)
            simd::store(slot.a.column(j) + i, simd::add(simd::load<P<T>>(in.column(j) + i),
                                                        simd::load<P<T>>(slot.skip.column(j) + i)));
}

template <class T>
void AddKept<T>::backward(const Numbers<T> &, Columns<const T>, const Slot<T> &slot,
                          Columns<T> d_in, Index n, const Pass &) const {
    if (d_in)
        copy<T>(outputs, n, slot.delta, d_in);
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template struct Dense<T>;                                                                      \
    template struct ActivationLayer<T>;                                                            \
    template struct Standardize<T>;                                                                \
    template struct Rescale<T>;                                                                    \
    template struct Dropout<T>;                                                                    \
    template struct KeepInput<T>;                                                                  \
    template struct AddKept<T>;
DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
