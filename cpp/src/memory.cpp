// Memory for buffers. A large block in 2 MiB pages costs a five-hundredth of the page faults when it
// is first touched, and walks along the rows of a wide matrix stay within the processor's page table
// cache.
#include "deltarule/types.hpp"

#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace deltarule {

namespace {

constexpr std::size_t kLargePage = std::size_t(2) << 20;
constexpr std::size_t kLarge = kLargePage / 2; // a block from here on is given whole large pages

} // namespace

void *allocate_zeroed(std::size_t bytes) {
    const bool large = bytes >= kLarge;
    const std::size_t alignment = large ? kLargePage : kAlignment;
    const std::size_t whole = (bytes + alignment - 1) / alignment * alignment;
    void *memory = whole < bytes ? nullptr : std::aligned_alloc(alignment, whole);
    if (!memory)
        throw std::bad_alloc();
#if defined(__linux__)
    if (large)
        madvise(memory, whole, MADV_HUGEPAGE); // a wish: refused, pages are small ones
#endif
    std::memset(memory, 0, bytes);
    return memory;
}

void release(void *memory) { std::free(memory); }

} // namespace deltarule
