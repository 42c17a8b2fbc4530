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

constexpr Index kPackWeights = 200 * 1024; // weights beyond this are worth packing

template <class T> void no_finish(Index, Index, Index, Index) {}

// A product whose C is the gradient of theta[first ...], laid out like it (leading dimension ldc).
template <class T>
void product_to_sink(Operands<T> o, Pack pack, Index first, bool is_weight,
                     const GradientSink<T> &sink, T *scratch) {
    o.add = sink.add;
    o.c = sink.gradient + first;
    T *free_scratch = scratch;
    if (!sink.gradient) { // one group of columns at a time, in cache
        o.c = scratch;
        o.c_local = true;
        o.ldc = std::min(o.m, block_rows<T>(o.m, pack));
        free_scratch += padded(o.ldc) * Tile<T>::kColumns;
    }
    product<T>(o, pack, free_scratch, [&](Index i0, Index i1, Index j0, Index j1) {
        if (!sink.apply)
            return;
        const auto at = [&](Index j) { return o.c_local ? (j - j0) * o.ldc : i0 + j * o.ldc; };
        if (i1 - i0 == o.m) // whole columns: one run
            return sink.apply(first + i0 + j0 * o.m, (i1 - i0) * (j1 - j0), o.c + at(j0),
                              is_weight);
        for (Index j = j0; j < j1; ++j)
            sink.apply(first + i0 + j * o.m, i1 - i0, o.c + at(j), is_weight);
    });
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
        sink.apply(first, m * k, values, true);
}

} // namespace

template <class T> Index scratch_size(Index inputs, Index outputs) {
    const Index widest = padded(std::max(inputs, outputs));
    const Index packed = std::min(kPackedBytes / Index(sizeof(T)), widest * kChain);
    return packed + Tile<T>::kRows * kChain + 2 * widest * Tile<T>::kColumns;
}

template <class T>
void forward_product(Index m, Index k, Index n, const T *W, const T *b, Columns<const T> in,
                     const Activation &activation, Columns<T> z, Columns<T> a, T *scratch) {
    if (m < kNarrow) {
        const T *rows = W; // row i of W, contiguous along k
        if (m > 1) {
            for (Index t = 0; t < k; ++t)
                for (Index i = 0; i < m; ++i)
                    scratch[i * k + t] = W[i + t * m];
            rows = scratch;
        }
        visit_activation(activation, [&](auto f) {
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
    product<T>({m, n, k, W, m, in.data, 1, in.ld, z.data, z.ld, true, false}, pack, scratch,
               [&](Index i0, Index i1, Index j0, Index j1) {
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
    else if (m == 1) // W is one row: already contiguous along the outputs
        product<T>({k, n, 1, W, 1, delta.data, 1, delta.ld, d_in.data, d_in.ld, true, false},
                   Pack::none, scratch, no_finish<T>);
    else
        product<T>({k, n, m, W, m, delta.data, 1, delta.ld, d_in.data, d_in.ld, true, false},
                   Pack::transpose, scratch, no_finish<T>);
}

template <class T>
void gradient_product(Index m, Index k, Index k0, Index k1, Index n, Columns<const T> delta,
                      Columns<const T> in, Index offset, const GradientSink<T> &sink, T *scratch) {
    const auto run = [&](const Operands<T> &shape, Pack pack, Index first, bool is_weight) {
        product_to_sink(shape, pack, first, is_weight, sink, scratch);
    };
    static const T kOne = 1;
    if (k0 == 0)
        run({.m = m, .n = 1, .k = n, .a = delta.data, .a_step = delta.ld, .b = &kOne, .ldc = m},
            Pack::none, offset + m * k, false);
    if (k0 >= k1)
        return;
    const T *inputs = in.data + k0;
    const Index first = offset + k0 * m, columns = k1 - k0;
    if (m == 1) { // vectors along the inputs: the same chains, the factors exchanged
        run({.m = columns,
             .n = 1,
             .k = n,
             .a = inputs,
             .a_step = in.ld,
             .b = delta.data,
             .b_step = delta.ld,
             .b_column = 1,
             .ldc = columns},
            Pack::none, first, true);
    } else if (m < kNarrow) {
        narrow_gradient(m, columns, n, delta, Columns<const T>{inputs, in.ld}, first, sink,
                        scratch);
    } else {
        const bool large = m * n * Index(sizeof(T)) > 16 * 1024 && columns >= 4 * Tile<T>::kColumns;
        run({.m = m,
             .n = columns,
             .k = n,
             .a = delta.data,
             .a_step = delta.ld,
             .b = inputs,
             .b_step = in.ld,
             .b_column = 1,
             .ldc = m},
            large ? Pack::copy : Pack::none, first, true);
    }
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template Index scratch_size<T>(Index, Index);                                                  \
    template void forward_product<T>(Index, Index, Index, const T *, const T *, Columns<const T>,  \
                                     const Activation &, Columns<T>, Columns<T>, T *);             \
    template void recursion_product<T>(Index, Index, Index, const T *, Columns<const T>,           \
                                       Columns<T>, T *);                                           \
    template void gradient_product<T>(Index, Index, Index, Index, Index, Columns<const T>,         \
                                      Columns<const T>, Index, const GradientSink<T> &, T *);
DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
