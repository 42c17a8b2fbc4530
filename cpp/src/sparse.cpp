// Checking a sparse matrix, once, and gathering its rows: one function per (network type, stored
// type, index type, check).
#include "deltarule/sparse.hpp"

#include "stored.hpp"

#include <algorithm>
#include <string>

namespace deltarule {

using namespace stored;

namespace {

template <class I> Index index_at(const std::byte *place, Index k) {
    I index;
    std::memcpy(&index, place + k * Index{sizeof(I)}, sizeof index);
    return static_cast<Index>(index);
}

// Calls visitor(std::type_identity<I>()) for the type of indices and indptr.
template <class Visitor> auto visit_indices(const SparseView &view, const Visitor &visitor) {
    return view.wide_indices ? visitor(std::type_identity<std::int64_t>())
                             : visitor(std::type_identity<std::int32_t>());
}

bool is_column(const SparseView &view, Index column) {
    return static_cast<std::size_t>(column) < static_cast<std::size_t>(view.columns);
}

// The places in data that row `row` has, always within data.
struct Range {
    Index first, end;
};

template <class I> Range range_of(const SparseView &view, Index row) {
    return {std::max(index_at<I>(view.indptr, row), Index{0}),
            std::min(index_at<I>(view.indptr, row + 1), view.n_stored)};
}

template <class I> void check_indptr(const SparseView &view) {
    const auto refuse = [](const char *what, Index value, Index row) {
        throw std::invalid_argument("indptr must " + std::string(what) + ", got " +
                                    std::to_string(value) + " at index " + std::to_string(row));
    };
    Index last = index_at<I>(view.indptr, 0);
    if (last != 0)
        refuse("start at 0", last, 0);
    for (Index row = 1; row <= view.rows; ++row) {
        const Index next = index_at<I>(view.indptr, row);
        if (next < last)
            refuse("never decrease", next, row);
        last = next;
    }
    if (last > view.n_stored)
        refuse("end within the data", last, view.rows);
}

// Whether any row holds a column twice. Rows in ascending order, as most are, need no memory.
template <class I> bool check_indices(const SparseView &view) {
    std::vector<Index> last_row; // of every column: where it was seen last
    bool has_duplicates = false;
    for (Index row = 0; row < view.rows; ++row) {
        const auto [first, end] = range_of<I>(view, row);
        Index previous = -1;
        bool ascends = true;
        for (Index k = first; k < end; ++k) {
            const Index column = index_at<I>(view.indices, k);
            if (!is_column(view, column))
                throw std::invalid_argument(
                    "indices must be >= 0 and < " + std::to_string(view.columns) + ", got " +
                    std::to_string(column) + " in row " + std::to_string(row));
            ascends = ascends && column > previous;
            previous = column;
        }
        if (ascends || has_duplicates)
            continue;
        last_row.resize(static_cast<std::size_t>(view.columns), -1);
        for (Index k = first; k < end; ++k) {
            const Index column = index_at<I>(view.indices, k);
            if (!is_column(view, column)) // changed by another thread just now
                continue;
            Index &seen = last_row[static_cast<std::size_t>(column)];
            has_duplicates = has_duplicates || seen == row;
            seen = row;
        }
    }
    return has_duplicates;
}

// a + b in the stored type, as NumPy adds: integers wrap around, booleans are joined by or.
template <class S> S sum(S a, S b) {
    if constexpr (std::is_same_v<S, Boolean>)
        return {static_cast<std::uint8_t>(a.byte | b.byte)};
    else if constexpr (std::is_same_v<S, Float16>)
        return {Eigen::half_impl::float_to_half_rtne(float(a) + float(b)).x};
    else if constexpr (std::is_integral_v<S>)
        return static_cast<S>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
    else
        return a + b;
}

// A matrix with the entries of each place added up, in their order.
template <class S, class I> class Merged {
  public:
    explicit Merged(const SparseView &view)
        : place_(static_cast<std::size_t>(view.columns), Index{-1}) {
        indptr.push_back(0);
        for (Index row = 0; row < view.rows; ++row) {
            const auto [first, end] = range_of<I>(view, row);
            for (Index k = first; k < end; ++k) {
                S number;
                std::memcpy(&number, view.data + k * Index{sizeof(S)}, sizeof number);
                const Index column = index_at<I>(view.indices, k);
                if (is_column(view, column))
                    add(column, number);
            }
            indptr.push_back(static_cast<Index>(data.size()));
        }
    }
    std::vector<S> data;
    std::vector<Index> indices, indptr;

  private:
    void add(Index column, S number) { // to the row that indptr has started
        Index &place = place_[static_cast<std::size_t>(column)];
        if (place >= indptr.back()) {
            S &total = data[static_cast<std::size_t>(place)];
            total = sum(total, number);
            return;
        }
        place = static_cast<Index>(data.size());
        data.push_back(number);
        indices.push_back(column);
    }

    std::vector<Index> place_; // of every column: where in data it was put last
};

template <class T> const std::byte *bytes_of(const std::vector<T> &vector) {
    return reinterpret_cast<const std::byte *>(vector.data());
}

// Whether the number stored at `place` is 0 or -0, which are 0 in the sum that makes a row dense.
// Of the bits, because subnormal numbers compare equal to 0 where they are flushed.
template <class S> bool is_zero(const std::byte *place) {
    Bits<S> bits;
    std::memcpy(&bits, place, sizeof bits);
    constexpr auto kSign = static_cast<Bits<S>>(Bits<S>{1} << (8 * sizeof(S) - 1));
    return bits == 0 || bits == kSign;
}

template <class T, class E, class I, bool kChecked>
bool gather_sparse(const SparseView &view, const Index *numbers, Index count, T *out, Index ld) {
    FiniteCheck<T> check;
    for (Index j = 0; j < count; ++j, out += ld) {
        std::fill_n(out, view.columns, T(0));
        const auto [first, end] = range_of<I>(view, numbers[j]);
        for (Index k = first; k < end; ++k) {
            const Index column = index_at<I>(view.indices, k);
            if (!is_column(view, column)) // changed by another thread just now
                continue;
            const std::byte *place = view.data + k * E::kSize;
            T value = E::template load<T>(place);
            if constexpr (E::kMayBeInfinite)
                value = is_zero<typename E::Stored>(place) ? T(0) : value;
            if constexpr (kChecked)
                check.see(value);
            out[column] = value;
        }
    }
    return check.all_finite();
}

} // namespace

SparseMatrix::SparseMatrix(const SparseView &view) : view_(view) {
    visit_indices(view, [&]<class I>(std::type_identity<I>) {
        check_indptr<I>(view);
        if (!check_indices<I>(view))
            return;
        visit_stored(view.dtype, [&]<class S>(std::type_identity<S>) {
            Merged<S, I> merged(view);
            const std::byte *data = bytes_of(merged.data);
            data_.assign(data, data + merged.data.size() * sizeof(S));
            indices_ = std::move(merged.indices);
            indptr_ = std::move(merged.indptr);
        });
        view_.data = data_.data();
        view_.indices = bytes_of(indices_);
        view_.indptr = bytes_of(indptr_);
        view_.wide_indices = true;
        view_.n_stored = static_cast<Index>(indices_.size());
    });
}

template <class T>
SparseSource<T>::SparseSource(const SparseMatrix &matrix) : view_(matrix.view()) {
    visit_indices(view_, [&]<class I>(std::type_identity<I>) {
        visit_stored(view_.dtype, [&]<class S>(std::type_identity<S>) {
            using E = Element<S, false>;
            gather_ = gather_sparse<T, E, I, false>;
            gather_checked_ = gather_sparse<T, E, I, E::kMayBeInfinite>;
        });
    });
}

template <class T>
bool SparseSource<T>::gather(const Index *numbers, Index count, T *out, Index ld,
                             Check check) const {
    return (check == Check::finite ? gather_checked_ : gather_)(view_, numbers, count, out, ld);
}

template <class T> double SparseSource<T>::value(Index row, Index column) const {
    return visit_indices(view_, [&]<class I>(std::type_identity<I>) {
        const auto [first, end] = range_of<I>(view_, row);
        for (Index k = first; k < end; ++k)
            if (index_at<I>(view_.indices, k) == column)
                return visit_stored(view_.dtype, [&]<class S>(std::type_identity<S>) {
                    using E = Element<S, false>;
                    return E::template load<double>(view_.data + k * E::kSize);
                });
        return 0.0;
    });
}

template class SparseSource<float>;
template class SparseSource<double>;

} // namespace deltarule
