// The loss over a batch and its gradient.
#include "deltarule/objective.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <sstream>

namespace deltarule {

namespace {

std::string text(double value, int digits = 9) {
    std::ostringstream out;
    out.precision(digits);
    out << value;
    return out.str();
}

std::string place(Index row, Index column) {
    return " at row " + std::to_string(row) + ", column " + std::to_string(column);
}

// The sum over the rows of a block: four interleaved sums, so that additions overlap, then their
// sum.
double sum_of_rows(const double *x, Index n) {
    double sums[4] = {};
    Index j = 0;
    for (; j + 4 <= n; j += 4)
        for (Index q = 0; q < 4; ++q)
            sums[q] += x[j + q];
    for (Index q = 0; j + q < n; ++q)
        sums[q] += x[j + q];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

std::string expected(const TargetFault &fault, Index n_outputs) {
    const std::string what = fault.expected;
    return what == "a class number" ? what + " from 0 to " + std::to_string(n_outputs - 1) : what;
}

// With all digits where fewer would make it an integer.
std::string text_of_no_code(double value) {
    const double whole = std::round(value);
    return value != whole && text(value) == text(whole) ? text(value, 17) : text(value);
}

// Throws for the first value in X that is no code, if there is one.
template <class T>
void check_codes(const Embedding<T> &embedding, const Source<T> &X, const std::string &name,
                 bool nan_passes) {
    const typename Embedding<T>::Coded *coded = nullptr;
    const auto fault = first_fault<T>(X, [&](const T *row) {
        coded = embedding.fault_of(row, nan_passes);
        return coded ? coded->input : -1;
    });
    if (fault)
        throw DataError(name + " must hold integer codes from 0 to " +
                        std::to_string(coded->n_levels - 1) + " in column " +
                        std::to_string(fault->column) + ", got " + text_of_no_code(fault->value) +
                        " at row " + std::to_string(fault->row));
}

// Throws for the first value of all data that is not finite, or no code where there must be one:
// whoever met which one first, on however many threads, the message is the same.
template <class T> void refuse_values(const Network<T> &network, const Examples<T> &data) {
    if (first_fault(*data.X))
        refuse(*data.X, data.names.X);
    if (first_fault(*data.y))
        refuse(*data.y, data.names.y);
    if (data.weight && first_fault(*data.weight))
        refuse(*data.weight, data.names.weight);
    if (const Embedding<T> *embedding = network.embedding())
        check_codes(*embedding, *data.X, data.names.X, false);
}

} // namespace

template <class T>
void check_rows(const Network<T> &network, const Pass &pass, Index rows, const char *name) {
    if (pass.training && network.has_batch_norm() && rows < 2)
        throw DataError(std::string(name) +
                        " must have at least 2 rows for training with a BatchNorm (one row "
                        "has no variance), got " +
                        std::to_string(rows));
}

template <class T> void refuse(const Source<T> &source, const std::string &name) {
    const auto fault = first_fault(source);
    if (!fault) // the array was changed while it was read
        throw DataError(name + " must be finite; it was changed during the call");
    if (std::isfinite(fault->value))
        throw DataError(name + " must fit in " + (sizeof(T) == 4 ? "float32" : "float64") +
                        ", got " + text(fault->value) + place(fault->row, fault->column));
    throw DataError(name + " must be finite, got " + text(fault->value) +
                    place(fault->row, fault->column));
}

template <class T>
void refuse_codes(const Embedding<T> &embedding, const Source<T> &X, const std::string &name,
                  bool nan_passes) {
    check_codes(embedding, X, name, nan_passes);
    throw DataError(name + " must hold integer codes; it was changed during the call");
}

template <class T>
Objective<T>::Objective(const Network<T> &network, const LossSpec &loss, Index target_width)
    : network_(network),
      loss_(loss, network.output_activation(), network.n_outputs(), target_width) {}

template <class T>
double Objective<T>::total_weight(const Examples<T> &data, const Batch &batch,
                                  Workspace<T> &w) const {
    if (!data.weight)
        return static_cast<double>(batch.count);
    double total = 0;
    for (Index done = 0; done < batch.count; done += kRowBlock) {
        const Index n = std::min(kRowBlock, batch.count - done);
        batch.order->rows(batch.first + done, n, w.rows);
        if (!data.weight->gather(w.rows, n, w.weight, 1, Check::finite))
            refuse(*data.weight, data.names.weight);
        double sum = 0;
        for (Index j = 0; j < n; ++j) {
            if (w.weight[j] < 0)
                throw DataError(std::string(data.names.weight) + " must not be negative, got " +
                                text(static_cast<double>(w.weight[j])) + " at row " +
                                std::to_string(data.weight->users_row(w.rows[j])));
            sum += static_cast<double>(w.weight[j]);
        }
        total += sum;
    }
    return total;
}

// Rows in their own order may stay where they are.
template <class T>
void Objective<T>::read(const Examples<T> &data, const Batch &batch, Workspace<T> &w) const {
    const bool may_stay = !batch.order->is_shuffled();
    w.read_input(may_stay ? data.X : nullptr, batch.first);
    w.read_target(may_stay ? data.y : nullptr, batch.first);
}

template <class T>
void Objective<T>::gather(const Examples<T> &data, const Batch &batch, Workspace<T> &w,
                          Index column) const {
    const Index n = batch.count;
    Index *rows = w.rows + column;
    batch.order->rows(batch.first, n, rows);
    const auto take = [&](const Source<T> &source, Columns<T> gathered, Columns<const T> used) {
        return used.data == gathered.data
                   ? source.gather(rows, n, gathered.column(column), gathered.ld, Check::finite)
                   : all_finite<T>(source.width(), n, {used.column(column), used.ld});
    };
    const bool finite =
        take(*data.X, w.gathered_input, w.input) && take(*data.y, w.gathered_target, w.target) &&
        (!data.weight || data.weight->gather(rows, n, w.weight + column, 1, Check::finite));
    if (!finite) {
        refuse_values(network_, data);
        throw DataError(
            std::string("X, y and sample_weight must be finite; they were changed during the "
                        "call"));
    }
    const Embedding<T> *embedding = network_.embedding();
    if (embedding && !embedding->holds_codes({w.input.column(column), w.input.ld}, n, false)) {
        refuse_values(network_, data);
        refuse_codes(*embedding, *data.X, data.names.X, false);
    }
    if (loss_.check<T>(n, {w.target.column(column), w.target.ld})) {
        refuse_values(network_, data);
        refuse_target(data);
    }
}

// Throws for the first target in the order of rows that the loss does not accept.
template <class T> void Objective<T>::refuse_target(const Examples<T> &data) const {
    const Index width = data.y->width(), ld = padded(width);
    Buffer<T> block(ld * kRowBlock);
    Buffer<Index> rows(kRowBlock);
    for (Index first = 0; first < data.y->rows(); first += kRowBlock) {
        const Index n = std::min(kRowBlock, data.y->rows() - first);
        std::iota(rows.data(), rows.data() + n, first);
        data.y->gather(rows.data(), n, block.data(), ld, Check::none);
        if (const auto fault = loss_.check<T>(n, Columns<const T>{block.data(), ld}))
            throw DataError(std::string(data.names.y) + " must be " +
                            expected(*fault, network_.n_outputs()) + ", got " + text(fault->value) +
                            place(data.y->users_row(first + fault->column), fault->row));
    }
    throw DataError(std::string(data.names.y) + " was changed during the call");
}

// w_i ℓ_i of columns [first, first + n), which went forward before, and ∂L/∂(output) if the
// gradient is wanted.
template <class T>
void Objective<T>::losses(Index first, Index n, bool weighted, double total_weight, Workspace<T> &w,
                          Keep keep) const {
    const Columns<T> out = w.output(loss_.from_logits());
    const Columns<T> delta = w.slots.back().delta;
    loss_.template operator()<T>(
        n, {out.column(first), out.ld}, {w.target.column(first), w.target.ld},
        weighted ? w.weight + first : nullptr, total_weight, w.losses + first,
        keep == Keep::outputs ? Columns<T>{} : Columns<T>{delta.column(first), delta.ld});
}

// Rows on their way through the network together, as tasks in order: gather; forward, a layer at a
// time; loss; and back, slope and recursion of a layer at a time. A task is shared out among the
// threads by columns, or, in a layer that the network splits and in a BatchNorm, by units. Tasks by
// columns need nothing of the other threads, so that those that follow each other are one phase. A
// thread takes its columns 256 at a time, and between those asks whether to go on. A loss from
// outside is a phase of the calling thread alone.
template <class T> struct Objective<T>::Block {
    const Objective &objective;
    const Examples<T> &data;
    const Batch batch;
    const double total_weight;
    const Pass pass;
    Workspace<T> &w;
    Team &team;
    const Keep keep;
    const Poll &poll;
    mutable std::atomic<bool> abandoned{false};

    const Network<T> &network = objective.network_;
    const Index n_layers = static_cast<Index>(network.layers().size());
    const Index lowest = static_cast<Index>(network.lowest(pass, false));
    const Index loss = n_layers + 1; // task 0 gathers, task l + 1 is layer l forward
    // The lowest layer whose parameters are wanted has a slope and no recursion.
    const Index back = keep == Keep::outputs ? 0 : 2 * (n_layers - lowest) - 1;
    const Index end = loss + 1 + std::max<Index>(back, 0);
    const Index alone = objective.calls_out() ? loss : -1;

    std::size_t layer_of(Index task) const {
        return static_cast<std::size_t>(task < loss ? task - 1
                                                    : n_layers - 1 - (task - loss - 1) / 2);
    }
    bool is_recursion(Index task) const { return task > loss && (task - loss) % 2 == 0; }
    bool is_split(Index task) const {
        return task != 0 && task != loss &&
               network.splits(layer_of(task), pass, batch.count, team.size());
    }
    // All of a BatchNorm's way back is in the place of its slope.
    bool is_norm(Index task) const {
        return task != 0 && task != loss && network.batch_norm(layer_of(task));
    }
    bool by_units(Index task) const {
        return is_norm(task) ? !is_recursion(task)
                             : is_split(task) && (task < loss || is_recursion(task));
    }
    bool stop(int t) const {
        if (t == 0 && poll && poll())
            abandoned = true;
        return abandoned.load(std::memory_order_relaxed);
    }

    // False if abandoned.
    bool run() const {
        for (Index task = 0; task < end && !abandoned;) {
            Index next = task + 1;
            if (by_units(task)) {
                do_units(task);
            } else if (task == alone) {
                each_block(0, batch.count, 0, [&](Index first, Index n) { do_loss(first, n); });
            } else {
                while (next < end && next != alone && !by_units(next))
                    ++next;
                team.run_paced([&](int t) { return do_columns(task, next, t); });
            }
            task = next;
        }
        return !abandoned;
    }

    // f(first, count) for columns [first, end), 256 at a time.
    template <class F> void each_block(Index first, Index last, int t, const F &f) const {
        for (Index j = first; j < last && (j == first || !stop(t)); j += kRowBlock)
            f(j, std::min(kRowBlock, last - j));
    }

    void do_units(Index task) const {
        if (is_norm(task))
            team.run([&](int t) { do_norm(task, t); });
        else
            team.run_paced([&](int t) { return do_dense(task, t); });
    }

    double do_dense(Index task, int t) const {
        const std::size_t l = layer_of(task);
        const Share share = team.share(t);
        double done = 0;
        each_block(0, batch.count, t, [&](Index first, Index n) {
            done = task < loss ? network.forward_units(l, w, first, n, pass, share, w.scratch(t))
                               : network.recursion_units(l, w, first, n, pass, share, w.scratch(t));
        });
        return done;
    }

    void do_norm(Index task, int t) const {
        const std::size_t l = layer_of(task);
        const Share share = team.share(t);
        const auto stopped = [&] { return batch.count > kRowBlock && stop(t); };
        if (task < loss)
            network.norm_forward(l, w, batch.count, pass, share, stopped);
        else
            network.norm_backward(l, w, batch.count, pass, false, share, stopped);
    }

    void do_loss(Index first, Index n) const {
        objective.losses(first, n, data.weight != nullptr, total_weight, w, keep);
    }

    // Which part of all columns it was.
    double do_columns(Index task, Index last_task, int t) const {
        const Index start = first_column(t), stop_at = team.share(t).last(batch.count, kColumnTile);
        each_block(start, stop_at, t,
                   [&](Index first, Index n) { do_block(task, last_task, t, first, n); });
        return static_cast<double>(stop_at - start) / static_cast<double>(batch.count);
    }
    Index first_column(int t) const { return team.share(t).first(batch.count, kColumnTile); }

    // The weights of the next layer are fetched before the first rows come to it.
    void forward(std::size_t l, int t, Index first, Index n, const Pass &here) const {
        Ahead ahead;
        if (pass.position == 0 && first == first_column(t))
            ahead = network.ahead_of(l + 1, pass, batch.count, team.share(t), team.size());
        network.forward(l, w, first, n, here, w.scratch(t), &ahead);
    }

    void do_block(Index task, Index last, int t, Index first, Index n) const {
        Pass here = pass;
        here.position += first;
        for (; task < last; ++task)
            if (task == 0)
                objective.gather(data, {batch.order, batch.first + first, n}, w, first);
            else if (task == loss)
                do_loss(first, n);
            else if (task < loss)
                forward(layer_of(task), t, first, n, here);
            else if (is_recursion(task))
                continue; // done with the slope
            else if (is_split(task))
                network.slope(layer_of(task), w, first, n, here);
            else
                network.backward(layer_of(task), w, first, n, here, false, w.scratch(t));
    }
};

template <class T>
bool Objective<T>::evaluate(const Examples<T> &data, const Batch &batch, double total_weight,
                            const Pass &pass, Workspace<T> &w, Team &team, const Poll &poll,
                            double &loss, const GradientUse<T> *use) const {
    check_rows(network_, pass, batch.count, data.names.X);
    const Keep keep = use ? Keep::gradient : Keep::outputs;
    const Index together = rows_together(network_, pass, batch.count);
    if (use && use->apply && team.size() == 1 && batch.count <= kRowBlock &&
        !network_.has_batch_norm()) {
        apply_small(data, batch, total_weight, pass, w, loss, *use);
        return true;
    }
    double sum = 0;
    for (Index done = 0; done < batch.count; done += together) {
        if (done > 0 && poll && poll())
            return false;
        const Index n = std::min(together, batch.count - done);
        Pass here = pass;
        here.position = done;
        here.logits = loss_.from_logits();
        const Batch rows{batch.order, batch.first + done, n};
        read(data, rows, w);
        if (!Block{*this, data, rows, total_weight, here, w, team, keep, poll}.run())
            return false;
        for (Index first = 0; first < n; first += kRowBlock)
            sum += sum_of_rows(w.losses + first, std::min(kRowBlock, n - first));
        loss = sum / total_weight;
        if (use && !add_gradient(done, n, batch.count, loss, here, w, team, poll, *use))
            return false;
    }
    return true;
}

// A batch of one block on one thread: each layer's gradient is applied right after its delta, while
// that, W and the layer's input are in cache.
template <class T>
void Objective<T>::apply_small(const Examples<T> &data, const Batch &batch, double total_weight,
                               Pass pass, Workspace<T> &w, double &loss,
                               const GradientUse<T> &use) const {
    const Index n = batch.count;
    T *scratch = w.scratch(0);
    pass.position = 0;
    pass.logits = loss_.from_logits();
    read(data, batch, w);
    gather(data, batch, w, 0);
    network_.forward(w, 0, n, pass, scratch);
    losses(0, n, data.weight != nullptr, total_weight, w, Keep::gradient);
    loss = sum_of_rows(w.losses, n) / total_weight;
    if (use.accept && !use.accept(loss))
        return;
    const GradientSink<T> sink{nullptr, false, use.apply, use.touched};
    for (std::size_t l = network_.layers().size(); l-- > network_.lowest(pass, false);) {
        network_.backward(l, w, 0, n, pass, false, scratch);
        network_.gradient(l, w, 0, n, pass, sink, Share{}, scratch);
    }
}

// The gradient of rows [done, done + n) of a batch, which are in the workspace: parameters are
// shared out among the threads. The last block of the batch is the one that is applied. False if
// abandoned.
template <class T>
bool Objective<T>::add_gradient(Index done, Index n, Index n_rows, double loss, const Pass &pass,
                                Workspace<T> &w, Team &team, const Poll &poll,
                                const GradientUse<T> &use) const {
    for (Index first = 0; first < n; first += kRowBlock) {
        if (first > 0 && poll && poll())
            return false;
        const Index count = std::min(kRowBlock, n - first);
        const bool last = done + first + count == n_rows;
        if (last && use.accept && !use.accept(loss))
            break;
        GradientSink<T> sink{use.gradient, done + first > 0, {}};
        if (last && use.apply) {
            sink.apply = use.apply;
            sink.touched = use.touched;
        }
        if (n_rows <= kRowBlock && use.apply)
            sink.gradient = nullptr;
        team.run([&](int t) {
            network_.gradient(w, first, count, pass, sink, team.share(t), w.scratch(t));
        });
    }
    return true;
}

template <class T>
double Objective<T>::trace(const Examples<T> &data, const Pass &pass, Workspace<T> &w,
                           T *gradient) const {
    const Index rows = data.X->rows();
    check_rows(network_, pass, rows, data.names.X);
    const RowOrder order(rows);
    const double total = total_weight(data, {&order, 0, rows}, w);
    if (!(total > 0))
        throw DataError(std::string(data.names.weight) + " must not be all zero");
    double sum = 0;
    const Index together = rows_together(network_, pass, rows);
    for (Index first = 0; first < rows; first += together) {
        const Index n = std::min(together, rows - first);
        gather(data, {&order, first, n}, w, first);
        Pass here = pass; // with the output's a, also where the loss is computed from z
        here.position = first;
        network_.forward(w, first, n, here, w.scratch(0));
        for (Index j = first; j < first + n; j += kRowBlock)
            losses(j, std::min(kRowBlock, first + n - j), data.weight != nullptr, total, w,
                   Keep::everything);
        here.logits = loss_.from_logits();
        network_.backward(w, first, n, here, true, w.scratch(0));
        for (Index j = first; j < first + n; j += kRowBlock) {
            const Index count = std::min(kRowBlock, first + n - j);
            sum += sum_of_rows(w.losses + j, count);
            network_.gradient(w, j, count, here, {gradient, j > 0, {}}, Share{}, w.scratch(0));
        }
    }
    return sum / total;
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template void check_rows<T>(const Network<T> &, const Pass &, Index, const char *);            \
    template void refuse<T>(const Source<T> &, const std::string &);                               \
    template void refuse_codes<T>(const Embedding<T> &, const Source<T> &, const std::string &,    \
                                  bool);                                                           \
    template class Objective<T>;
DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
