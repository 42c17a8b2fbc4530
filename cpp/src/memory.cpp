// Memory for buffers. A large block in 2 MiB pages costs a five-hundredth of the page faults when
// it is first touched, and walks along the rows of a wide matrix stay within the processor's page
// table cache.
#include "deltarule/types.hpp"

#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace deltarule {

namespace {

constexpr std::size_t kLargePage = std::size_t(2) << 20;

// A block from half a large page on is whole large pages.
std::size_t alignment_of(std::size_t bytes) {
    return bytes >= kLargePage / 2 ? kLargePage : kAlignment;
}

} // namespace

void *allocate_zeroed(std::size_t bytes) {
    const std::size_t alignment = alignment_of(bytes);
    const std::size_t whole = (bytes + alignment - 1) / alignment * alignment;
    void *memory = ::operator new(whole, std::align_val_t{alignment});
#if defined(__linux__)
    if (alignment == kLargePage)
        madvise(memory, whole, MADV_HUGEPAGE); // a wish: refused, pages are small ones
#endif
    std::memset(memory, 0, bytes);
    return memory;
}

void release(void *memory, std::size_t bytes) {
    ::operator delete(memory, std::align_val_t{alignment_of(bytes)});
}

} // namespace deltarule
