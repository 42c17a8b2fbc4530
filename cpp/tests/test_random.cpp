// Philox equals NumPy's word for word; the order of rows is a bijection, whichever way it is asked
// for.
#include "deltarule/random.hpp"

#include "check.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <set>

using namespace deltarule;

namespace {

constexpr std::uint64_t kOnes = ~std::uint64_t{0};

std::vector<Index> all_rows(const RowOrder &order, Index n) {
    std::vector<Index> rows(static_cast<std::size_t>(n));
    order.rows(0, n, rows.data());
    return rows;
}

bool is_bijection(const std::vector<Index> &rows) {
    std::vector<bool> seen(rows.size(), false);
    for (const Index row : rows) {
        const auto i = static_cast<std::size_t>(row);
        if (row < 0 || i >= rows.size() || seen[i])
            return false;
        seen[i] = true;
    }
    return true;
}

} // namespace

TEST(philox_equals_numpy) {
    struct Known {
        Words counter;
        std::array<std::uint64_t, 2> key;
        Words words;
    };
    // numpy.random.Philox(counter=counter - 1, key=key).random_raw(4): NumPy adds one to the
    // 256-bit counter before it draws. The first, sixth and seventh are Random123's own known
    // answers.
    const std::vector<Known> known = {
        {{0, 0, 0, 0},
         {0, 0},
         {0x16554d9eca36314c, 0xdb20fe9d672d0fdc, 0xd7e772cee186176b, 0x7e68b68aec7ba23b}},
        {{1, 0, 0, 0},
         {0, 0},
         {0x02f4ba6408e4d89b, 0x3dd62b0b9ca8c5b2, 0x1c8667a55d902e79, 0x907d7a052fd5b4dc}},
        {{0, 1, 0, 0},
         {0, 0},
         {0xe85facf8b3b067d6, 0xfdbc6a61c123b5f8, 0x349bde9a4b8d60c1, 0x39212690df8b178a}},
        {{0, 0, 1, 0},
         {7, 1},
         {0x6146c31096a219f9, 0xac7c503438051797, 0xc384f837550aa2fe, 0x58b9c675d9a7ad71}},
        {{0, 0, 0, 1},
         {7, 1},
         {0x1d10d3782e166b27, 0xffbd99331e703c65, 0x8cd086397c35ac43, 0xcc8c8186ac7e62a4}},
        {{kOnes, kOnes, kOnes, kOnes},
         {kOnes, kOnes},
         {0x87b092c3013fe90b, 0x438c3c67be8d0224, 0x9cc7d7c69cd777b6, 0xa09caebf594f0ba0}},
        {{0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0, 0x082efa98ec4e6c89},
         {0x452821e638d01377, 0xbe5466cf34e90c6c},
         {0xa528f45403e61d95, 0x38c72dbd566e9788, 0xa5a1610e72fd18b5, 0x57bd43b5e52b7fe6}},
        {{12345, 2, 255, 3},
         {2024, 2},
         {0x8681f8c08a0ebf9c, 0x33901b6c2a6f4d5f, 0xbadda0e8f5e81718, 0x34c391205f5b3c7b}},
    };
    for (const Known &k : known)
        CHECK(philox(k.counter, k.key) == k.words);
}

TEST(draw_is_keyed_by_seed_and_stream) {
    const Words counter = {5, 6, 7, 8};
    CHECK(draw(42, Stream::masks, counter) == philox(counter, {42, 2}));
    CHECK(draw(42, Stream::initial_weights, counter) == philox(counter, {42, 0}));
    CHECK(draw(42, Stream::row_order, counter) == philox(counter, {42, 1}));
    CHECK(draw(42, Stream::splits, counter) == philox(counter, {42, 3}));
}

TEST(unit_interval_is_half_open) {
    CHECK_EQ(to_unit_interval(0), 0.0);
    CHECK_EQ(to_unit_interval(0x7ff), 0.0); // the eleven low bits do not count
    CHECK_EQ(to_unit_interval(0x800), 0x1p-53);
    CHECK_EQ(to_unit_interval(kOnes), 1.0 - 0x1p-53);
    CHECK_EQ(to_unit_interval(std::uint64_t{1} << 63), 0.5);
}

