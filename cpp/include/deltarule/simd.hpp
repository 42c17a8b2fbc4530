// The packet primitives the kernels are written in. The only file that touches Eigen's packet
// layer.
//
// Every function takes a packet or a plain float/double: V is either. The width of a packet is that
// of the instruction set the file is compiled for; values never depend on it.
#pragma once

#include "deltarule/types.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace deltarule::simd {

namespace ei = Eigen::internal;

template <class T> using Packet = typename ei::packet_traits<T>::type;
template <class V> using Scalar = typename ei::unpacket_traits<V>::type;
template <class V> inline constexpr int kWidth = ei::unpacket_traits<V>::size;
template <class T> inline constexpr int kLanes = kWidth<Packet<T>>;

#if defined(EIGEN_VECTORIZE_AVX512)
inline constexpr int kRegisters = 32;
#else
inline constexpr int kRegisters = 16;
#endif
#if defined(EIGEN_VECTORIZE_FMA)
inline constexpr bool kFused = true; // multiply-add rounds once
#else
inline constexpr bool kFused = false;
#endif

// The packet of so many numbers, whatever the width of the usual one; without a type where there is
// none.
template <class T, int kCount> struct SmallPacket {};
template <class T> struct SmallPacket<T, 1> : std::type_identity<T> {};
#if defined(EIGEN_VECTORIZE_SSE)
template <> struct SmallPacket<float, 4> {
    using type = ei::Packet4f;
};
template <> struct SmallPacket<double, 2> {
    using type = ei::Packet2d;
};
#endif
#if defined(EIGEN_VECTORIZE_AVX)
template <> struct SmallPacket<float, 8> {
    using type = ei::Packet8f;
};
template <> struct SmallPacket<double, 4> {
    using type = ei::Packet4d;
};
#endif

template <class V> V load(const Scalar<V> *p) { return ei::ploadu<V>(p); }
template <class V> void store(Scalar<V> *p, const V &x) { ei::pstoreu(p, x); }
template <class V> V broadcast(Scalar<V> x) { return ei::pset1<V>(x); }
template <class V> V zero() { return ei::pset1<V>(Scalar<V>(0)); }

#if defined(EIGEN_VECTORIZE_AVX) && !defined(EIGEN_VECTORIZE_AVX512)
// A mask of the first `count` of eight 32-bit or four 64-bit lanes.
template <int kLaneBytes> __m256i first_lanes(Index count) {
    static constexpr std::int32_t kOnes[16] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                               0,  0,  0,  0,  0,  0,  0,  0};
    const Index words = count * (kLaneBytes / 4);
    return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(kOnes + 8 - words));
}
#endif

// The first `count` lanes (0 <= count <= width); the others are zero. Reads nothing else.
template <class V> V load_first(const Scalar<V> *p, Index count) {
    if constexpr (kWidth<V> == 1) {
        return count > 0 ? *p : V(0);
    } else {
#if defined(EIGEN_VECTORIZE_AVX512)
        if constexpr (kWidth<V> == 16)
            return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1U << count) - 1), p);
        else if constexpr (kWidth<V> == 8)
            return _mm512_maskz_loadu_pd(static_cast<__mmask8>((1U << count) - 1), p);
#elif defined(EIGEN_VECTORIZE_AVX)
        if constexpr (kWidth<V> == 8)
            return _mm256_maskload_ps(p, first_lanes<4>(count));
        else if constexpr (kWidth<V> == 4)
            return _mm256_maskload_pd(p, first_lanes<8>(count));
#elif defined(EIGEN_VECTORIZE_SSE) // piece by piece: Eigen's own calls memcpy
        if (count >= kWidth<V>)
            return load<V>(p);
        if constexpr (kWidth<V> == 4) {
            const __m128 last = count % 2 == 1 ? _mm_load_ss(p + count - 1) : _mm_setzero_ps();
            if (count < 2)
                return last;
            const __m128 two = _mm_loadl_pi(_mm_setzero_ps(), reinterpret_cast<const __m64 *>(p));
            return _mm_movelh_ps(two, last);
        } else {
            return count == 1 ? _mm_load_sd(p) : _mm_setzero_pd();
        }
