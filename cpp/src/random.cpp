// Philox, the numbers made from its words, and the keyed order of rows.
#include "deltarule/random.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <numeric>

namespace deltarule {

namespace {

// The standard has no 64x64 -> 128 bit product before C++26.
__extension__ using Uint128 = unsigned __int128;

struct Product {
    std::uint64_t high, low;
};

Product multiply(std::uint64_t a, std::uint64_t b) {
    const Uint128 product = static_cast<Uint128>(a) * b;
    return {static_cast<std::uint64_t>(product >> 64), static_cast<std::uint64_t>(product)};
}

// The round function of the Feistel network: the finaliser of MurmurHash3 (A. Appleby, 2011), in
// which each bit of its input changes each bit of its output with probability close to one half.
inline std::uint32_t mix(std::uint32_t half, std::uint32_t key) {
    half ^= key;
    half ^= half >> 16;
    half *= 0x85ebca6bU;
    half ^= half >> 13;
    half *= 0xc2b2ae35U;
    return half ^ (half >> 16);
}

// Rows are permuted in chunks that stay in the first-level cache, in groups of fixed size that the
// compiler turns into packets without a tail.
constexpr std::size_t kChunk = 256;
constexpr std::size_t kGroup = 16;
static_assert(kChunk % kGroup == 0);

} // namespace

Words philox(const Words &counter, const std::array<std::uint64_t, 2> &key) {
    Words c = counter;
    std::uint64_t key0 = key[0], key1 = key[1];
    for (int round = 0; round < 10; ++round) {
        const Product p0 = multiply(0xD2E7470EE14C6C93U, c[0]);
        const Product p1 = multiply(0xCA5A826395121157U, c[2]);
        c = {p1.high ^ c[1] ^ key0, p1.low, p0.high ^ c[3] ^ key1, p0.low};
        key0 += 0x9E3779B97F4A7C15U; // the golden ratio
        key1 += 0xBB67AE8584CAA73BU; // sqrt(3) - 1
    }
    return c;
}

Words draw(std::uint64_t seed, Stream stream, const Words &counter) {
    return philox(counter, {seed, static_cast<std::uint64_t>(stream)});
}

double to_unit_interval(std::uint64_t word) { return static_cast<double>(word >> 11) * 0x1p-53; }

std::array<double, 2> to_normals(std::uint64_t first, std::uint64_t second) {
    // 1 - u lies in (0, 1], where the logarithm is finite; the subtraction is exact.
    const double radius = std::sqrt(-2.0 * std::log(1.0 - to_unit_interval(first)));
    const double angle = 2.0 * std::numbers::pi * to_unit_interval(second);
    return {radius * std::cos(angle), radius * std::sin(angle)};
}

RowOrder::RowOrder(Index n) : n_(static_cast<std::uint64_t>(n)) {}

RowOrder::RowOrder(Index n, std::uint64_t seed, std::uint64_t epoch, Stream stream) : RowOrder(n) {
    shuffled_ = true;
    // Of fewer than 6 bits six rounds favour some orders visibly.
    const int bits = n_ > 0 ? std::max(6, static_cast<int>(std::bit_width(n_ - 1))) : 6;
    high_bits_ = bits / 2;
    low_bits_ = bits - high_bits_;
    const Words a = draw(seed, stream, {epoch, 0, 0, 0});
    const Words b = draw(seed, stream, {epoch, 1, 0, 0});
    const std::array words = {a[0], a[1], a[2], a[3], b[0], b[1]};
    std::ranges::transform(words, round_keys_.begin(),
                           [](std::uint64_t word) { return static_cast<std::uint32_t>(word); });
}

// low and high take turns: each is changed by a function of the other, which is undone by the same
// function, hence a bijection of [0, 2^bits) whatever `mix` is.
void RowOrder::permute(std::uint64_t *values, std::size_t count) const {
    const auto low_mask = static_cast<std::uint32_t>((std::uint64_t{1} << low_bits_) - 1);
    const auto high_mask = static_cast<std::uint32_t>((std::uint64_t{1} << high_bits_) - 1);
    const int low_bits = low_bits_;
    const auto keys = round_keys_;
    for (std::size_t start = 0; start < count; start += kGroup) {
        for (std::size_t i = start; i < start + kGroup; ++i) {
            std::uint32_t low = static_cast<std::uint32_t>(values[i]) & low_mask;
            std::uint32_t high = static_cast<std::uint32_t>(values[i] >> low_bits);
            for (std::size_t round = 0; round < kRounds; round += 2) {
                high ^= mix(low, keys[round]) & high_mask;
                low ^= mix(high, keys[round + 1]) & low_mask;
            }
            values[i] = static_cast<std::uint64_t>(high) << low_bits | low;
        }
    }
}

void RowOrder::rows(Index first, Index count, Index *rows) const {
    if (!shuffled_) {
        std::iota(rows, rows + count, first);
        return;
    }
    constexpr auto kStep = static_cast<Index>(kChunk);
    for (Index start = 0; start < count; start += kStep)
        permute_chunk(first + start, static_cast<std::size_t>(std::min(kStep, count - start)),
                      rows + start);
}

// Cycle walking, for a chunk at once: the values outside [0, n) are permuted again, packed together
// first so that each round costs only what is left. That is less than half each time, on average.
void RowOrder::permute_chunk(Index first, std::size_t count, Index *rows) const {
    std::array<std::uint64_t, kChunk> values;
    std::array<std::size_t, kChunk> places;
    const std::size_t padded = (count + kGroup - 1) / kGroup * kGroup;
    std::iota(values.data(), values.data() + padded, static_cast<std::uint64_t>(first));
    std::iota(places.data(), places.data() + count, std::size_t{0});
    while (count > 0) {
        permute(values.data(), count);
        std::size_t n_outside = 0;
        for (std::size_t i = 0; i < count; ++i) { // no branch: it would be mispredicted
            rows[places[i]] = static_cast<Index>(values[i]);
            places[n_outside] = places[i];
            values[n_outside] = values[i];
            n_outside += values[i] >= n_ ? 1 : 0;
        }
        count = n_outside;
    }
}

} // namespace deltarule
