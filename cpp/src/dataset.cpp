// Gathering rows of strided memory: one function per (network type, stored type, byte order,
// check), chosen once when the source is made.
#include "deltarule/dataset.hpp"

#include "deltarule/simd.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <stdexcept>
#include <type_traits>
#include <vector>

namespace deltarule {

namespace {

struct Boolean { // any byte but zero is true, whatever wrote it
    std::uint8_t byte;
    explicit operator float() const { return byte != 0 ? 1.0F : 0.0F; }
};

struct Float16 {
    std::uint16_t bits;
    explicit operator float() const {
        return Eigen::half_impl::half_to_float(Eigen::half_impl::raw_uint16_to_half(bits));
    }
};

template <std::size_t size> struct UnsignedOf;
template <> struct UnsignedOf<1> : std::type_identity<std::uint8_t> {};
template <> struct UnsignedOf<2> : std::type_identity<std::uint16_t> {};
template <> struct UnsignedOf<4> : std::type_identity<std::uint32_t> {};
template <> struct UnsignedOf<8> : std::type_identity<std::uint64_t> {};
template <class T> using Bits = typename UnsignedOf<sizeof(T)>::type;

std::uint16_t reversed(std::uint16_t bits) { return __builtin_bswap16(bits); }
std::uint32_t reversed(std::uint32_t bits) { return __builtin_bswap32(bits); }
std::uint64_t reversed(std::uint64_t bits) { return __builtin_bswap64(bits); }

// How one element lies in memory, at any alignment.
template <class S, bool kSwapped> struct Element {
    using Stored = S;
    static constexpr Index kSize = sizeof(S);
    static constexpr bool kMayBeInfinite = !std::is_integral_v<S> && !std::is_same_v<S, Boolean>;

    template <class T> static T load(const std::byte *place) {
        Bits<S> bits;
        std::memcpy(&bits, place, sizeof bits);
        if constexpr (kSwapped)
            bits = reversed(bits);
        const S stored = std::bit_cast<S>(bits);
        if constexpr (std::is_class_v<S>)
            return static_cast<T>(static_cast<float>(stored));
        else
            return static_cast<T>(stored);
    }
};

// Calls visitor(Element<...>()) for a dtype and byte order.
template <class Visitor> auto visit(DType dtype, bool swapped, const Visitor &visitor) {
    const auto in_order = [&]<class S>(std::type_identity<S>) {
        if constexpr (sizeof(S) > 1) {
            if (swapped)
                return visitor(Element<S, true>());
        }
        return visitor(Element<S, false>());
    };
    switch (dtype) {
    case DType::boolean:
        return in_order(std::type_identity<Boolean>());
    case DType::int8:
        return in_order(std::type_identity<std::int8_t>());
    case DType::int16:
        return in_order(std::type_identity<std::int16_t>());
    case DType::int32:
        return in_order(std::type_identity<std::int32_t>());
    case DType::int64:
        return in_order(std::type_identity<std::int64_t>());
    case DType::uint8:
        return in_order(std::type_identity<std::uint8_t>());
    case DType::uint16:
        return in_order(std::type_identity<std::uint16_t>());
    case DType::uint32:
        return in_order(std::type_identity<std::uint32_t>());
    case DType::uint64:
        return in_order(std::type_identity<std::uint64_t>());
    case DType::float16:
        return in_order(std::type_identity<Float16>());
    case DType::float32:
        return in_order(std::type_identity<float>());
    case DType::float64:
        return in_order(std::type_identity<double>());
    }
    throw std::invalid_argument("unknown dtype");
}

// Collects, in its top bit, whether any number was not finite: an exponent of all ones, and no
// other, carries into the sign. In integers, because a sum of floats could not be reordered into
// packets.
template <class T> class FiniteCheck {
  public:
    void see(T value) {
        constexpr int kMantissa = std::is_same_v<T, float> ? 23 : 52;
        constexpr Bits<T> kOne = 1;
        const auto bits = std::bit_cast<Bits<T>>(value);
        carries_ |= (bits & (static_cast<Bits<T>>(~Bits<T>{0}) >> 1)) + (kOne << kMantissa);
    }
    bool all_finite() const { return carries_ >> (8 * sizeof(T) - 1) == 0; }

  private:
    Bits<T> carries_ = 0;
};

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

// Calls f(row, column of out) for each row, fetching ahead the rows that are out of order.
template <class T, class F>
void each_row(const ArrayView &view, const Index *numbers, Index count, T *out, Index ld,
              const F &f) {
    constexpr Index kAhead = 4;
    const std::byte *const data = view.data;
    const Index stride = view.row_stride, bytes = Index(sizeof(T)) * view.columns;
    for (Index j = 0; j < count; ++j, out += ld) {
        if (j + kAhead < count && numbers[j + kAhead] != numbers[j] + kAhead)
            prefetch_row(data + numbers[j + kAhead] * stride, bytes);
        f(reinterpret_cast<const T *>(data + numbers[j] * stride), out);
    }
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

template <class T, class E, bool kChecked> auto gather_function(const ArrayView &view) {
    if (view.column_stride != E::kSize)
        return gather_strided<T, E, kChecked>;
    if constexpr (std::is_same_v<E, Element<T, false>>) {
        constexpr auto kAlign = static_cast<Index>(alignof(T));
        const auto start = reinterpret_cast<std::intptr_t>(view.data);
        if (start % kAlign == 0 && view.row_stride % kAlign == 0)
            return gather_same<T, kChecked>;
    }
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

template <class T> std::optional<Fault> first_fault(const Source<T> &source) {
    constexpr Index kElements = 32768; // a block stays in the second-level cache
    const Index width = source.width();
    const Index block = std::clamp(kElements / std::max(width, Index{1}), Index{1}, kRowBlock);
    Buffer<T> rows(block * width);
    std::vector<Index> numbers(static_cast<std::size_t>(block));
    for (Index first = 0; first < source.rows(); first += block) {
        const Index count = std::min(block, source.rows() - first);
        std::iota(numbers.begin(), numbers.end(), first);
        if (source.gather(numbers.data(), count, rows.data(), width, Check::finite))
            continue;
        const T *start = rows.data(), *end = start + count * width;
        const T *bad = std::find_if(start, end, [](T x) { return !std::isfinite(x); });
        const Index row = first + (bad - start) / width;
        const Index column = (bad - start) % width;
        return Fault{row, column, source.value(row, column)};
    }
    return std::nullopt;
}

template class StridedSource<float>;
template class StridedSource<double>;
template std::optional<Fault> first_fault(const Source<float> &);
template std::optional<Fault> first_fault(const Source<double> &);

} // namespace deltarule
