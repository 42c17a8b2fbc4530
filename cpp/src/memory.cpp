// Memory for buffers. A large block in 2 MiB pages costs a five-hundredth of the page faults when
// it is first touched, and walks along the rows of a wide matrix stay within the processor's page
// table cache. Even so the system takes 0.1 to 2 ms to hand out a megabyte: blocks of an ended
// training are kept for the next one, up to kMostKept, and marked as free for the system to take.
#include "deltarule/types.hpp"

#include <algorithm>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace deltarule {

namespace {

// A small page has 64 KiB at most: none is shared with other memory, which MADV_FREE would take.
constexpr std::size_t kPage = std::size_t(64) << 10, kLargePage = std::size_t(2) << 20;
constexpr std::size_t kMostKept = std::size_t(256) << 20;

bool is_large(std::size_t bytes) { return bytes >= kLargePage / 2; }

// A large block ends with a page; where that is in the second half of a large page, with that one.
std::size_t whole_pages(std::size_t bytes) {
    const std::size_t unit = is_large(bytes % kLargePage) ? kLargePage : kPage;
    return (bytes + unit - 1) / unit * unit;
}

void *from_system(std::size_t pages) {
    void *memory = ::operator new(pages, std::align_val_t{kLargePage});
#if defined(__linux__)
    madvise(memory, pages, MADV_HUGEPAGE); // a wish: refused, pages are small ones
#endif
    return memory;
}

void to_system(void *memory) { ::operator delete(memory, std::align_val_t{kLargePage}); }

// Large blocks that nobody uses. A fork may leave a child's lock taken for ever: who cannot have it
// at once does without.
class Spare {
  public:
    Spare() { blocks_.reserve(kMostBlocks); }

    // A block of this size, whatever it holds, or null.
    void *take(std::size_t bytes) {
        const std::unique_lock lock(mutex_, std::try_to_lock);
        if (!lock)
            return nullptr;
        const auto found = std::ranges::find(blocks_, bytes, &Block::bytes);
        return found == blocks_.end() ? nullptr : remove(found);
    }

    // The oldest ones make room.
    void keep(void *memory, std::size_t bytes) {
        const std::unique_lock lock(mutex_, std::try_to_lock);
        if (!lock || bytes > kMostKept)
            return to_system(memory);
        while (blocks_.size() == kMostBlocks || kept_ + bytes > kMostKept)
            to_system(remove(blocks_.begin()));
        blocks_.push_back({memory, bytes});
        kept_ += bytes;
#if defined(__linux__)
        madvise(memory, bytes, MADV_FREE);
#endif
    }

  private:
    struct Block {
        void *memory;
        std::size_t bytes;
    };
    static constexpr std::size_t kMostBlocks = 64;

    void *remove(std::vector<Block>::iterator block) {
        void *memory = block->memory;
        kept_ -= block->bytes;
        blocks_.erase(block);
        return memory;
    }

    std::mutex mutex_;
    std::vector<Block> blocks_;
    std::size_t kept_ = 0;
};

Spare &spare() {
    static Spare &forever = *new Spare; // buffers may outlive what is destroyed at exit
    return forever;
}

} // namespace

void *allocate_zeroed(std::size_t bytes) {
    if (!is_large(bytes))
        return std::memset(::operator new(bytes, std::align_val_t{kAlignment}), 0, bytes);
    const std::size_t pages = whole_pages(bytes);
    void *memory = spare().take(pages);
    return std::memset(memory ? memory : from_system(pages), 0, bytes);
}

void release(void *memory, std::size_t bytes) {
    if (is_large(bytes))
        spare().keep(memory, whole_pages(bytes));
    else
        ::operator delete(memory, std::align_val_t{kAlignment});
}

} // namespace deltarule