#else
        return ei::ploadu_partial<V>(p, count);
#endif
    }
}
// Writes the first `count` lanes only.
template <class V> void store_first(Scalar<V> *p, const V &x, Index count) {
    if constexpr (kWidth<V> == 1) {
        if (count > 0)
            *p = x;
    } else {
#if defined(EIGEN_VECTORIZE_AVX512)
        if constexpr (kWidth<V> == 16)
            _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1U << count) - 1), x);
        else if constexpr (kWidth<V> == 8)
            _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1U << count) - 1), x);
#elif defined(EIGEN_VECTORIZE_AVX)
        if constexpr (kWidth<V> == 8)
            _mm256_maskstore_ps(p, first_lanes<4>(count), x);
        else if constexpr (kWidth<V> == 4)
            _mm256_maskstore_pd(p, first_lanes<8>(count), x);
#elif defined(EIGEN_VECTORIZE_SSE)
        if (count >= kWidth<V>) {
            store(p, x);
        } else if constexpr (kWidth<V> == 4) {
            __m128 left = x;
            if (count >= 2) {
                _mm_storel_pi(reinterpret_cast<__m64 *>(p), x);
                left = _mm_movehl_ps(x, x);
            }
            if (count % 2 == 1)
                _mm_store_ss(p + count - 1, left);
        } else if (count == 1) {
            _mm_store_sd(p, x);
        }
#else
        ei::pstoreu_partial(p, x, count);
#endif
    }
}

// x in the first `count` lanes, `other` in the rest.
template <class V> V first_or(const V &x, Index count, const V &other) {
    if constexpr (kWidth<V> == 1) {
        return count > 0 ? x : other;
    } else {
#if defined(EIGEN_VECTORIZE_AVX512)
        if constexpr (kWidth<V> == 16)
            return _mm512_mask_blend_ps(static_cast<__mmask16>((1U << count) - 1), other, x);
        else if constexpr (kWidth<V> == 8)
            return _mm512_mask_blend_pd(static_cast<__mmask8>((1U << count) - 1), other, x);
#elif defined(EIGEN_VECTORIZE_AVX)
        if constexpr (kWidth<V> == 8)
            return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(first_lanes<4>(count)));
        else if constexpr (kWidth<V> == 4)
            return _mm256_blendv_pd(other, x, _mm256_castsi256_pd(first_lanes<8>(count)));
#else
        const V lane = ei::plset<V>(Scalar<V>(0));
        return ei::pselect(ei::pcmp_lt(lane, broadcast<V>(static_cast<Scalar<V>>(count))), x,
                           other);
#endif
    }
}

// p[0], p[stride], p[2 stride] ...: one a lane. By inserts, as the processor's own gathers are slow
// where their leaks are closed.
template <class V> V gather(const Scalar<V> *p, Index stride) {
#if defined(EIGEN_VECTORIZE_AVX512)
    using T = Scalar<V>;
    if constexpr (kWidth<V> == 16) {
        const auto low = ei::pgather<T, ei::Packet8f>(p, stride);
        const auto high = ei::pgather<T, ei::Packet8f>(p + 8 * stride, stride);
        return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
    } else if constexpr (kWidth<V> == 8) {
        const auto low = ei::pgather<T, ei::Packet4d>(p, stride);
        const auto high = ei::pgather<T, ei::Packet4d>(p + 4 * stride, stride);
        return _mm512_insertf64x4(_mm512_castpd256_pd512(low), high, 1);
    } else
#endif
        return ei::pgather<Scalar<V>, V>(p, stride);
}

// As many numbers from p on as a packet of doubles holds, as doubles.
template <class T> Packet<double> load_wide(const T *p) {
    if constexpr (std::is_same_v<T, double>) {
        return load<Packet<double>>(p);
    } else {
#if defined(EIGEN_VECTORIZE_AVX512)
        return _mm512_cvtps_pd(_mm256_loadu_ps(p));
#elif defined(EIGEN_VECTORIZE_AVX)
        return _mm256_cvtps_pd(_mm_loadu_ps(p));
#else
        double wide[kLanes<double>];
        for (int i = 0; i < kLanes<double>; ++i)
            wide[i] = static_cast<double>(p[i]);
        return load<Packet<double>>(wide);
#endif
    }
}

