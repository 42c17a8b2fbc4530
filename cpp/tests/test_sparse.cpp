// Sparse rows gather what the dense rows would; what is malformed is refused; what is changed later
// writes nothing out of its column.
#include "deltarule/sparse.hpp"

#include "check.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

using namespace deltarule;

namespace {

// A matrix of 5 rows and 4 columns: unsorted, with an empty row and entries in one place.
template <class S, class I> struct Csr {
    std::vector<S> data;
    std::vector<I> indices = {2, 0, 3, 1, 2, 1, 1, 0, 3, 0};
    std::vector<I> indptr = {0, 2, 2, 7, 8, 10};
    DType dtype;

    SparseView view() const {
        const auto bytes = [](const auto &v) {
            return reinterpret_cast<const std::byte *>(v.data());
        };
        return {bytes(data), bytes(indices),         bytes(indptr), dtype, sizeof(I) == 8, 5,
                4,           Index(std::ssize(data))};
    }
};

template <class I> Csr<double, I> example() {
    return {.data = {1.5, -2, 1e16, 1, 7, 3, -1e16, -0.0, 4, 5}, .dtype = DType::float64};
}

// Its rows; in the third 1 + 3 - 1e16 is added up in this order.
const std::vector<double> kDense = {-2, 0,    1.5, 0, 0, 0, 0, 0, 0, 1.0 + 3.0 - 1e16,
                                    7,  1e16, 0,   0, 0, 0, 5, 0, 0, 4};

template <class T> bool same_bits(T a, T b) { return std::memcmp(&a, &b, sizeof a) == 0; }

template <class T, class I> void check_gather(Check check) {
    const auto csr = example<I>();
    const SparseMatrix matrix(csr.view());
    const SparseSource<T> source(matrix);
    CHECK_EQ(source.rows(), 5);
    CHECK_EQ(source.width(), 4);
    const std::vector<Index> numbers = {4, 2, 2, 0, 1, 3};
    constexpr Index kLd = 7;
    std::vector<T> out(kLd * numbers.size(), T(-7));
    CHECK(source.gather(numbers.data(), Index(numbers.size()), out.data(), kLd, check));
    for (std::size_t j = 0; j < numbers.size(); ++j)
        for (std::size_t i = 0; i < kLd; ++i) {
            const auto place = static_cast<std::size_t>(numbers[j]) * 4 + i;
            CHECK(same_bits(out[j * kLd + i], i < 4 ? T(kDense[place]) : T(-7)));
        }
    CHECK_EQ(source.value(2, 1), 1.0 + 3.0 - 1e16);
    CHECK_EQ(source.value(2, 0), 0.0);
    CHECK_EQ(source.value(1, 3), 0.0);
}

template <class I> std::string refusal(const Csr<double, I> &csr) {
    try {
        const SparseMatrix matrix(csr.view());
    } catch (const std::invalid_argument &error) {
        return error.what();
    }
    return "";
}

template <class I> void check_refusals() {
    const auto with = [](auto &&change) {
        auto csr = example<I>();
        change(csr);
        return refusal(csr);
    };
    CHECK_EQ(with([](auto &) {}), "");
    CHECK_EQ(with([](auto &csr) { csr.indptr[0] = 1; }),
             "indptr must start at 0, got 1 at index 0");
    CHECK_EQ(with([](auto &csr) { csr.indptr[3] = 1; }),
             "indptr must never decrease, got 1 at index 3");
    CHECK_EQ(with([](auto &csr) { csr.indptr[5] = 11; }),
             "indptr must end within the data, got 11 at index 5");
    CHECK_EQ(with([](auto &csr) { csr.indices[6] = 4; }),
             "indices must be >= 0 and < 4, got 4 in row 2");
    CHECK_EQ(with([](auto &csr) { csr.indices[9] = -1; }),
             "indices must be >= 0 and < 4, got -1 in row 4");
}

template <class S> void check_sum(DType dtype, S a, S b, double total) {
    const Csr<S, std::int32_t> csr = {
        .data = {a, b}, .indices = {3, 3}, .indptr = {0, 0, 0, 0, 0, 2}, .dtype = dtype};
    const SparseMatrix matrix(csr.view());
    CHECK_EQ(SparseSource<double>(matrix).value(4, 3), total);
}

} // namespace

