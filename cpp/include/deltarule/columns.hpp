// A view of columns in memory: the batch as the kernels see it. Column j is sample j.
#pragma once

#include "deltarule/types.hpp"

#include <type_traits>

namespace deltarule {

template <class T> struct Columns {
    T *data = nullptr;
    Index ld = 0; // elements from one column to the next

    T *column(Index j) const { return data + j * ld; }
    explicit operator bool() const { return data != nullptr; }
    operator Columns<const T>() const
        requires(!std::is_const_v<T>)
    {
        return {data, ld};
    }
};

// The leading dimension used for columns of `width` elements: whole AVX-512 packets of floats, and
// off multiples of 4 KiB, where the columns of a tile would compete for the same cache sets. (A
// single output and its target have a leading dimension of 1 instead: only their own is written.)
inline Index padded(Index width) {
    const Index whole = (width + 15) / 16 * 16;
    return whole >= 256 ? whole + 16 : whole;
}

} // namespace deltarule