TEST(normals_have_the_moments_of_normals) {
    constexpr int kPairs = 500'000;
    double sum = 0, sum2 = 0, sum3 = 0, sum4 = 0, product = 0;
    for (std::uint64_t i = 0; i < kPairs; ++i) {
        const Words w = draw(1, Stream::initial_weights, {i, 0, 0, 0});
        const auto [a, b] = to_normals(w[0], w[1]);
        sum += a + b;
        sum2 += a * a + b * b;
        sum3 += a * a * a + b * b * b;
        sum4 += a * a * a * a + b * b * b * b;
        product += a * b;
    }
    // Five standard errors: the powers 1 to 4 of a normal number have variances 1, 2, 15 and 96.
    const double n = 2.0 * kPairs;
    CHECK(std::abs(sum / n) < 5 * std::sqrt(1 / n));
    CHECK(std::abs(sum2 / n - 1) < 5 * std::sqrt(2 / n));
    CHECK(std::abs(sum3 / n) < 5 * std::sqrt(15 / n));
    CHECK(std::abs(sum4 / n - 3) < 5 * std::sqrt(96 / n));
    CHECK(std::abs(product / kPairs) < 5 * std::sqrt(1.0 / kPairs));
}

TEST(normals_are_finite_at_the_ends) {
    for (const std::uint64_t first : {std::uint64_t{0}, kOnes})
        for (const std::uint64_t second : {std::uint64_t{0}, kOnes})
            for (const double x : to_normals(first, second))
                CHECK(std::isfinite(x) && std::abs(x) < 8.6); // sqrt(2 · 53 · log 2) = 8.57
    CHECK(std::abs(to_normals(kOnes, 0)[0]) > 8.5);
}

TEST(row_order_is_a_bijection) {
    std::vector<Index> sizes(200);
    std::iota(sizes.begin(), sizes.end(), 1);
    sizes.insert(sizes.end(), {255, 256, 257, 1000, 65536, 65537, 1'000'003});
    for (const Index n : sizes)
        for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{7}, kOnes})
            CHECK(is_bijection(all_rows(RowOrder(n, seed, 3), n)));
}

TEST(row_order_in_pieces_equals_the_whole) {
    for (const Index n : {1, 5, 257, 1000, 65537}) {
        const RowOrder order(n, 11, 4);
        const std::vector<Index> whole = all_rows(order, n);
        for (const Index piece : {1, 3, 16, 17, 32, 256, 300, 1023}) {
            std::vector<Index> rows(whole.size() + 1, -1);
            for (Index first = 0; first < n; first += piece)
                order.rows(first, std::min(piece, n - first), rows.data() + first);
            CHECK_EQ(rows.back(), -1); // nothing is written past the end
            rows.pop_back();
            CHECK(rows == whole);
        }
    }
}

TEST(row_order_depends_on_seed_and_epoch) {
    constexpr Index n = 10'000;
    const std::vector<Index> one = all_rows(RowOrder(n, 1, 1), n);
    CHECK(one == all_rows(RowOrder(n, 1, 1), n));
    for (const RowOrder &other : {RowOrder(n, 1, 2), RowOrder(n, 2, 1), RowOrder(n, 1, kOnes)}) {
        const std::vector<Index> rows = all_rows(other, n);
        // Two independent permutations agree in one place on average (Poisson).
        const auto agree = std::inner_product(one.begin(), one.end(), rows.begin(), 0,
                                              std::plus<>(), std::equal_to<>());
        CHECK(agree < 12);
    }
}

