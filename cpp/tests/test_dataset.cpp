// Every dtype, byte order and layout gathers what a conversion one element at a time would give.
#include "deltarule/dataset.hpp"

#include "check.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <type_traits>

using namespace deltarule;

namespace {

// Stored types that C++ has no arithmetic for, and what they are worth.
struct Half {
    std::uint16_t bits;
};
struct Bool {
    std::uint8_t byte;
};

double worth(Bool stored) { return stored.byte == 0 ? 0.0 : 1.0; }
double worth(Half stored) { // IEEE 754 binary16, by its definition
    const int exponent = stored.bits >> 10 & 31, mantissa = stored.bits & 1023;
    double magnitude = std::ldexp(mantissa + 1024, exponent - 25);
    if (exponent == 0)
        magnitude = std::ldexp(mantissa, -24);
    if (exponent == 31)
        magnitude = mantissa == 0 ? std::numeric_limits<double>::infinity()
                                  : std::numeric_limits<double>::quiet_NaN();
    return std::copysign(magnitude, stored.bits >> 15 ? -1.0 : 1.0);
}

template <class T, class S> T expected(S stored) {
    if constexpr (std::is_class_v<S>)
        return static_cast<T>(worth(stored));
    else
        return static_cast<T>(stored);
}

template <class T> bool same_bits(T a, T b) { return std::memcmp(&a, &b, sizeof a) == 0; }

// Finite values that show every byte, sign and rounding.
template <class S> std::vector<S> palette() {
    if constexpr (std::is_same_v<S, Bool>)
        return {{0}, {1}, {255}, {2}, {0}};
    else if constexpr (std::is_same_v<S, Half>)
        return {{0x0000}, {0x8000}, {0x3c00}, {0xfbff}, {0x0001}, {0x83ff}, {0x0400}, {0x3555}};
    else if constexpr (std::is_integral_v<S>)
        return {0,
                1,
                std::numeric_limits<S>::max(),
                std::numeric_limits<S>::min(),
                static_cast<S>(0x0123456789abcdefLL),
                static_cast<S>(std::numeric_limits<S>::max() / 3)};
    else
        return {S(0), S(-0.0), S(1) / 3, S(-1e30), S(1e-30), S(3.4028234e38), S(16777217), S(0.1)};
}

struct Layout {
    Index row_stride, column_stride, offset; // offset of the lowest byte used
};

// The layouts NumPy makes of (rows, width) elements of `size` bytes.
std::vector<Layout> layouts(Index rows, Index width, Index size) {
    return {
        {width * size, size, 0},               // C
        {size, rows * size, 0},                // Fortran
        {width * size, size, 1},               // unaligned
        {width * (size + 1) + 3, size + 1, 1}, // a field of packed records
        {2 * width * size, 2 * size, 0},       // X[:, ::2]
        {-width * size, size, 0},              // X[::-1]
        {-width * size, -size, 0},             // X[::-1, ::-1]
        {size, -rows * size, 1},               // Fortran, reversed, unaligned
        {0, size, 0},                          // broadcast_to of one row
        {size, 0, 0},                          // broadcast_to of one column
        {0, 0, 0},
    };
}

// Memory in some layout, filled with stored(row, column).
template <class S> class Array {
  public:
    Array(DType dtype, bool swapped, Index rows, Index width, const Layout &layout)
        : view_{nullptr, dtype, swapped, rows, width, layout.row_stride, layout.column_stride} {
        const Index down = (rows - 1) * layout.row_stride,
                    right = (width - 1) * layout.column_stride;
        const Index lowest = std::min(down, Index{0}) + std::min(right, Index{0});
        const auto size = layout.offset + std::abs(down) + std::abs(right) + Index{sizeof(S)};
        bytes_.resize(static_cast<std::size_t>(size)); // exact, so that a sanitizer sees any excess
        view_.data = bytes_.data() + layout.offset - lowest;
    }
    const ArrayView &view() const { return view_; }

    void set(Index row, Index column, S stored) {
        auto bytes = std::bit_cast<std::array<std::byte, sizeof(S)>>(stored);
        if (view_.byte_swapped)
            std::ranges::reverse(bytes);
        const std::byte *place = view_.data + row * view_.row_stride + column * view_.column_stride;
        std::ranges::copy(bytes, bytes_.begin() + (place - bytes_.data()));
    }
    void fill() {
        for (Index r = 0; r < view_.rows; ++r)
            for (Index c = 0; c < view_.columns; ++c)
                set(r, c, stored(r, c));
    }
    S stored(Index row, Index column) const { // elements that share memory share a value
        static const std::vector<S> values = palette<S>();
        const Index r = view_.row_stride == 0 ? 0 : row, c = view_.column_stride == 0 ? 0 : column;
        return values[static_cast<std::size_t>(r * 5 + c * 3 + r * c) % values.size()];
    }

  private:
    std::vector<std::byte> bytes_;
    ArrayView view_;
};

template <class T, class S> void check_gather(const Array<S> &array, Check check) {
    const Index width = array.view().columns, ld = width + 3;
    const std::vector<Index> numbers = {4, 0, 6, 6, 1, 5, 3, 2, 0};
    const auto count = static_cast<Index>(numbers.size());
    std::vector<T> out(static_cast<std::size_t>(ld * count), T(-7));
    const StridedSource<T> source(array.view());
    CHECK(source.gather(numbers.data(), count, out.data(), ld, check));
    for (Index j = 0; j < count; ++j) {
        const T *column = out.data() + j * ld;
        const Index row = numbers[static_cast<std::size_t>(j)];
        for (Index i = 0; i < width; ++i) {
            CHECK(same_bits(column[i], expected<T>(array.stored(row, i))));
            CHECK(same_bits(source.value(row, i), expected<double>(array.stored(row, i))));
        }
        CHECK(std::all_of(column + width, column + ld, [](T x) { return x == T(-7); }));
    }
}

template <class S> void check_dtype(DType dtype) {
    CHECK_EQ(size_of(dtype), sizeof(S));
    constexpr Index kRows = 7;
    for (const Index width : {1, 2, 3, 4, 7, 8, 9, 16, 37})
        for (const Layout &layout : layouts(kRows, width, sizeof(S)))
            for (const bool swapped : {false, true}) {
                Array<S> array(dtype, swapped, kRows, width, layout);
                array.fill();
                for (const Check check : {Check::none, Check::finite}) {
                    check_gather<float>(array, check);
                    check_gather<double>(array, check);
                }
            }
}

// One bad value, at every place of an array that spans blocks and packets.
template <class T, class S> void check_fault(DType dtype, S bad) {
    constexpr Index kRows = 300, kSize = sizeof(S);
    for (const Index width : {1, 2, 4, 8, 19})
        for (const Layout &layout :
             {Layout{width * kSize, kSize, 0}, Layout{width * kSize, kSize, 1},
              Layout{kSize, kRows * kSize, 0}})
            for (const bool swapped : {false, true})
                for (Index place = 0; place < kRows * width; place += 97) {
                    Array<S> array(dtype, swapped, kRows, width, layout);
                    array.set(place / width, place % width, bad);
                    array.set(kRows - 1, width - 1, bad); // the later one is not the first
                    const auto fault = first_fault(StridedSource<T>(array.view()));
                    CHECK(fault.has_value());
                    CHECK_EQ(fault->row, place / width);
                    CHECK_EQ(fault->column, place % width);
                    const double value = expected<double>(bad);
                    CHECK(fault->value == value || (std::isnan(value) && std::isnan(fault->value)));
                }
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

} // namespace

TEST(selected_rows_are_rows_of_the_source) {
    constexpr Index kRows = 700, kWidth = 3, kCount = 600;
    std::vector<double> data(kRows * kWidth);
    for (std::size_t i = 0; i < data.size(); ++i)
        data[i] = static_cast<double>(i);
    ArrayView view;
    view.data = reinterpret_cast<const std::byte *>(data.data());
    view.rows = kRows;
    view.columns = kWidth;
    view.row_stride = kWidth * Index{sizeof(double)};
    view.column_stride = sizeof(double);
    std::vector<Index> numbers(kCount);
    for (Index i = 0; i < kCount; ++i)
        numbers[static_cast<std::size_t>(i)] = (i * 7 + 3) % kRows;
    const SelectedRows<double> selected(std::make_unique<StridedSource<double>>(view),
                                        numbers.data(), kCount);
    CHECK_EQ(selected.rows(), kCount);
    CHECK_EQ(selected.width(), kWidth);
    std::vector<Index> order(kCount);
    for (Index i = 0; i < kCount; ++i)
        order[static_cast<std::size_t>(i)] = kCount - 1 - i;
    std::vector<double> out(kCount * kWidth);
    CHECK(selected.gather(order.data(), kCount, out.data(), kWidth, Check::finite));
    for (Index i = 0; i < kCount; ++i) {
        const Index row = numbers[static_cast<std::size_t>(kCount - 1 - i)];
        CHECK_EQ(out[static_cast<std::size_t>(i * kWidth + 1)], double(row * kWidth + 1));
    }
    CHECK_EQ(selected.value(5, 2), double(numbers[5] * kWidth + 2));
    data[static_cast<std::size_t>(numbers[9] * kWidth + 2)] = kNan; // in the first block of many
    CHECK(!selected.gather(order.data(), kCount, out.data(), kWidth, Check::finite));
    CHECK(selected.gather(order.data(), kCount, out.data(), kWidth, Check::none));
    const auto fault = first_fault(selected);
    CHECK(fault.has_value());
    CHECK_EQ(fault->row, numbers[9]);
    CHECK_EQ(fault->column, 2);
}

TEST(integers_gather) {
    check_dtype<Bool>(DType::boolean);
    check_dtype<std::int8_t>(DType::int8);
    check_dtype<std::int16_t>(DType::int16);
    check_dtype<std::int32_t>(DType::int32);
    check_dtype<std::int64_t>(DType::int64);
    check_dtype<std::uint8_t>(DType::uint8);
    check_dtype<std::uint16_t>(DType::uint16);
    check_dtype<std::uint32_t>(DType::uint32);
    check_dtype<std::uint64_t>(DType::uint64);
}

TEST(floats_gather) {
    check_dtype<Half>(DType::float16);
    check_dtype<float>(DType::float32);
    check_dtype<double>(DType::float64);
}

TEST(every_half_converts) {
    constexpr Index kWidth = 1 << 16;
    Array<Half> array(DType::float16, false, 1, kWidth, {2 * kWidth, 2, 0});
    for (Index i = 0; i < kWidth; ++i)
        array.set(0, i, {static_cast<std::uint16_t>(i)});
    std::vector<float> out(kWidth);
    const Index first = 0;
    const StridedSource<float> source(array.view());
    CHECK(!source.gather(&first, 1, out.data(), kWidth, Check::finite));
    for (std::size_t i = 0; i < out.size(); ++i) {
        const auto value = static_cast<float>(worth(Half{static_cast<std::uint16_t>(i)}));
        CHECK(same_bits(out[i], value) || (std::isnan(out[i]) && std::isnan(value)));
    }
}

TEST(faults_are_found) {
    for (const double bad : {kNan, -kNan, kInfinity, -kInfinity}) {
        check_fault<float>(DType::float64, bad);
        check_fault<double>(DType::float64, bad);
        check_fault<float>(DType::float32, static_cast<float>(bad));
        check_fault<double>(DType::float32, static_cast<float>(bad));
    }
    for (const unsigned bits : {0x7c00U, 0xfc00U, 0x7e00U, 0x7c01U}) {
        check_fault<float>(DType::float16, Half{static_cast<std::uint16_t>(bits)});
        check_fault<double>(DType::float16, Half{static_cast<std::uint16_t>(bits)});
    }
}

TEST(doubles_may_overflow_in_float) {
    // The largest double that rounds to the largest float lies just below the middle of the gap
    // above.
    const double middle = std::ldexp(2.0 - std::ldexp(1.0, -24), 127);
    check_fault<float>(DType::float64, 1e300);
    check_fault<float>(DType::float64, -1e300);
    check_fault<float>(DType::float64, middle);
    for (const double good : {std::nextafter(middle, 0.0), -std::nextafter(middle, 0.0), 1e-300}) {
        Array<double> array(DType::float64, false, 3, 5, {40, 8, 0});
        array.set(2, 4, good);
        CHECK(!first_fault(StridedSource<float>(array.view())).has_value());
    }
    Array<double> array(DType::float64, false, 3, 5, {40, 8, 0});
    array.set(2, 4, 1e300);
    CHECK(!first_fault(StridedSource<double>(array.view())).has_value());
}

TEST(an_unchecked_gather_lets_nan_pass) {
    Array<double> array(DType::float64, false, 2, 3, {24, 8, 0});
    array.set(1, 1, kNan);
    const StridedSource<float> source(array.view());
    const std::array<Index, 2> numbers = {1, 0};
    for (const Check check : {Check::none, Check::finite}) {
        std::array<float, 6> out{};
        CHECK_EQ(source.gather(numbers.data(), 2, out.data(), 3, check), check == Check::none);
        CHECK(std::isnan(out[1]) && out[0] == 0 && out[4] == 0);
        CHECK(source.gather(numbers.data() + 1, 1, out.data(), 3, check)); // the other row is good
    }
}

TEST(empty_arrays) {
    const ArrayView no_rows = {nullptr, DType::float32, false, 0, 4, 16, 4};
    const ArrayView no_columns = {nullptr, DType::float32, false, 4, 0, 0, 4};
    CHECK(!first_fault(StridedSource<float>(no_rows)).has_value());
    CHECK(!first_fault(StridedSource<double>(no_columns)).has_value());
    CHECK(StridedSource<float>(no_rows).gather(nullptr, 0, nullptr, 4, Check::finite));
}

TEST(rows_beyond_two_to_the_31) {
    constexpr Index kRows = (Index{1} << 31) + 8;
    const std::array<Index, 3> numbers = {kRows - 1, 0, kRows - 8};
    std::array<float, 6> out{};

    const std::array<double, 2> row = {1.5, -2.5};
    const auto *bytes = reinterpret_cast<const std::byte *>(row.data());
    const StridedSource<float> repeated({bytes, DType::float64, false, kRows, 2, 0, 8});
    CHECK_EQ(repeated.rows(), kRows);
    CHECK(repeated.gather(numbers.data(), 3, out.data(), 2, Check::finite));
    CHECK((out == std::array<float, 6>{1.5F, -2.5F, 1.5F, -2.5F, 1.5F, -2.5F}));

    // Real addresses that far apart. Only three pages of this memory are ever touched.
    auto *far = static_cast<std::int8_t *>(std::calloc(static_cast<std::size_t>(kRows), 1));
    if (far == nullptr)
        return;
    far[0] = 1, far[kRows - 8] = 2, far[kRows - 1] = 3;
    const auto *place = reinterpret_cast<const std::byte *>(far);
    const StridedSource<float> source({place, DType::int8, false, kRows, 1, 1, 1});
    const bool finite = source.gather(numbers.data(), 3, out.data(), 1, Check::finite);
    std::free(far);
    CHECK(finite);
    CHECK((out[0] == 3 && out[1] == 1 && out[2] == 2));
}
