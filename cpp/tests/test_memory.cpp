// Buffers are zeroed, aligned and apart, new or used before; how many are kept.
#include "check.hpp"
#include "deltarule/types.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <thread>

namespace {
std::atomic<int> n_from_system{0};
} // namespace

// Not inlined: GCC would take free in one and new in the other for a mismatch.
[[gnu::noinline]] void *operator new(std::size_t size, std::align_val_t alignment) {
    ++n_from_system;
    const auto a = static_cast<std::size_t>(alignment);
    if (void *p = std::aligned_alloc(a, (size + a - 1) / a * a))
        return p;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void *p, std::align_val_t) noexcept { std::free(p); }

using namespace deltarule;

namespace {

constexpr std::size_t kMegabyte = 1024 * 1024;
using Block = Buffer<unsigned char>;

Index count(const Block &block, unsigned char value) {
    return std::count(block.data(), block.data() + block.size(), value);
}

void fill(Block &block, unsigned char value) {
    std::memset(block.data(), value, static_cast<std::size_t>(block.size()) + kAlignment);
}

std::vector<Block> many(int n, std::size_t bytes) {
    std::vector<Block> blocks;
    for (int i = 0; i < n; ++i)
        blocks.emplace_back(static_cast<Index>(bytes));
    return blocks;
}

} // namespace

TEST(every_buffer_is_zeroed_and_aligned) {
    for (const std::size_t near : {std::size_t(0), kMegabyte, 2 * kMegabyte, 3 * kMegabyte})
        for (std::size_t size = near > 200 ? near - 200 : 1; size < near + 200; size += 33)
            for (int time = 0; time < 2; ++time) { // the second one may get the memory of the first
                Block block(static_cast<Index>(size)), other(static_cast<Index>(size));
                CHECK_EQ(count(block, 0), block.size());
                CHECK_EQ(reinterpret_cast<std::uintptr_t>(block.data()) % kAlignment, 0u);
                fill(block, 255);
                CHECK_EQ(count(other, 0), other.size());
                fill(other, 255);
            }
}

TEST(large_blocks_are_used_again) {
    many(3, 5 * kMegabyte);
    const int before = n_from_system;
    many(3, 5 * kMegabyte);
    CHECK_EQ(n_from_system, before);
    many(1, 8 * kMegabyte); // another number of pages
    CHECK_EQ(n_from_system, before + 1);
}

TEST(no_more_than_256_megabytes_or_64_blocks_are_kept) {
    many(30, 10 * kMegabyte - kAlignment);
    int before = n_from_system;
    many(30, 10 * kMegabyte - kAlignment);
    CHECK_EQ(n_from_system, before + 5);
    many(70, kMegabyte - kAlignment);
    before = n_from_system;
    many(70, kMegabyte - kAlignment);
    CHECK_EQ(n_from_system, before + 6);
    many(1, 300 * kMegabyte); // larger than all that may be kept: the others stay
    before = n_from_system;
    many(64, kMegabyte - kAlignment);
    CHECK_EQ(n_from_system, before);
}

TEST(threads_never_share_a_block) {
    std::atomic<int> n_faults{0};
    const auto work = [&](unsigned char own) {
        for (int i = 0; i < 30; ++i) {
            Block block(static_cast<Index>((1 + i % 3) * kMegabyte));
            n_faults += count(block, 0) != block.size();
            fill(block, own);
            n_faults += count(block, own) != block.size();
        }
    };
    std::vector<std::thread> threads;
    for (unsigned char own = 1; own <= 4; ++own)
        threads.emplace_back(work, own);
    for (std::thread &thread : threads)
        thread.join();
    CHECK_EQ(n_faults, 0);
}
