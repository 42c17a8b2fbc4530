// Predictions, losses and gradients, a block of rows at a time.
#include "deltarule/inference.hpp"

#include "deltarule/flush_subnormals.hpp"

#include <algorithm>

namespace deltarule {

namespace {

// Calls f(row numbers' first, n) for blocks of rows, asking poll between them.
template <class F> bool for_blocks(Index rows, Index step, const Poll &poll, F &&f) {
    for (Index first = 0; first < rows; first += step) {
        if (first > 0 && poll && poll())
            return false;
        f(first, std::min(step, rows - first));
    }
    return true;
}

template <class T>
void gather_rows(const Source<T> &source, Index first, Index n, Index *rows, Columns<T> out,
                 Check check, const char *name) {
    for (Index j = 0; j < n; ++j)
        rows[j] = first + j;
    if (!source.gather(rows, n, out.data, out.ld, check))
        refuse(source, name);
}

} // namespace

template <class T>
bool predict(const Network<T> &network, const Source<T> &X, const Poll &poll, T *out) {
    FlushSubnormals flush;
    const Index outputs = network.n_outputs();
    Workspace<T> w(network, std::min(X.rows(), kRowBlock), 0);
    return for_blocks(X.rows(), kRowBlock, poll, [&](Index first, Index n) {
        for (Index j = 0; j < n; ++j)
            w.rows[j] = first + j;
        X.gather(w.rows, n, w.input.data, w.input.ld, Check::none);
        network.forward(w, 0, n, Pass{});
        const Columns<T> a = w.output(false);
        for (Index j = 0; j < n; ++j)
            std::copy_n(a.column(j), outputs, out + (first + j) * outputs);
    });
}

template <class T>
bool evaluate(const Network<T> &network, const LossSpec &loss, const Examples<T> &data,
              const Pass &pass, const Poll &poll, double &value, T *gradient) {
    FlushSubnormals flush;
    const Index rows = data.X->rows();
    const Objective<T> objective(network, loss, data.y->width());
    Workspace<T> w(network, std::min(rows, kRowBlock), data.y->width());
    const RowOrder order(rows);
    const Batch all{&order, 0, rows};
    const double total = objective.total_weight(data, all, w);
    if (!(total > 0))
        throw DataError(data.prefix + "sample_weight must not be all zero");
    return objective.evaluate(data, all, total, pass, w, poll, value, gradient);
}

template <class T>
bool backward(const Network<T> &network, const Source<T> &X, const Source<T> &output_gradient,
              const Pass &pass, const Poll &poll, T *gradient, T *input_gradient) {
    FlushSubnormals flush;
    const Index width = network.n_inputs();
    Workspace<T> w(network, std::min(X.rows(), kRowBlock), 0, true);
    return for_blocks(X.rows(), kRowBlock, poll, [&](Index first, Index n) {
        gather_rows(X, first, n, w.rows, w.input, Check::finite, "X");
        gather_rows(output_gradient, first, n, w.rows, w.slots.back().delta, Check::finite,
                    "output_gradient");
        Pass here = pass;
        here.position = first;
        network.forward(w, 0, n, here);
        network.backward(w, 0, n, here, true);
        network.gradient(w, 0, n, gradient, first > 0);
        for (Index j = 0; j < n; ++j)
            std::copy_n(w.input_gradient.column(j), width, input_gradient + (first + j) * width);
    });
}

template <class T>
Trace<T>::Trace(const Network<T> &network, const LossSpec &spec, const Examples<T> &data,
                const Pass &pass)
    : rows(data.X->rows()), layout(network.layout()),
      workspace(network, rows, data.y->width(), true), gradient(network.n_parameters()) {
    FlushSubnormals flush;
    const Objective<T> objective(network, spec, data.y->width());
    loss = objective.trace(data, pass, workspace, gradient.data());
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template bool predict<T>(const Network<T> &, const Source<T> &, const Poll &, T *);            \
    template bool evaluate<T>(const Network<T> &, const LossSpec &, const Examples<T> &,           \
                              const Pass &, const Poll &, double &, T *);                          \
    template bool backward<T>(const Network<T> &, const Source<T> &, const Source<T> &,            \
                              const Pass &, const Poll &, T *, T *);                               \
    template struct Trace<T>;
DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
