// The user's numbers as they lie in memory: every dtype, any alignment, either byte order. What the
// sources of rows share.
#pragma once

#include "deltarule/dataset.hpp"

#include <bit>
#include <cstring>
#include <stdexcept>
#include <type_traits>

namespace deltarule::stored {

struct Boolean { // any byte but zero is true, whatever wrote it
    std::uint8_t byte;
    explicit operator float() const { return byte != 0 ? 1.0F : 0.0F; }
};

struct Float16 {
    std::uint16_t bits;
    explicit operator float() const {
        return Eigen::half_impl::half_to_float(Eigen::half_impl::raw_uint16_to_half(bits));
    }
};

template <std::size_t size> struct UnsignedOf;
template <> struct UnsignedOf<1> : std::type_identity<std::uint8_t> {};
template <> struct UnsignedOf<2> : std::type_identity<std::uint16_t> {};
template <> struct UnsignedOf<4> : std::type_identity<std::uint32_t> {};
template <> struct UnsignedOf<8> : std::type_identity<std::uint64_t> {};
template <class T> using Bits = typename UnsignedOf<sizeof(T)>::type;

inline std::uint16_t reversed(std::uint16_t bits) { return __builtin_bswap16(bits); }
inline std::uint32_t reversed(std::uint32_t bits) { return __builtin_bswap32(bits); }
inline std::uint64_t reversed(std::uint64_t bits) { return __builtin_bswap64(bits); }

// How one element lies in memory, at any alignment.
template <class S, bool kSwapped> struct Element {
    using Stored = S;
    static constexpr Index kSize = sizeof(S);
    static constexpr bool kMayBeInfinite = !std::is_integral_v<S> && !std::is_same_v<S, Boolean>;

    template <class T> static T load(const std::byte *place) {
        Bits<S> bits;
        std::memcpy(&bits, place, sizeof bits);
        if constexpr (kSwapped)
            bits = reversed(bits);
        const S stored = std::bit_cast<S>(bits);
        if constexpr (std::is_class_v<S>)
            return static_cast<T>(static_cast<float>(stored));
        else
            return static_cast<T>(stored);
    }
};

// Calls visitor(std::type_identity<S>()) for the type S that stores a dtype.
template <class Visitor> auto visit_stored(DType dtype, const Visitor &visitor) {
    switch (dtype) {
    case DType::boolean:
        return visitor(std::type_identity<Boolean>());
    case DType::int8:
        return visitor(std::type_identity<std::int8_t>());
    case DType::int16:
        return visitor(std::type_identity<std::int16_t>());
    case DType::int32:
        return visitor(std::type_identity<std::int32_t>());
    case DType::int64:
        return visitor(std::type_identity<std::int64_t>());
    case DType::uint8:
        return visitor(std::type_identity<std::uint8_t>());
    case DType::uint16:
        return visitor(std::type_identity<std::uint16_t>());
    case DType::uint32:
        return visitor(std::type_identity<std::uint32_t>());
    case DType::uint64:
        return visitor(std::type_identity<std::uint64_t>());
    case DType::float16:
        return visitor(std::type_identity<Float16>());
    case DType::float32:
        return visitor(std::type_identity<float>());
    case DType::float64:
        return visitor(std::type_identity<double>());
    }
    throw std::invalid_argument("unknown dtype");
}

// Calls visitor(Element<...>()) for a dtype and byte order.
template <class Visitor> auto visit(DType dtype, bool swapped, const Visitor &visitor) {
    return visit_stored(dtype, [&]<class S>(std::type_identity<S>) {
        if constexpr (sizeof(S) > 1) {
            if (swapped)
                return visitor(Element<S, true>());
        }
        return visitor(Element<S, false>());
    });
}

// Collects, in its top bit, whether any number was not finite: an exponent of all ones, and no
// other, carries into the sign. In integers, because a sum of floats could not be reordered into
// packets.
template <class T> class FiniteCheck {
  public:
    void see(T value) {
        constexpr int kMantissa = std::is_same_v<T, float> ? 23 : 52;
        constexpr Bits<T> kOne = 1;
        const auto bits = std::bit_cast<Bits<T>>(value);
        carries_ |= (bits & (static_cast<Bits<T>>(~Bits<T>{0}) >> 1)) + (kOne << kMantissa);
    }
    bool all_finite() const { return carries_ >> (8 * sizeof(T) - 1) == 0; }

  private:
    Bits<T> carries_ = 0;
};

} // namespace deltarule::stored
