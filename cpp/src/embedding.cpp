// Looking codes up in tables, and the gradient of the levels that a block of rows holds.
#include "deltarule/layers.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <string>

namespace deltarule {

namespace {

constexpr Index kTile = 2048; // parameters that are finished before they are applied

// Whether x is one of 0 ... n_levels - 1; with NaN it is not.
template <class T> bool is_code(T x, Index n_levels) {
    return x >= 0 && x < static_cast<T>(n_levels) && static_cast<T>(static_cast<Index>(x)) == x;
}

// The rows of a block by their levels: numbers that say level and row, ascending.
using RowsByLevel = std::array<Index, kRowBlock>;

// Finds those of n rows whose level of `c`, as a column of the weights, is in [first, last).
// Returns their end.
template <class T>
const Index *sort_rows(const typename Embedding<T>::Coded &c, Columns<const T> in, Index n,
                       Index first, Index last, RowsByLevel &rows) {
    Index *end = rows.data();
    if (first >= last)
        return end;
    for (Index j = 0; j < n; ++j) {
        const T code = in.column(j)[c.input];
        const Index level =
            is_code(code, c.n_levels) ? c.first_level + static_cast<Index>(code) : -1;
        if (first <= level && level < last)
            *end++ = level * kRowBlock + j;
    }
    std::sort(rows.data(), end);
    return end;
}

// Adds delta of the rows of one level, `count` numbers each, to `total`: they are summed first,
// from zero. Returns where the next level starts.
template <class T>
const Index *add_level(const Index *row, const Index *end, Columns<const T> delta, Index count,
                       T *sum, T *total) {
    const Index level = *row / kRowBlock;
    std::fill_n(sum, count, T(0));
    for (; row != end && *row / kRowBlock == level; ++row) {
        const T *d = delta.column(*row % kRowBlock);
        for (Index i = 0; i < count; ++i)
            sum[i] += d[i];
    }
    for (Index i = 0; i < count; ++i)
        total[i] += sum[i];
    return row;
}

} // namespace

template <class T>
Embedding<T>::Embedding(Index n_inputs, const std::vector<Index> &columns,
                        const std::vector<Index> &levels_of_columns, Index n_dimensions)
    : inputs(n_inputs), outputs(0), dimension(n_dimensions), n_levels(0) {
    constexpr Index kMostLevels = Index{1} << std::numeric_limits<T>::digits;
    if (columns.empty() || columns.size() != levels_of_columns.size() || dimension < 1)
        throw std::invalid_argument("an Embedding needs columns, a number of levels for each, and "
                                    "a dimension of at least 1");
    std::vector<bool> is_coded(static_cast<std::size_t>(inputs), false);
    for (std::size_t j = 0; j < columns.size(); ++j) {
        const Index column = columns[j], levels = levels_of_columns[j];
        if (column < 0 || column >= inputs || is_coded[static_cast<std::size_t>(column)])
            throw std::invalid_argument("columns of an Embedding must be different inputs, got " +
                                        std::to_string(column) + " of " + std::to_string(inputs));
        if (levels < 1 || levels > kMostLevels)
            throw std::invalid_argument("n_levels of an Embedding must be from 1 to " +
                                        std::to_string(kMostLevels) + ", got " +
                                        std::to_string(levels));
        is_coded[static_cast<std::size_t>(column)] = true;
        coded.push_back({column, levels, n_levels});
        n_levels += levels;
    }
    for (Index i = 0; i < inputs; ++i)
        if (!is_coded[static_cast<std::size_t>(i)])
            passed.push_back(i);
    outputs = static_cast<Index>(passed.size()) + static_cast<Index>(coded.size()) * dimension;
}

template <class T>
void Embedding<T>::forward(const Numbers<T> &p, Columns<const T> in, const Slot<T> &slot, Index n,
                           const Pass &) const {
    for (Index j = 0; j < n; ++j) {
        const T *row = in.column(j);
        T *out = slot.a.column(j);
        for (const Index i : passed)
            *out++ = row[i];
        for (const Coded &c : coded) {
            const T code = row[c.input];
            if (is_code(code, c.n_levels))
                std::copy_n(p.theta + (c.first_level + static_cast<Index>(code)) * dimension,
                            dimension, out);
            else
                std::fill_n(out, dimension, std::numeric_limits<T>::quiet_NaN());
            out += dimension;
        }
    }
}

template <class T>
void Embedding<T>::backward(const Numbers<T> &, Columns<const T>, const Slot<T> &slot,
                            Columns<T> d_in, Index n, const Pass &) const {
    if (!d_in)
        return;
    for (Index j = 0; j < n; ++j) {
        const T *delta = slot.delta.column(j);
        std::fill_n(d_in.column(j), inputs, T(0));
        for (const Index i : passed)
            d_in.column(j)[i] = *delta++;
    }
}

// Rows are sorted by level, so that one pass through a table is enough: tile after tile is zeroed,
// gets the sums of its levels, and is applied.
template <class T>
void Embedding<T>::gradient(Columns<const T> in, const Slot<T> &slot, Index n, Index offset,
                            Index k0, Index k1, const GradientSink<T> &sink, T *scratch) const {
    RowsByLevel rows;
    const Index tile = std::max<Index>(kTile / dimension, 1);
    Columns<const T> delta{slot.delta.data + passed.size(), slot.delta.ld};
    for (const Coded &c : coded) {
        const Index first = std::max(k0, c.first_level);
        const Index last = std::min(k1, c.first_level + c.n_levels);
        const Index *row = rows.data(), *end = sort_rows(c, in, n, first, last, rows);
        for (Index level = first; level < last; level += tile) {
            const Index next = std::min(level + tile, last);
            const Index start = offset + level * dimension, count = (next - level) * dimension;
            T *values = sink.gradient ? sink.gradient + start : scratch + dimension;
            if (!sink.add)
                std::fill_n(values, count, T(0));
            while (row != end && *row / kRowBlock < next)
                row = add_level(row, end, delta, dimension, scratch,
                                values + (*row / kRowBlock - level) * dimension);
            if (sink.apply)
                sink.apply({start, count, 0}, values);
        }
        delta.data += dimension;
    }
}

template <class T> Index Embedding<T>::scratch_size() const {
    return dimension + std::max(kTile, dimension); // one sum, and one tile
}

template <class T>
bool Embedding<T>::holds_codes(Columns<const T> in, Index n, bool nan_passes) const {
    for (Index j = 0; j < n; ++j)
        if (fault_of(in.column(j), nan_passes))
            return false;
    return true;
}

template <class T>
auto Embedding<T>::fault_of(const T *row, bool nan_passes) const -> const Coded * {
    const Coded *first = nullptr;
    for (const Coded &c : coded) {
        const T x = row[c.input];
        const bool passes = is_code(x, c.n_levels) || (nan_passes && x != x);
        if (!passes && (!first || c.input < first->input))
            first = &c;
    }
    return first;
}

template struct Embedding<float>;
template struct Embedding<double>;

} // namespace deltarule
