// Counter-based random numbers: a draw depends on what it is for (seed, stream, step, layer,
// position), never on the order of execution or the number of threads.
//
// Philox 4x64-10, word for word NumPy's: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include "deltarule/types.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace deltarule {

// What random numbers are for. The numbers are part of the file format: never renumber.
enum class Stream : std::uint64_t { initial_weights = 0, row_order = 1, masks = 2, splits = 3 };

using Words = std::array<std::uint64_t, 4>;

// Philox 4x64-10: the four words at `counter` under `key`.
Words philox(const Words &counter, const std::array<std::uint64_t, 2> &key);

// The four words drawn for `counter` in one stream of one seed: key = (seed, stream).
Words draw(std::uint64_t seed, Stream stream, const Words &counter);

// 53 random bits as a double in [0, 1).
double to_unit_interval(std::uint64_t word);

// Two independent standard normal numbers from two words: G. Box, M. Muller, "A note on the
// generation of random normal deviates", 1958.
std::array<double, 2> to_normals(std::uint64_t first, std::uint64_t second);

// The order of n rows in one epoch, 0 <= n <= 2^62: a keyed bijection of [0, n), computed a batch
// at a time and never stored. A position is split into the halves (high, low) of the smallest
// sufficient number of bits, at least 6; three times
//     high ^= mix(low, key_2i),    low ^= mix(high, key_2i+1)
// (an alternating Feistel network of 6 rounds), and all this again until the result lies in [0, n)
// (cycle walking: J. Black, P. Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002).
class RowOrder {
  public:
    // Rows in their own order.
    explicit RowOrder(Index n);
    // Rows in the order drawn for (seed, epoch).
    RowOrder(Index n, std::uint64_t seed, std::uint64_t epoch, Stream stream = Stream::row_order);

    bool is_shuffled() const { return shuffled_; }

    // rows[i] = the row at position first + i, for 0 <= i < count; first + count <= n.
    void rows(Index first, Index count, Index *rows) const;

  private:
    static constexpr std::size_t kRounds = 6;
    // Permutes [0, 2^(low_bits + high_bits)): values[i] for i < count, rounded up to a whole group.
    void permute(std::uint64_t *values, std::size_t count) const;
    void permute_chunk(Index first, std::size_t count, Index *rows) const;

    std::uint64_t n_;
    bool shuffled_ = false;
    int low_bits_ = 0, high_bits_ = 0;
    std::array<std::uint32_t, kRounds> round_keys_{};
};

} // namespace deltarule