template <class V> V add(const V &x, const V &y) { return ei::padd(x, y); }
template <class V> V sub(const V &x, const V &y) { return ei::psub(x, y); }
template <class V> V mul(const V &x, const V &y) { return ei::pmul(x, y); }
template <class V> V div(const V &x, const V &y) { return ei::pdiv(x, y); }
// x y + z, rounded once where the processor can.
template <class V> V madd(const V &x, const V &y, const V &z) { return ei::pmadd(x, y, z); }
// The same for a loop that needs every register. Compilers may choose the form of the instruction
// that overwrites a factor, and then have to move or spill what was there.
template <class V> [[gnu::always_inline]] inline V accumulate(const V &x, const V &y, V z) {
#if defined(EIGEN_VECTORIZE_FMA)
    if constexpr (kWidth<V> > 1 && sizeof(Scalar<V>) == 4)
        asm volatile("vfmadd231ps %2, %1, %0" : "+v"(z) : "v"(x), "v"(y));
    else if constexpr (kWidth<V> > 1)
        asm volatile("vfmadd231pd %2, %1, %0" : "+v"(z) : "v"(x), "v"(y));
    else
#endif
        z = madd(x, y, z);
    return z;
}
// z - x y
template <class V> V nmadd(const V &x, const V &y, const V &z) { return ei::pnmadd(x, y, z); }

// x / y for normal y > 0, within two units in the last place. Where multiply-adds are fused, by a
// reciprocal: the bits of y taken from a constant turn its exponent around and are 5 % off; each
// step raises the error to its third power (Halley), the last to its second (Newton). The
// processor's divider is shared with its square root and several times slower.
template <class V> V quotient(const V &x, const V &y) {
    if constexpr (kFused && kWidth<V> > 1) {
        using Bits = typename ei::unpacket_traits<V>::integer_packet;
        constexpr bool kSingle = sizeof(Scalar<V>) == 4;
        using Word = std::conditional_t<kSingle, std::int32_t, std::int64_t>;
        constexpr auto kTurned = static_cast<Word>(kSingle ? 0x7EF311BC : 0x7FDE623780000000);
        const V one = broadcast<V>(1);
        V r = ei::preinterpret<V>(ei::psub(ei::pset1<Bits>(kTurned), ei::preinterpret<Bits>(y)));
        for (int i = 0; i < (kSingle ? 1 : 2); ++i) {
            const V off = nmadd(y, r, one);
            r = madd(r, madd(off, off, off), r);
        }
        const V q = mul(x, r);
        return madd(nmadd(y, r, one), q, q);
    } else {
        return div(x, y);
    }
}

template <class V> V abs(const V &x) { return ei::pabs(x); }
template <class V> V negate(const V &x) { return ei::pnegate(x); }
// The larger; either where one is NaN.
template <class V> V max(const V &x, const V &y) { return ei::pmax(x, y); }
// Rounded correctly. (Eigen's own for AVX-512 is an approximation: other bits than on AVX2.)
template <class V> V sqrt(const V &x) {
#if defined(EIGEN_VECTORIZE_AVX512)
    if constexpr (kWidth<V> == 16)
        return _mm512_maskz_sqrt_ps(static_cast<__mmask16>(-1), x);
    else if constexpr (kWidth<V> == 8)
        return _mm512_maskz_sqrt_pd(static_cast<__mmask8>(-1), x);
    else
#endif
        return ei::psqrt(x);
}
template <class V> V exp(const V &x) { return ei::pexp(x); }
template <class V> V log(const V &x) { return ei::plog(x); }
template <class V> V tanh(const V &x) { return ei::ptanh(x); }
template <class V> V log1p(const V &x) {
    if constexpr (kWidth<V> == 1)
        return std::log1p(x);
    else
        return ei::generic_log1p(x);
}
template <class V> V expm1(const V &x) {
    if constexpr (kWidth<V> == 1)
        return std::expm1(x);
    else
        return ei::generic_expm1(x);
}