TEST(row_order_stays_the_same_for_ever) { // resumed checkpoints depend on it
    // From a model of the network in Python, with NumPy's Philox.
    CHECK(all_rows(RowOrder(10, 0, 0), 10) == std::vector<Index>({6, 4, 8, 7, 5, 2, 9, 3, 1, 0}));
    CHECK(
        all_rows(RowOrder(20, 1, 2), 20) ==
        std::vector<Index>({0, 12, 1, 11, 8, 7, 13, 19, 6, 4, 18, 9, 16, 14, 15, 10, 5, 2, 3, 17}));
    std::vector<Index> rows(4);
    RowOrder(Index{1} << 40, 123, 45).rows(1'000'000'007, 4, rows.data());
    CHECK(rows == std::vector<Index>({744123443235, 9655110888, 675549573409, 762433829406}));
}

TEST(another_stream_is_another_order) {
    const std::vector<Index> rows = all_rows(RowOrder(100, 1, 0), 100),
                             split = all_rows(RowOrder(100, 1, 0, Stream::splits), 100);
    CHECK(is_bijection(split));
    CHECK(rows != split);
    CHECK(rows == all_rows(RowOrder(100, 1, 0, Stream::row_order), 100));
}

TEST(row_is_not_correlated_with_position) {
    for (const Index n : {1000, 65536, 65537, 1'000'003}) {
        for (std::uint64_t epoch = 0; epoch < 8; ++epoch) {
            const std::vector<Index> rows = all_rows(RowOrder(n, 5, epoch), n);
            const double mean = static_cast<double>(n - 1) / 2;
            double with_position = 0, with_next = 0;
            for (std::size_t i = 0; i < rows.size(); ++i) {
                const double d = static_cast<double>(rows[i]) - mean;
                with_position += (static_cast<double>(i) - mean) * d;
                with_next += (static_cast<double>(rows[(i + 1) % rows.size()]) - mean) * d;
            }
            const double cube =
                static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
            const double five_errors = 5 / std::sqrt(static_cast<double>(n));
            CHECK(std::abs(with_position / (cube / 12)) < five_errors);
            CHECK(std::abs(with_next / (cube / 12)) < five_errors);
        }
    }
}

TEST(every_row_comes_first_equally_often) {
    // χ² over which row of n stands at each end, over many epochs: n - 1 degrees of freedom.
    for (const Index n : {2, 3, 4, 5, 7, 8, 9, 13, 16, 33, 50}) {
        constexpr int kEpochs = 20'000;
        std::vector<double> first(static_cast<std::size_t>(n)), last = first;
        for (std::uint64_t epoch = 0; epoch < kEpochs; ++epoch) {
            const std::vector<Index> rows = all_rows(RowOrder(n, 9, epoch), n);
            ++first[static_cast<std::size_t>(rows.front())];
            ++last[static_cast<std::size_t>(rows.back())];
        }
        const double expected = static_cast<double>(kEpochs) / static_cast<double>(n);
        for (const std::vector<double> &counts : {first, last}) {
            double chi2 = 0;
            for (const double count : counts)
                chi2 += (count - expected) * (count - expected) / expected;
            const auto freedom = static_cast<double>(n - 1);
            CHECK(chi2 < freedom + 5 * std::sqrt(2 * freedom) + 5);
        }
    }
}

TEST(unshuffled_order_is_the_identity) {
    std::vector<Index> rows(5);
    RowOrder(100).rows(60, 5, rows.data());
    CHECK(rows == std::vector<Index>({60, 61, 62, 63, 64}));
    RowOrder(Index{1} << 40).rows((Index{1} << 40) - 5, 5, rows.data());
    CHECK_EQ(rows.back(), (Index{1} << 40) - 1);
    RowOrder(0).rows(0, 0, nullptr);
    RowOrder(0, 1, 1).rows(0, 0, nullptr);
}

TEST(huge_numbers_of_rows) {
    for (const Index n :
         {(Index{1} << 31) + 8, Index{1} << 40, (Index{1} << 62) - 1, Index{1} << 62}) {
        const RowOrder order(n, 17, 2);
        std::set<Index> distinct;
        std::vector<Index> rows(100);
        for (Index piece = 0; piece < 1000; ++piece) {
            order.rows(n / 1000 * piece, 100, rows.data());
            CHECK(std::ranges::all_of(rows, [n](Index row) { return row >= 0 && row < n; }));
            distinct.insert(rows.begin(), rows.end());
        }
        order.rows(n - 100, 100, rows.data());
        distinct.insert(rows.begin(), rows.end());
        CHECK_EQ(distinct.size(), std::size_t{100'100});
        CHECK(*distinct.begin() < n / 1000 && *distinct.rbegin() > n - n / 1000);
    }
}
