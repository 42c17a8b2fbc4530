// The three products of backpropagation, out of tiles, or virtual lanes where outputs are few.
#include "deltarule/kernels.hpp"

#include "narrow.hpp"
#include "product.hpp"

namespace deltarule {

using narrow::narrow_product;
using narrow::store_row;
using simd::Packet;
using tiles::block_rows;
using tiles::kPackedBytes;
using tiles::Operands;
using tiles::Pack;
using tiles::product;
using tiles::Tile;

namespace {

constexpr Index kPackWeights = 320 * 1024; // weights beyond this are worth packing

template <class T> void no_finish(Index, Index, Index, Index) {}

// C = A B, small, and behind it in memory the sums over k of A, or, for a single column B, of that,
// in the same walk, as long chains of few packets wait for nothing but themselves. False where
// there are too many packets for that to be worth it.
template <class T> bool product_and_sums(const Operands<T> &o, bool of_b) {
    const Index packets = (o.m + simd::kLanes<T> - 1) / simd::kLanes<T>;
    if (packets > 2)
        return false;
    const auto size = static_cast<std::size_t>(packets - 1);
    const Index columns = std::min<Index>(o.n, Tile<T>::kColumns);
    const auto run = of_b ? tiles::kSummingColumn<T>[size]
                          : tiles::kSummingTiles<T>[size][static_cast<std::size_t>(columns - 1)];
    T *sums = o.c + o.n * o.ldc;
    run(o.k, o.a, o.a_step, o.b, o.b_step, o.b_column, o.c, o.ldc, o.m, sums);
    if (columns < o.n)
        tiles::panel<T>(o.m, o.n - columns, o.k, {o.a, o.a_step},
                        {o.b + columns * o.b_column, o.b_step}, o.b_column, o.c + columns * o.ldc,
                        o.ldc, false, false);
    return true;
}

// A product whose C is the gradient of weights theta[first ...], laid out like them (leading
// dimension ldc). If it is small and without memory of its own, that of `n_biases` which follow
// lies behind it in scratch and is handed over with it.
template <class T>
void product_to_sink(Operands<T> &o, Pack pack, Index first, Index n_biases,
                     const GradientSink<T> &sink, T *scratch) {
    o.add = sink.add;
    o.c = sink.gradient + first;
    T *free_scratch = scratch;
    if (!sink.gradient) { // in cache: all of it, or one group of columns at a time
        o.c = scratch;
        o.c_local = !is_small(o, pack);
        if (o.c_local) {
            o.ldc = std::min(o.m, block_rows<T>(o.m, pack));
            free_scratch += padded(o.ldc) * Tile<T>::kColumns;
        }
    }
    if (tiles::are_far<T>(o.m * o.n))
        for (std::size_t i = 0; i < sink.touched.size(); ++i)
            o.touched[i] = sink.touched[i] ? sink.touched[i] + first : nullptr;
    product<T>(o, pack, free_scratch, [&](Index i0, Index i1, Index j0, Index j1) {
        if (!sink.apply)
            return;
        const auto at = [&](Index j) { return o.c_local ? (j - j0) * o.ldc : i0 + j * o.ldc; };
        if (i1 - i0 == o.m) // whole columns: one run
            return sink.apply({first + i0 + j0 * o.m, (i1 - i0) * (j1 - j0), n_biases},
                              o.c + at(j0));
        for (Index j = j0; j < j1; ++j)
            sink.apply({first + i0 + j * o.m, i1 - i0, 0}, o.c + at(j));
    });
}

// NV packets of Σ_j column j, each in one chain.
template <class T, int NV> void column_sums(Columns<const T> in, Index n, T *sums) {
    Packet<T> chain[NV];
    for (int v = 0; v < NV; ++v)
        chain[v] = simd::zero<Packet<T>>();
#pragma GCC unroll 4
    for (Index j = 0; j < n; ++j)
#pragma GCC unroll 16
        for (int v = 0; v < NV; ++v)
            chain[v] =
                simd::add(chain[v], simd::load<Packet<T>>(in.column(j) + v * simd::kLanes<T>));
    for (int v = 0; v < NV; ++v)
        simd::store(sums + v * simd::kLanes<T>, chain[v]);
}

// db = D 1: the products with 1 of the summation rule are plain additions.
template <class T> void bias_gradient(Index m, Index n, Columns<const T> delta, T *sums) {
    Index packets = (m + simd::kLanes<T> - 1) / simd::kLanes<T>, place = 0;
    const auto sum = [&]<int NV>(std::integral_constant<int, NV>) { // chains overlap
        for (; packets >= NV; packets -= NV, place += NV * simd::kLanes<T>)
            column_sums<T, NV>({delta.data + place, delta.ld}, n, sums + place);
    };
    sum(std::integral_constant<int, 8>{});
    sum(std::integral_constant<int, 4>{});
    sum(std::integral_constant<int, 2>{});
    sum(std::integral_constant<int, 1>{});
}

// dW for fewer than 4 outputs: vectors along the inputs into scratch, then turned.
template <class T>
void narrow_gradient(Index m, Index k, Index n, Columns<const T> delta, Columns<const T> in,
                     Index first, const GradientSink<T> &sink, T *scratch) {
    const Index ld = padded(k);
    T *turned = scratch + ld * kNarrow;
    product<T>({.m = k,
                .n = m,
                .k = n,
                .a = in.data,
                .a_step = in.ld,
                .b = delta.data,
                .b_step = delta.ld,
                .b_column = 1,
                .c = scratch,
                .ldc = ld,
                .c_padded = true},
               Pack::none, turned, no_finish<T>);
    T *values = sink.gradient ? sink.gradient + first : turned;
    for (Index t = 0; t < k; ++t)
        for (Index i = 0; i < m; ++i) {
            const T value = scratch[i * ld + t];
            values[i + t * m] = sink.add ? values[i + t * m] + value : value;
        }
    if (sink.apply)
        sink.apply({first, m * k, 0}, values);
}

// D' = w δ for a single row w of W: chains of one multiply-add.
template <class T>
void outer_product(Index k, Index n, const T *w, Columns<const T> delta, Columns<T> d_in) {
    using V = Packet<T>;
    for (Index i = 0; i < k; i += simd::kLanes<T>) {
        const V weights = simd::load<V>(w + i);
        T *out = d_in.data + i;
        for (Index j = 0; j < n; ++j, out += d_in.ld)
            simd::store(out,
                        simd::madd(weights, simd::broadcast<V>(*delta.column(j)), simd::zero<V>()));
    }
}

} // namespace

template <class T> Index scratch_size(Index inputs, Index outputs) {
    const Index widest = padded(std::max(inputs, outputs));
    const Index packed = std::min(kPackedBytes / Index(sizeof(T)), widest * kChain);
    return packed + Tile<T>::kRows * kChain + 2 * widest * Tile<T>::kColumns;
}

template <class T>
void forward_product(Index m, Index k, Index n, const T *W, Index ldw, const T *b,
                     Columns<const T> in, const Activation &activation, Columns<T> z, Columns<T> a,
                     T *scratch, Ahead *ahead) {
    if (m < kNarrow) {
        const T *rows = W; // row i of W, contiguous along k
        if (m > 1) {
            for (Index t = 0; t < k; ++t)
                for (Index i = 0; i < m; ++i)
                    scratch[i * k + t] = W[i + t * ldw];
            rows = scratch;
        }
        visit_activation(activation, [=](auto f) {
            narrow_product(m, n, k, rows, k, in,
                           [&](Index i, Index j, Index count, const Packet<T> &sums) {
                               const auto sum = simd::add(sums, simd::broadcast<Packet<T>>(b[i]));
                               if (z.data != a.data)
                                   store_row(z, i, j, count, sum);
                               store_row(a, i, j, count, f.value(sum));
                           });
        });
        return;
    }
    const Pack pack = m * k * Index(sizeof(T)) > kPackWeights && n >= 4 * Tile<T>::kColumns
                          ? Pack::copy
                          : Pack::none;
    product<T>({.m = m,
                .n = n,
                .k = k,
                .a = W,
                .a_step = ldw,
                .b = in.data,
                .b_step = 1,
                .b_column = in.ld,
                .c = z.data,
                .ldc = z.ld,
                .c_padded = true,
                .ahead = ahead},
               pack, scratch, [&](Index i0, Index i1, Index j0, Index j1) {
                   add_bias_and_activate(activation, i1 - i0, j1 - j0, b + i0,
                                         Columns<T>{z.column(j0) + i0, z.ld},
                                         Columns<T>{a.column(j0) + i0, a.ld});
               });
}

template <class T>
void recursion_product(Index m, Index k, Index n, const T *W, Columns<const T> delta,
                       Columns<T> d_in, T *scratch) {
    if (k < kNarrow)
        narrow_product(k, n, m, W, m, delta,
                       [&](Index i, Index j, Index count, const Packet<T> &sums) {
                           store_row(d_in, i, j, count, sums);
                       });
    else if (m == 1)
        outer_product(k, n, W, delta, d_in);
    else
        product<T>({k, n, m, W, m, delta.data, 1, delta.ld, d_in.data, d_in.ld, true, false},
                   Pack::transpose, scratch, no_finish<T>);
}

template <class T>
void gradient_product(Index m, Index k, Index k0, Index k1, Index n, Columns<const T> delta,
                      Columns<const T> in, Index offset, const GradientSink<T> &sink, T *scratch) {
    const T *inputs = in.data + k0;
    const Index first = offset + k0 * m, columns = k1 - k0;
    Operands<T> o;
    if (m == 1) // vectors along the inputs: the same chains, the factors exchanged
        o = {.m = columns,
             .n = 1,
             .k = n,
             .a = inputs,
             .a_step = in.ld,
             .b = delta.data,
             .b_step = delta.ld,
             .b_column = 1,
             .ldc = columns};
    else
        o = {.m = m,
             .n = columns,
             .k = n,
             .a = delta.data,
             .a_step = delta.ld,
             .b = inputs,
             .b_step = in.ld,
             .b_column = 1,
             .ldc = m};
    const bool large =
        m > 1 && m * n * Index(sizeof(T)) > 16 * 1024 && columns >= 4 * Tile<T>::kColumns;
    const Pack pack = large ? Pack::copy : Pack::none;
    const bool narrow = m > 1 && m < kNarrow;
    const bool together = !sink.gradient && k0 == 0 && k1 == k && !narrow && is_small(o, pack);
    o.c = scratch;
    if (together && sink.apply && product_and_sums(o, m == 1))
        return sink.apply({first, m * k, m}, scratch);
    if (k0 == 0) {
        T *sums = together ? scratch + m * k : scratch;
        bias_gradient(m, n, delta, sums);
        if (!together)
            sink.take_sums(offset + m * k, m, sums);
    }
    if (k0 >= k1)
        return;
    if (narrow)
        narrow_gradient(m, columns, n, delta, Columns<const T>{inputs, in.ld}, first, sink,
                        scratch);
    else
        product_to_sink(o, pack, first, together ? m : 0, sink, scratch);
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template Index scratch_size<T>(Index, Index);                                                  \
    template void forward_product<T>(Index, Index, Index, const T *, Index, const T *,             \
                                     Columns<const T>, const Activation &, Columns<T>, Columns<T>, \
                                     T *, Ahead *);                                                \
    template void recursion_product<T>(Index, Index, Index, const T *, Columns<const T>,           \
                                       Columns<T>, T *);                                           \
    template void gradient_product<T>(Index, Index, Index, Index, Index, Columns<const T>,         \
                                      Columns<const T>, Index, const GradientSink<T> &, T *);
DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