// yes where x < y, else no (also where x or y is NaN).
template <class V> V where_less(const V &x, const V &y, const V &yes, const V &no) {
    if constexpr (kWidth<V> == 1)
        return x < y ? yes : no;
#if defined(EIGEN_VECTORIZE_AVX512) // without Eigen's way from mask to packet and back
    else if constexpr (kWidth<V> == 16)
        return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), no, yes);
    else if constexpr (kWidth<V> == 8)
        return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(x, y, _CMP_LT_OQ), no, yes);
#endif
    else
        return ei::pselect(ei::pcmp_lt(x, y), yes, no);
}
// Transposes a square of packets: lane j of block[i] becomes lane i of block[j]. Inline, as a call
// would take the square through memory.
template <class V> [[gnu::always_inline]] inline void transpose(V (&block)[kWidth<V>]) {
    if constexpr (kWidth<V> > 1) {
        ei::PacketBlock<V, kWidth<V>> b;
        for (int i = 0; i < kWidth<V>; ++i)
            b.packet[i] = block[i];
        ei::ptranspose(b);
        for (int i = 0; i < kWidth<V>; ++i)
            block[i] = b.packet[i];
    }
}

#if defined(EIGEN_VECTORIZE_SSE)
// Pieces of 16 bytes at p, p + step and so on, side by side.
template <class V> [[gnu::always_inline]] inline V load_pieces(const Scalar<V> *p, Index step) {
    const auto piece = [=](Index i) {
        return _mm_loadu_ps(reinterpret_cast<const float *>(p + i * step));
    };
#if defined(EIGEN_VECTORIZE_AVX512)
    if constexpr (sizeof(V) == 64) {
        __m512 x = _mm512_castps128_ps512(piece(0));
        x = _mm512_insertf32x4(x, piece(1), 1);
        x = _mm512_insertf32x4(x, piece(2), 2);
        return std::bit_cast<V>(_mm512_insertf32x4(x, piece(3), 3));
    }
#endif
#if defined(EIGEN_VECTORIZE_AVX)
    if constexpr (sizeof(V) == 32)
        return std::bit_cast<V>(
            _mm256_insertf128_ps(_mm256_castps128_ps256(piece(0)), piece(1), 1));
#endif
    if constexpr (sizeof(V) == 16)
        return std::bit_cast<V>(piece(0));
}

// In each 16 bytes the lower or higher halves of x and y, kUnit numbers of each by turns.
template <int kUnit, bool kHigh, class V, int... kPlaces>
[[gnu::always_inline]] inline V interleave(const V &x, const V &y,
                                           std::integer_sequence<int, kPlaces...>) {
    constexpr auto source = [](int place) {
        constexpr int kNumbers = 16 / sizeof(Scalar<V>);
        const int at = place % kNumbers, turn = at / kUnit;
        const int from = place - at + turn / 2 * kUnit + at % kUnit;
        return from + (kHigh ? kNumbers / 2 : 0) + turn % 2 * kWidth<V>;
    };
    return __builtin_shufflevector(x, y, source(kPlaces)...);
}
template <int kUnit, bool kHigh, class V>
[[gnu::always_inline]] inline V interleave(const V &x, const V &y) {
    return interleave<kUnit, kHigh>(x, y, std::make_integer_sequence<int, kWidth<V>>());
}
#endif

// Packets that load_transposed makes of as many rows as a packet has lanes.
#if defined(EIGEN_VECTORIZE_SSE)
template <class T> inline constexpr int kTransposed = 16 / sizeof(T);
#else
template <class T> inline constexpr int kTransposed = kLanes<T>;
#endif

