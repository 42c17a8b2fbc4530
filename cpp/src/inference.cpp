// Predictions, losses and gradients, a block of rows at a time.
#include "deltarule/inference.hpp"

#include "deltarule/flush_subnormals.hpp"

#include <algorithm>
#include <atomic>

namespace deltarule {

namespace {

constexpr Index kRowsOfAThread = 16; // fewer are not worth sharing out

// Rows that pass through the network together: so few that their values at all layers stay in the
// first cache, unless each weight would then be read for too few of them.
template <class T> Index rows_of_a_block(const Network<T> &network) {
    constexpr Index kCache = Index(28) << 10, kFewest = 48;
    Index values = network.n_inputs();
    for (const LayerLayout &layer : network.layout())
        values += layer.n_outputs;
    const Index rows = kCache / (values * Index(sizeof(T))) / kColumnTile * kColumnTile;
    return rows < kFewest ? kRowBlock : std::min(rows, kRowBlock);
}

} // namespace

template <class T>
int worthwhile_threads(const Network<T> &network, Index batch, double rows, int passes,
                       int n_threads) {
    // In float32; a float64 counts as two.
    constexpr double kFlopsOfABatch = 4e6, kFlopsOfACall = 50e6;
    constexpr double kBesides = 1000; // what else a row costs, as if it were flops
    const double looked_up = static_cast<double>(network.n_looked_up());
    const double multiplied = static_cast<double>(network.n_parameters()) - looked_up;
    const double size = sizeof(T) / 4, count = static_cast<double>(batch);
    const double flops_of_a_row = (2.0 * passes * multiplied + kBesides) * size;
    // Tables are gone through for the update, once a batch.
    const double flops_of_a_batch =
        flops_of_a_row * count + (passes > 1 ? 2.0 * passes * looked_up * size : 0);
    if (flops_of_a_batch < kFlopsOfABatch || flops_of_a_batch * (rows / count) < kFlopsOfACall)
        return 1;
    return static_cast<int>(std::clamp<Index>(batch / kRowsOfAThread, 1, n_threads));
}

namespace {

template <class T>
void gather_rows(const Source<T> &source, Index first, Index n, Index *rows, Columns<T> out,
                 Check check, const char *name) {
    for (Index j = 0; j < n; ++j)
        rows[j] = first + j;
    if (!source.gather(rows, n, out.data, out.ld, check))
        refuse(source, name);
}

// Rows [row, row + n) of X into the workspace, refused where they hold no codes; without a check of
// other numbers NaN may stand for one.
template <class T>
void gather_inputs(const Network<T> &network, const Source<T> &X, Index row, Index n,
                   Workspace<T> &w, Check check) {
    w.read_input(check == Check::none ? &X : nullptr, row);
    if (w.input.data != w.gathered_input.data)
        return;
    gather_rows(X, row, n, w.rows, w.gathered_input, check, "X");
    const Embedding<T> *embedding = network.embedding();
    const bool nan_passes = check == Check::none;
    if (embedding && !embedding->holds_codes(w.input, n, nan_passes))
        refuse_codes(*embedding, X, "X", nan_passes);
}

// Rows [row, row + n) of X through the network.
template <class T>
void predict_block(const Network<T> &network, const Source<T> &X, Index row, Index n,
                   Workspace<T> &w, T *out) {
    const Index outputs = network.n_outputs();
    gather_inputs(network, X, row, n, w, Check::none);
    network.forward(w, 0, n, Pass{}, w.scratch(0));
    const Columns<T> a = w.output(false);
    if (outputs == a.ld)
        std::copy_n(a.data, n * outputs, out + row * outputs);
    else if (outputs == 1) // a call of memmove for each number would cost more than the number
        for (Index j = 0; j < n; ++j)
            out[row + j] = *a.column(j);
    else
        for (Index j = 0; j < n; ++j)
            std::copy_n(a.column(j), outputs, out + (row + j) * outputs);
}

} // namespace

template <class T>
bool predict(const Network<T> &network, const Source<T> &X, const Poll &poll, int n_threads,
             T *out) {
    FlushSubnormals flush;
    const Index rows = X.rows();
    Team team(worthwhile_threads(network, rows, static_cast<double>(rows), 1, n_threads));
    std::atomic<bool> abandoned{false};
    const auto stop = [&](int t) {
        if (t == 0 && poll && poll())
            abandoned = true;
        return abandoned.load(std::memory_order_relaxed);
    };
    // Whoever is ready takes the next block.
    const Index pieces = team.size() == 1 ? 1 : 2 * team.size();
    const Index piece = (rows / pieces / kColumnTile + 1) * kColumnTile; // in whole tiles
    const Index block = std::min(std::max<Index>(rows, 1),
                                 std::clamp(piece, kRowsOfAThread, rows_of_a_block(network)));
    const auto each_block = [&](const auto &use) {
        std::atomic<Index> next{0};
        team.run([&](int t) {
            try {
                Workspace<T> w(network, block, 0, Keep::outputs);
                for (Index row; (row = next.fetch_add(block)) < rows && (row == 0 || !stop(t));)
                    use(row, std::min(block, rows - row), w);
            } catch (...) {
                abandoned = true; // for the others
                throw;
            }
        });
    };
    // Codes may be refused, and then nothing is written: all are looked at before the first block
    // is predicted.
    if (network.embedding() && (rows > kRowBlock || team.size() > 1))
        each_block([&](Index row, Index n, Workspace<T> &w) {
            gather_inputs(network, X, row, n, w, Check::none);
        });
    if (!abandoned)
        each_block([&](Index row, Index n, Workspace<T> &w) {
            predict_block(network, X, row, n, w, out);
        });
    return !abandoned;
}

template <class T>
void predict(const Network<T> &network, const Source<T> &X, Workspace<T> &w, T *out) {
    FlushSubnormals flush;
    predict_block(network, X, 0, X.rows(), w, out);
}

template <class T>
bool evaluate(const Network<T> &network, const LossSpec &loss, const Examples<T> &data,
              const Pass &pass, const Poll &poll, int n_threads, double &value, T *gradient) {
    FlushSubnormals flush;
    const Index rows = data.X->rows(), block = rows_together(network, pass, rows);
    check_rows(network, pass, rows, data.names.X);
    const Objective<T> objective(network, loss, data.y->width());
    Team team(
        worthwhile_threads(network, block, static_cast<double>(rows), gradient ? 3 : 1, n_threads));
    Workspace<T> w(network, block, data.y->width(), gradient ? Keep::gradient : Keep::outputs,
                   team.size());
    const RowOrder order(rows);
    const Batch all{&order, 0, rows};
    const double total = objective.total_weight(data, all, w);
    if (!(total > 0))
        throw DataError(std::string(data.names.weight) + " must not be all zero");
    const GradientUse<T> use{gradient, {}, {}};
    return objective.evaluate(data, all, total, pass, w, team, poll, value,
                              gradient ? &use : nullptr);
}

namespace {

// The n rows of a workspace forward and back, down to the input: layers in phases by columns, each
// BatchNorm in a phase of its own by units.
template <class T> struct RoundTrip {
    const Network<T> &network;
    const Pass pass; // with the position of the first row
    Workspace<T> &w;
    const Index n;
    Team &team;
    const Poll &poll;
    mutable std::atomic<bool> abandoned{false};

    bool stop(int t) const {
        if (t == 0 && poll && poll())
            abandoned = true;
        return abandoned.load(std::memory_order_relaxed);
    }

    // f(first, count, pass, t) for all columns, each thread's 256 at a time.
    template <class F> void by_columns(const F &f) const {
        team.run([&](int t) {
            const Index start = team.share(t).first(n, kColumnTile);
            const Index last = team.share(t).last(n, kColumnTile);
            for (Index j = start; j < last && (j == start || !stop(t)); j += kRowBlock) {
                Pass here = pass;
                here.position += j;
                f(j, std::min(kRowBlock, last - j), here, t);
            }
        });
    }

    // False if abandoned.
    bool run() const {
        const std::size_t n_layers = network.layers().size();
        for (std::size_t l = 0, next; l < n_layers && !abandoned; l = next) {
            for (next = l; next < n_layers && !network.batch_norm(next);)
                ++next;
            by_columns([&](Index first, Index count, const Pass &here, int t) {
                for (std::size_t k = l; k < next; ++k)
                    network.forward(k, w, first, count, here, w.scratch(t));
            });
            if (next < n_layers)
                norm(next++, true);
        }
        for (std::size_t l = n_layers, next; l > 0 && !abandoned; l = next) {
            for (next = l; next > 0 && !network.batch_norm(next - 1);)
                --next;
            by_columns([&](Index first, Index count, const Pass &here, int t) {
                for (std::size_t k = l; k-- > next;)
                    network.backward(k, w, first, count, here, true, w.scratch(t));
            });
            if (next > 0)
                norm(--next, false);
        }
        return !abandoned;
    }

    void norm(std::size_t l, bool forward) const {
        team.run([&](int t) {
            const auto stopped = [&] { return stop(t); };
            if (forward)
                network.norm_forward(l, w, n, pass, team.share(t), stopped);
            else
                network.norm_backward(l, w, n, pass, true, team.share(t), stopped);
        });
    }
};

} // namespace

template <class T>
bool backward(const Network<T> &network, const Source<T> &X, const Source<T> &output_gradient,
              const Pass &pass, const Poll &poll, int n_threads, T *gradient, T *input_gradient) {
    FlushSubnormals flush;
    const Index rows = X.rows(), width = network.n_inputs();
    check_rows(network, pass, rows, "X");
    const Index together = rows_together(network, pass, rows);
    Team team(worthwhile_threads(network, together, static_cast<double>(rows), 3, n_threads));
    Workspace<T> w(network, together, 0, Keep::everything, team.size());
    for (Index row = 0; row < rows; row += together) {
        if (row > 0 && poll && poll())
            return false;
        const Index n = std::min(together, rows - row);
        gather_inputs(network, X, row, n, w, Check::finite);
        gather_rows(output_gradient, row, n, w.rows, w.slots.back().delta, Check::finite,
                    "output_gradient");
        Pass here = pass;
        here.position = row;
        if (!RoundTrip<T>{network, here, w, n, team, poll}.run())
            return false;
        for (Index j = 0; j < n; ++j)
            std::copy_n(w.input_gradient.column(j), width, input_gradient + (row + j) * width);
        for (Index first = 0; first < n; first += kRowBlock) {
            const GradientSink<T> sink{gradient, row + first > 0, {}};
            team.run([&](int t) {
                network.gradient(w, first, std::min(kRowBlock, n - first), pass, sink,
                                 team.share(t), w.scratch(t));
            });
        }
    }
    return true;
}

template <class T>
Trace<T>::Trace(const Network<T> &network, const LossSpec &spec, const Examples<T> &data,
                const Pass &pass)
    : rows(data.X->rows()), layout(network.layout()),
      workspace(network, rows, data.y->width(), Keep::everything),
      gradient(network.n_parameters()) {
    FlushSubnormals flush;
    const Objective<T> objective(network, spec, data.y->width());
    loss = objective.trace(data, pass, workspace, gradient.data());
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template int worthwhile_threads<T>(const Network<T> &, Index, double, int, int);               \
    template bool predict<T>(const Network<T> &, const Source<T> &, const Poll &, int, T *);       \
    template void predict<T>(const Network<T> &, const Source<T> &, Workspace<T> &, T *);          \
    template bool evaluate<T>(const Network<T> &, const LossSpec &, const Examples<T> &,           \
                              const Pass &, const Poll &, int, double &, T *);                     \
    template bool backward<T>(const Network<T> &, const Source<T> &, const Source<T> &,            \
                              const Pass &, const Poll &, int, T *, T *);                          \
    template struct Trace<T>;
DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
