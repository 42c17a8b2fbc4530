// The index type, the aligned buffer, and the only statement of storage order.
//
// Python holds a batch as rows, C-ordered (n, width); the same memory is here a column-major
// (width, n) matrix: a column is a sample. Eigen's default order, one layout decision, no copies.
#pragma once

#include <Eigen/Core>

#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>

namespace deltarule {

using Index = std::ptrdiff_t;

template <class T> using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;
template <class T> using Vector = Eigen::Matrix<T, Eigen::Dynamic, 1>;
template <class T> using MatrixMap = Eigen::Map<Matrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;
template <class T>
using ConstMatrixMap = Eigen::Map<const Matrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;
template <class T> using VectorMap = Eigen::Map<Vector<T>>;
template <class T> using ConstVectorMap = Eigen::Map<const Vector<T>>;

// Every buffer starts on a cache line and ends with this many spare bytes (one AVX-512 packet), so
// that kernels may load a whole packet at any element.
inline constexpr std::size_t kAlignment = 64;

// Rows of a batch are computed, and sums over rows grouped, in blocks of this size.
inline constexpr Index kRowBlock = 256;

// Zeroed memory that starts at a multiple of kAlignment, large blocks in large pages where the
// system has them; released ones serve again. Throws std::bad_alloc.
void *allocate_zeroed(std::size_t bytes);
void release(void *memory, std::size_t bytes);

// A zero-initialised, 64-byte-aligned, fixed-size array with a packet of slack.
template <class T> class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(Index size) : size_(size) {
        const std::size_t bytes = static_cast<std::size_t>(size) * sizeof(T) + kAlignment;
        data_ = {static_cast<T *>(allocate_zeroed(bytes)), Free{bytes}};
    }
    Buffer(const Buffer &other) : Buffer(other.size_) {
        if (size_ > 0)
            std::memcpy(data(), other.data(), static_cast<std::size_t>(size_) * sizeof(T));
    }
    Buffer &operator=(const Buffer &other) {
        Buffer copy(other);
        *this = std::move(copy);
        return *this;
    }
    Buffer(Buffer &&) noexcept = default;
    Buffer &operator=(Buffer &&) noexcept = default;
    ~Buffer() = default;

    T *data() { return data_.get(); }
    const T *data() const { return data_.get(); }
    Index size() const { return size_; }
    T &operator[](Index i) { return data_.get()[i]; }
    const T &operator[](Index i) const { return data_.get()[i]; }

  private:
    struct Free {
        std::size_t bytes = 0;
        void operator()(T *p) const { release(p, bytes); }
    };
    std::unique_ptr<T, Free> data_;
    Index size_ = 0;
};

} // namespace deltarule