TEST(gathers_dense_columns) {
    for (const Check check : {Check::none, Check::finite}) {
        check_gather<float, std::int32_t>(check);
        check_gather<float, std::int64_t>(check);
        check_gather<double, std::int32_t>(check);
        check_gather<double, std::int64_t>(check);
    }
}

TEST(refuses_what_is_malformed) {
    check_refusals<std::int32_t>();
    check_refusals<std::int64_t>();
}

TEST(entries_of_one_place_are_added_in_the_stored_type) {
    check_sum<float>(DType::float32, 16777216.0F, 1.0F, 16777216.0);
    check_sum<std::int8_t>(DType::int8, 100, 100, -56);
    check_sum<std::uint16_t>(DType::uint16, 65535, 2, 1);
    check_sum<std::int64_t>(DType::int64, std::numeric_limits<std::int64_t>::max(), 1,
                            -9223372036854775808.0);
    check_sum<std::uint8_t>(DType::boolean, 1, 1, 1);
    check_sum<std::uint16_t>(DType::float16, 0x3c00, 0x4000, 3); // 1 + 2
}

TEST(finds_what_is_not_finite) {
    auto csr = example<std::int32_t>();
    csr.data[8] = 1e300;
    const SparseMatrix matrix(csr.view());
    CHECK(!first_fault(SparseSource<double>(matrix)));
    const auto fault = first_fault(SparseSource<float>(matrix));
    CHECK(fault && fault->row == 4 && fault->column == 3 && fault->value == 1e300);
}

TEST(what_is_changed_after_the_check_stays_within_its_column) {
    Csr<float, std::int32_t> csr = {.data = {1, 2, 3, 4, 5, 6},
                                    .indices = {0, 1, 2, 3, 0, 1},
                                    .indptr = {0, 1, 2, 3, 4, 6},
                                    .dtype = DType::float32};
    const SparseMatrix matrix(csr.view());
    const SparseSource<float> source(matrix);
    csr.indices = {-1,
                   4,
                   std::numeric_limits<std::int32_t>::min(),
                   std::numeric_limits<std::int32_t>::max(),
                   1000000,
                   2};
    csr.indptr = {-1000000, 1, 2, 3, 4, 1000000};
    const std::vector<Index> numbers = {0, 1, 2, 3, 4};
    std::vector<float> out(20, -7.0F); // exact, so that a sanitizer sees any excess
    CHECK(source.gather(numbers.data(), 5, out.data(), 4, Check::finite));
    CHECK_EQ(std::count(out.begin(), out.end(), 0.0F), 19);
    CHECK_EQ(out[18], 6.0F);
}

// A number that is not finite, in a place that is no longer there, is no fault: there is none.
TEST(what_is_left_out_is_not_looked_at) {
    Csr<double, std::int64_t> csr = {.data = {1, 2, 3, 4, 5, 6},
                                     .indices = {0, 1, 2, 3, 0, 1},
                                     .indptr = {0, 1, 2, 3, 4, 6},
                                     .dtype = DType::float64};
    const SparseMatrix matrix(csr.view());
    const SparseSource<double> source(matrix);
    std::fill(csr.data.begin(), csr.data.end(), std::numeric_limits<double>::quiet_NaN());
    std::fill(csr.indices.begin(), csr.indices.end(), -1);
    const std::vector<Index> numbers = {0, 1, 2, 3, 4};
    std::vector<double> out(20, -7.0);
    CHECK(source.gather(numbers.data(), 5, out.data(), 4, Check::finite));
    CHECK(!first_fault(source).has_value());
}
