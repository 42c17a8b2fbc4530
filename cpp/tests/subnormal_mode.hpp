// How this processor treats subnormal numbers now.
#pragma once

#include "deltarule/flush_subnormals.hpp"

namespace check {

inline unsigned subnormal_mode() { // flush-to-zero and denormals-are-zero
#if defined(__SSE2__)
    return _mm_getcsr() & 0x8040U;
#else
    return 0;
#endif
}
#if defined(__SSE2__)
inline constexpr unsigned kFlushed = 0x8040U;
#else
inline constexpr unsigned kFlushed = 0;
#endif

} // namespace check
