// Gathering rows of strided memory: one function per (network type, stored type, byte order,
// check), chosen once when the source is made.
#include "deltarule/dataset.hpp"

#include "deltarule/simd.hpp"

#include "stored.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

namespace deltarule {

using namespace stored;

namespace {

// Converts one row whose elements lie `stride` bytes apart.
template <class T, class E, bool kChecked>
inline void convert_row(const std::byte *__restrict place, Index stride, Index width,
                        T *__restrict out, FiniteCheck<T> &check) {
    for (Index i = 0; i < width; ++i) {
        const T value = E::template load<T>(place + i * stride);
        if constexpr (kChecked)
            check.see(value);
        out[i] = value;
    }
}

// Shuffled rows are where no hardware prefetcher looks for them: fetches the start of a row to
// come, after which the hardware follows. (Rows in order it finds itself.)
inline void prefetch_row(const std::byte *place, Index bytes) {
    constexpr Index kLine = 64, kLines = 16;
    for (Index offset = 0; offset < std::min(bytes, kLine * kLines); offset += kLine)
        __builtin_prefetch(place + offset);
}

// Rows whose elements are neighbours: the stride is a constant here, so the loop becomes packets.
template <class T, class E, bool kChecked>
bool gather_contiguous(const ArrayView &view, const Index *numbers, Index count, T *out, Index ld) {
    constexpr Index kAhead = 4;
    FiniteCheck<T> check;
    if (view.columns == 1) { // as for targets: reads that do not wait for each other
        for (Index j = 0; j < count; ++j)
            convert_row<T, E, kChecked>(view.data + numbers[j] * view.row_stride, E::kSize, 1,
                                        out + j * ld, check);
        return check.all_finite();
    }
    for (Index j = 0; j < count; ++j) {
        if (j + kAhead < count)
            prefetch_row(view.data + numbers[j + kAhead] * view.row_stride,
                         E::kSize * view.columns);
        convert_row<T, E, kChecked>(view.data + numbers[j] * view.row_stride, E::kSize,
                                    view.columns, out + j * ld, check);
    }
    return check.all_finite();
}

// Any strides. Walks along the shorter one, in whose direction elements share cache lines and
// pages.
template <class T, class E, bool kChecked>
bool gather_strided(const ArrayView &view, const Index *numbers, Index count, T *out, Index ld) {
    FiniteCheck<T> check;
    if (std::abs(view.column_stride) <= std::abs(view.row_stride)) {
        for (Index j = 0; j < count; ++j)
            convert_row<T, E, kChecked>(view.data + numbers[j] * view.row_stride,
                                        view.column_stride, view.columns, out + j * ld, check);
        return check.all_finite();
    }
    for (Index i = 0; i < view.columns; ++i) {
        const std::byte *column = view.data + i * view.column_stride;
        for (Index j = 0; j < count; ++j)
            convert_row<T, E, kChecked>(column + numbers[j] * view.row_stride, 0, 1,
                                        out + j * ld + i, check);
    }
    return check.all_finite();
}

// Calls f(row, column of out) for each row, fetching a group ahead the rows that are out of order.
template <class T, class F>
void each_row(const ArrayView &view, const Index *numbers, Index count, T *out, Index ld,
              const F &f) {
    constexpr Index kGroup = 4;
    const std::byte *const data = view.data;
    const Index stride = view.row_stride, bytes = Index(sizeof(T)) * view.columns;
    const auto row = [=](Index j) { return data + numbers[j] * stride; };
    Index j = 0;
    for (; j + kGroup <= count; j += kGroup) {
        const Index next = j + kGroup, end = std::min(count, next + kGroup);
        if (next < end && numbers[next] != numbers[j] + kGroup)
            for (Index q = next; q < end; ++q)
                prefetch_row(row(q), bytes);
#pragma GCC unroll 4
        for (Index q = 0; q < kGroup; ++q)
            f(reinterpret_cast<const T *>(row(j + q)), out + (j + q) * ld);
    }
    for (; j < count; ++j)
        f(reinterpret_cast<const T *>(row(j)), out + j * ld);
}

// The network's own type, in place: packets are copied, and checked by x - x, which is 0 or NaN.
template <class T, bool kChecked>
bool gather_same(const ArrayView &view, const Index *numbers, Index count, T *out, Index ld) {
    using V = simd::Packet<T>;
    constexpr Index kP = simd::kLanes<T>;
    const Index width = view.columns, whole = width / kP * kP, rest = width - whole;
    V faults = simd::zero<V>();
    const auto copy = [&faults](const V &x) {
        if constexpr (kChecked)
            faults = simd::add(faults, simd::sub(x, x));
        return x;
    };
    if (whole == 0) // the usual small table: no loop along a row
        each_row(view, numbers, count, out, ld, [=](const T *row, T *column) {
            simd::store_first(column, copy(simd::load_first<V>(row, rest)), rest);
        });
    else
        each_row(view, numbers, count, out, ld, [=](const T *row, T *column) {
            for (Index i = 0; i < whole; i += kP)
                simd::store(column + i, copy(simd::load<V>(row + i)));
            if (rest > 0)
                simd::store_first(column + whole, copy(simd::load_first<V>(row + whole, rest)),
                                  rest);
        });
    return simd::tree_sum(faults) == 0;
}

// The same for rows that are a small packet each, or one number: a larger packet with a mask would
// cross into the next cache line.
template <class T, bool kChecked, int kWidth>
bool gather_short(const ArrayView &view, const Index *numbers, Index count, T *out, Index ld) {
    using V = typename simd::SmallPacket<T, kWidth>::type;
    V faults = simd::zero<V>();
    each_row(view, numbers, count, out, ld, [&faults](const T *row, T *column) {
        const V x = simd::load<V>(row);
        if constexpr (kChecked)
            faults = simd::add(faults, simd::sub(x, x));
        simd::store(column, x);
    });
    return simd::tree_sum(faults) == 0;
}

template <class T, bool kChecked, int... kWidths>
auto gather_same_of(Index width, std::integer_sequence<int, kWidths...>) {
    auto gather = gather_same<T, kChecked>;
    const auto consider = [&]<int kWidth>(std::integral_constant<int, kWidth>) {
        if constexpr (requires { typename simd::SmallPacket<T, kWidth>::type; })
            if (width == kWidth)
                gather = gather_short<T, kChecked, kWidth>;
    };
    (consider(std::integral_constant<int, kWidths>()), ...);
    return gather;
}

// Whether rows are contiguous and aligned numbers of the network's own type.
template <class T, class E> bool is_same(const ArrayView &view) {
    constexpr auto kAlign = static_cast<Index>(alignof(T));
    return std::is_same_v<E, Element<T, false>> && view.column_stride == E::kSize &&
           reinterpret_cast<std::intptr_t>(view.data) % kAlign == 0 &&
           view.row_stride % kAlign == 0;
}

template <class T, class E, bool kChecked> auto gather_function(const ArrayView &view) {
    if (view.column_stride != E::kSize)
        return gather_strided<T, E, kChecked>;
    if constexpr (std::is_same_v<E, Element<T, false>>)
        if (is_same<T, E>(view))
            return gather_same_of<T, kChecked>(view.columns,
                                               std::integer_sequence<int, 1, 2, 4, 8>());
    return gather_contiguous<T, E, kChecked>;
}

} // namespace

std::size_t size_of(DType dtype) {
    return visit(dtype, false,
                 [](auto element) { return sizeof(typename decltype(element)::Stored); });
}

template <class T> StridedSource<T>::StridedSource(const ArrayView &view) : view_(view) {
    visit(view.dtype, view.byte_swapped, [&]<class E>(E) {
        gather_ = gather_function<T, E, false>(view);
        gather_checked_ = gather_function<T, E, E::kMayBeInfinite>(view);
        if (is_same<T, E>(view))
            in_place_ = {reinterpret_cast<const T *>(view.data), view.row_stride / E::kSize};
    });
}

template <class T>
bool StridedSource<T>::gather(const Index *numbers, Index count, T *out, Index ld,
                              Check check) const {
    return (check == Check::finite ? gather_checked_ : gather_)(view_, numbers, count, out, ld);
}

template <class T> double StridedSource<T>::value(Index row, Index column) const {
    const std::byte *place = view_.data + row * view_.row_stride + column * view_.column_stride;
    return visit(view_.dtype, view_.byte_swapped,
                 [place]<class E>(E) { return E::template load<double>(place); });
}

template <class T>
bool SelectedRows<T>::gather(const Index *numbers, Index count, T *out, Index ld,
                             Check check) const {
    std::array<Index, kRowBlock> chosen;
    bool finite = true;
    for (Index first = 0; first < count; first += kRowBlock) {
        const Index n = std::min(kRowBlock, count - first);
        for (Index j = 0; j < n; ++j)
            chosen[static_cast<std::size_t>(j)] = numbers_[numbers[first + j]];
        finite &= source_->gather(chosen.data(), n, out + first * ld, ld, check);
    }
    return finite;
}

namespace {

// The first fault of a source in blocks of rows that were gathered into contiguous memory, by
// find(rows, count), which says row and column in the block; a block that gathers as finite is left
// out with Check::finite.
template <class T, class F>
std::optional<Fault> first_fault(const Source<T> &source, Check check, const F &find) {
    constexpr Index kElements = 32768; // a block stays in the second-level cache
    const Index width = source.width();
    const Index block = std::clamp(kElements / std::max(width, Index{1}), Index{1}, kRowBlock);
    Buffer<T> rows(block * width);
    std::vector<Index> numbers(static_cast<std::size_t>(block));
    for (Index first = 0; first < source.rows(); first += block) {
        const Index count = std::min(block, source.rows() - first);
        std::iota(numbers.begin(), numbers.end(), first);
        const bool finite = source.gather(numbers.data(), count, rows.data(), width, check);
        if (finite && check == Check::finite)
            continue;
        const auto [row, column] = find(rows.data(), count);
        if (column >= 0) // else changed by another thread just now
            return Fault{source.users_row(first + row), column, source.value(first + row, column)};
    }
    return std::nullopt;
}

} // namespace

template <class T> bool all_finite(Index width, Index n, Columns<const T> x) {
    using V = simd::Packet<T>;
    constexpr Index kP = simd::kLanes<T>, kChains = 4;
    if (x.ld == width) { // one long column
        width *= n;
        n = 1;
    }
    V faults[kChains] = {simd::zero<V>(), simd::zero<V>(), simd::zero<V>(), simd::zero<V>()};
    const auto see = [](V &faults_seen, const V &values) { // x - x is 0 or NaN
        faults_seen = simd::add(faults_seen, simd::sub(values, values));
    };
    for (Index j = 0; j < n; ++j) {
        const T *column = x.column(j);
        Index i = 0;
        for (; i + kChains * kP <= width; i += kChains * kP)
            for (Index q = 0; q < kChains; ++q)
                see(faults[q], simd::load<V>(column + i + q * kP));
        for (; i < width; i += kP)
            see(faults[0], simd::load_first<V>(column + i, std::min(kP, width - i)));
    }
    const V all = simd::add(simd::add(faults[0], faults[1]), simd::add(faults[2], faults[3]));
    return simd::tree_sum(all) == 0;
}

template <class T> std::optional<Fault> first_fault(const Source<T> &source) {
    const Index width = source.width();
    return first_fault(source, Check::finite, [width](const T *rows, Index count) {
        const T *end = rows + count * width;
        const Index place = std::find_if(rows, end, [](T x) { return !std::isfinite(x); }) - rows;
        const bool none = place == count * width;
        return std::pair(none ? 0 : place / width, none ? -1 : place % width);
    });
}

template <class T>
std::optional<Fault> first_fault(const Source<T> &source,
                                 FunctionRef<Index(const T *row)> column_of) {
    const Index width = source.width();
    return first_fault(source, Check::none, [&](const T *rows, Index count) {
        for (Index row = 0; row < count; ++row)
            if (const Index column = column_of(rows + row * width); column >= 0)
                return std::pair(row, column);
        return std::pair(Index{0}, Index{-1});
    });
}

template class StridedSource<float>;
template class StridedSource<double>;
template class SelectedRows<float>;
template class SelectedRows<double>;
template bool all_finite(Index, Index, Columns<const float>);
template bool all_finite(Index, Index, Columns<const double>);
template std::optional<Fault> first_fault(const Source<float> &);
template std::optional<Fault> first_fault(const Source<double> &);
template std::optional<Fault> first_fault(const Source<float> &, FunctionRef<Index(const float *)>);
template std::optional<Fault> first_fault(const Source<double> &,
                                          FunctionRef<Index(const double *)>);

} // namespace deltarule
