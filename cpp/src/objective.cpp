// The loss over a batch and its gradient, block by block.
#include "deltarule/objective.hpp"

#include <algorithm>
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

template <class T>
void Objective<T>::gather(const Examples<T> &data, const Batch &batch, Workspace<T> &w,
                          Index column) const {
    const Index n = batch.count;
    Index *rows = w.rows + column;
    batch.order->rows(batch.first, n, rows);
    const Columns<T> X{w.input.column(column), w.input.ld}, y{w.target.column(column), w.target.ld};
    const bool finite =
        data.X->gather(rows, n, X.data, X.ld, Check::finite) &&
        data.y->gather(rows, n, y.data, y.ld, Check::finite) &&
        (!data.weight || data.weight->gather(rows, n, w.weight + column, 1, Check::finite));
    if (!finite) {
        refuse_values(network_, data);
        throw DataError(
            std::string("X, y and sample_weight must be finite; they were changed during the "
                        "call"));
    }
    const Embedding<T> *embedding = network_.embedding();
    if (embedding && !embedding->holds_codes(X, n, false)) {
        refuse_values(network_, data);
        refuse_codes(*embedding, *data.X, data.names.X, false);
    }
    if (loss_.check<T>(n, y)) {
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

// A block of rows on its way through the network, as tasks in order: gather; forward, a layer at a
// time; loss; and back, slope and recursion of a layer at a time. A task is shared out among the
// threads by columns, or, in a layer that the network splits, by units. Tasks by columns need
// nothing of the other threads, so that those that follow each other are one phase.
template <class T> struct Objective<T>::Block {
    const Objective &objective;
    const Examples<T> &data;
    const Batch batch;
    const double total_weight;
    const Pass pass;
    Workspace<T> &w;
    Team &team;
    const Keep keep;

    const Network<T> &network = objective.network_;
    const Index n_layers = static_cast<Index>(network.layers().size());
    const Index lowest = static_cast<Index>(network.lowest(false));
    const Index loss = n_layers + 1; // task 0 gathers, task l + 1 is layer l forward
    // The lowest layer with parameters has a slope and no recursion.
    const Index back = keep == Keep::outputs ? 0 : 2 * (n_layers - lowest) - 1;
    const Index end = loss + 1 + std::max<Index>(back, 0);

    std::size_t layer_of(Index task) const {
        return static_cast<std::size_t>(task < loss ? task - 1
                                                    : n_layers - 1 - (task - loss - 1) / 2);
    }
    bool is_recursion(Index task) const { return task > loss && (task - loss) % 2 == 0; }
    bool is_split(Index task) const {
        return task != 0 && task != loss && network.splits(layer_of(task), pass, team.size());
    }
    bool by_units(Index task) const {
        return is_split(task) && (task < loss || is_recursion(task));
    }

    void run() const {
        for (Index task = 0; task < end;) {
            Index next = task + 1;
            if (by_units(task)) {
                team.run([&](int t) { do_units(task, t); });
            } else {
                while (next < end && !by_units(next))
                    ++next;
                team.run([&](int t) { do_columns(task, next, t); });
            }
            task = next;
        }
    }

    void do_units(Index task, int t) const {
        const std::size_t l = layer_of(task);
        if (task < loss)
            network.forward_units(l, w, batch.count, pass, t, team.size(), w.scratch(t));
        else
            network.recursion_units(l, w, batch.count, t, team.size(), w.scratch(t));
    }

    void do_columns(Index task, Index last, int t) const {
        const Index first = share_of_columns(batch.count, t, team.size());
        const Index n = share_of_columns(batch.count, t + 1, team.size()) - first;
        if (n == 0)
            return;
        Pass here = pass;
        here.position += first;
        for (; task < last; ++task)
            if (task == 0)
                objective.gather(data, {batch.order, batch.first + first, n}, w, first);
            else if (task == loss)
                objective.losses(first, n, data.weight != nullptr, total_weight, w, keep);
            else if (task < loss)
                network.forward(layer_of(task), w, first, n, here, w.scratch(t));
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
    const bool one_block = batch.count <= kRowBlock;
    const Keep keep = use ? Keep::gradient : Keep::outputs;
    double sum = 0;
    for (Index done = 0; done < batch.count; done += kRowBlock) {
        if (done > 0 && poll && poll())
            return false;
        const Index n = std::min(kRowBlock, batch.count - done);
        Pass here = pass;
        here.position = done;
        here.logits = loss_.from_logits();
        const Batch rows{batch.order, batch.first + done, n};
        Block{*this, data, rows, total_weight, here, w, team, keep}.run();
        sum += sum_of_rows(w.losses, n);
        loss = sum / total_weight;
        const bool last = done + n == batch.count;
        if (!use || (last && use->accept && !use->accept(loss)))
            continue;
        GradientSink<T> sink{use->gradient, done > 0, {}};
        if (last && use->apply) {
            sink.apply = use->apply;
            sink.touched = use->touched;
        }
        if (one_block && use->apply)
            sink.gradient = nullptr;
        team.run([&](int t) { // parameters shared out: gradient and update
            network_.gradient(w, 0, n, sink, t, team.size(), w.scratch(t));
        });
    }
    return true;
}

template <class T>
double Objective<T>::trace(const Examples<T> &data, const Pass &pass, Workspace<T> &w,
                           T *gradient) const {
    const Index rows = data.X->rows();
    const RowOrder order(rows);
    const double total = total_weight(data, {&order, 0, rows}, w);
    if (!(total > 0))
        throw DataError(std::string(data.names.weight) + " must not be all zero");
    double sum = 0;
    for (Index first = 0; first < rows; first += kRowBlock) {
        const Index n = std::min(kRowBlock, rows - first);
        gather(data, {&order, first, n}, w, first);
        Pass here = pass; // with the output's a, also where the loss is computed from z
        here.position = first;
        network_.forward(w, first, n, here, w.scratch(0));
        losses(first, n, data.weight != nullptr, total, w, Keep::everything);
        here.logits = loss_.from_logits();
        network_.backward(w, first, n, here, true, w.scratch(0));
        sum += sum_of_rows(w.losses + first, n);
        network_.gradient(w, first, n, {gradient, first > 0, {}}, 0, 1, w.scratch(0));
    }
    return sum / total;
}

#define DELTARULE_INSTANTIATE(T)                                                                   \
    template void refuse<T>(const Source<T> &, const std::string &);                               \
    template void refuse_codes<T>(const Embedding<T> &, const Source<T> &, const std::string &,    \
                                  bool);                                                           \
    template class Objective<T>;
DELTARULE_INSTANTIATE(float)
DELTARULE_INSTANTIATE(double)
#undef DELTARULE_INSTANTIATE

} // namespace deltarule