// Transposes out of memory: lane i of out[j] is p[i step + j]. Pieces of 16 bytes are loaded to
// where they belong, so that shuffles need not move them there.
template <class V>
[[gnu::always_inline]] inline void load_transposed(const Scalar<V> *p, Index step,
                                                   V (&out)[kTransposed<Scalar<V>>]) {
    if constexpr (kTransposed<Scalar<V>> == kWidth<V>) {
        for (int i = 0; i < kWidth<V>; ++i)
            out[i] = load<V>(p + i * step);
        transpose(out);
    }
#if defined(EIGEN_VECTORIZE_SSE)
    else {
        constexpr int kRows = kTransposed<Scalar<V>>;
        V rows[kRows];
#pragma GCC unroll 4
        for (int i = 0; i < kRows; ++i)
            rows[i] = load_pieces<V>(p + i * step, kRows * step);
        const V low = interleave<1, false>(rows[0], rows[1]);
        const V high = interleave<1, true>(rows[0], rows[1]);
        if constexpr (kRows == 2) {
            out[0] = low;
            out[1] = high;
        } else {
            const V next_low = interleave<1, false>(rows[2], rows[3]);
            const V next_high = interleave<1, true>(rows[2], rows[3]);
            out[0] = interleave<2, false>(low, next_low);
            out[1] = interleave<2, true>(low, next_low);
            out[2] = interleave<2, false>(high, next_high);
            out[3] = interleave<2, true>(high, next_high);
        }
    }
#endif
}

// The sum of a packet's lanes by halves: (i, i + width/2), then (i, i + width/4), and so on.
template <class V> Scalar<V> tree_sum(const V &x) { return ei::predux(x); }

// The same of each packet of a square: lane q is the sum of packet q.
template <class V> [[gnu::always_inline]] inline V tree_sums(V (&square)[kWidth<V>]) {
#if defined(EIGEN_VECTORIZE_AVX512)
    if constexpr (kWidth<V> == 16) { // two packets become one at each level of the tree
        V halves[8], quarters[4], pairs[2];
        for (int i = 0; i < 8; ++i) {
            const V &x = square[i / 4 * 8 + i % 4], &y = square[i / 4 * 8 + i % 4 + 4];
            halves[i] = add<V>(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xEE));
        }
        for (int i = 0; i < 4; ++i) {
            const V &x = halves[i], &y = halves[i + 4];
            quarters[i] =
                add<V>(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xDD));
        }
        for (int i = 0; i < 2; ++i) {
            const V &x = quarters[2 * i], &y = quarters[2 * i + 1];
            pairs[i] = add<V>(_mm512_shuffle_ps(x, y, 0x44), _mm512_shuffle_ps(x, y, 0xEE));
        }
        return add<V>(_mm512_shuffle_ps(pairs[0], pairs[1], 0x88),
                      _mm512_shuffle_ps(pairs[0], pairs[1], 0xDD));
    } else
#endif
    {
        transpose(square);
        for (int half = kWidth<V> / 2; half > 0; half /= 2)
            for (int q = 0; q < half; ++q)
                square[q] = add(square[q], square[q + half]);
        return square[0];
    }
}

// The largest of a packet's lanes; any of them where one is NaN.
template <class V> Scalar<V> tree_max(const V &x) { return ei::predux_max(x); }

// Sixteen virtual lanes, whatever the width of a packet: element k of a sum goes to lane k mod 16,
// and the lanes are added in the tree (i, i+8), (i, i+4), (i, i+2), (i, i+1). So a sum along k has
// the same bits on every instruction set (contract 16).
template <class T> struct Lanes16 {
    using V = Packet<T>;
    static constexpr int kCount = 16 / kLanes<T>;
    V part[kCount];

    explicit Lanes16(T value) {
        for (int i = 0; i < kCount; ++i)
            part[i] = broadcast<V>(value);
    }
    // Applies f(lane packet, packet of x, packet of y ...) to 16 elements, or to the first `count`.
    template <class F> void each(F &&f) {
        for (int i = 0; i < kCount; ++i)
            f(part[i], Index(i) * kLanes<T>);
    }
    // The first levels of the tree, down to one packet.
    V folded() const {
        V p[kCount];
        for (int i = 0; i < kCount; ++i)
            p[i] = part[i];
        for (int half = kCount / 2; half > 0; half /= 2)
            for (int i = 0; i < half; ++i)
                p[i] = add(p[i], p[i + half]);
        return p[0];
    }
    T sum() const { return tree_sum(folded()); }
};

// How many of the lanes of the packet at `offset` lie before `count`.
template <class T> Index lanes_before(Index count, Index offset) {
    const Index left = count - offset;
    return left < 0 ? 0 : (left < kLanes<T> ? left : Index(kLanes<T>));
}

} // namespace deltarule::simd
