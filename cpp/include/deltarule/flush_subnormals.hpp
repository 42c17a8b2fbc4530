// The processor's treatment of subnormal numbers, for the duration of a scope.
#pragma once

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace deltarule {

// Sets the flush-to-zero and denormals-are-zero modes, and restores what was.
class SubnormalMode {
  public:
    SubnormalMode(const SubnormalMode &) = delete;
    SubnormalMode &operator=(const SubnormalMode &) = delete;

  protected:
#if defined(__SSE2__)
    explicit SubnormalMode(bool flush) : saved_(_mm_getcsr()) {
        constexpr unsigned kFlush = 0x8000 | 0x0040;
        _mm_setcsr(flush ? saved_ | kFlush : saved_ & ~kFlush);
    }
    ~SubnormalMode() { _mm_setcsr(saved_); }

  private:
    unsigned saved_;
#else
    explicit SubnormalMode(bool) {}
    ~SubnormalMode() = default;
#endif
};

// Counts subnormal numbers as zero: a tile of subnormal weights otherwise runs hundreds of times
// slower.
struct FlushSubnormals : SubnormalMode {
    FlushSubnormals() : SubnormalMode(true) {}
};

// The ordinary mode again, for Python code that runs within.
struct KeepSubnormals : SubnormalMode {
    KeepSubnormals() : SubnormalMode(false) {}
};

} // namespace deltarule
