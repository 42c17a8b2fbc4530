// The user's data, read in place: rows are gathered into the workspace a block at a time, converted
// to the network's type and checked on the way, so that no input is ever copied whole. Rows in
// order that need no converting may be used where they are.
#pragma once

#include "deltarule/columns.hpp"
#include "deltarule/function_ref.hpp"
#include "deltarule/types.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace deltarule {

enum class DType {
    boolean,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
    float16,
    float32,
    float64
};

std::size_t size_of(DType dtype);

// A two-dimensional array of any supported dtype, any byte strides (negative and zero too), any
// alignment, native or swapped byte order. Does not own the memory.
struct ArrayView {
    const std::byte *data = nullptr;
    DType dtype = DType::float64;
    bool byte_swapped = false;
    Index rows = 0, columns = 0;
    Index row_stride = 0, column_stride = 0; // bytes
};

// Where data is not finite in the network's type: the value as the user wrote it.
struct Fault {
    Index row = 0, column = 0;
    double value = 0;
};

// Whether gathering looks for non-finite values.
enum class Check { none, finite };

// Something that has rows: strided memory here; sparse matrices and streams are other bodies of it.
template <class T> class Source {
  public:
    virtual ~Source() = default;
    virtual Index rows() const = 0;
    virtual Index width() const = 0;

    // Writes row `numbers[j]` as column j of the (width, count) matrix `out` with leading dimension
    // `ld`, 0 <= j < count. Elements from width to ld are left alone. With Check::finite returns
    // false if any gathered value is not finite once converted to T (out is written all the same).
    virtual bool gather(const Index *numbers, Index count, T *out, Index ld, Check check) const = 0;

    // Where the rows are, row i as column i, if gathering would only copy them; else nothing.
    virtual Columns<const T> in_place() const { return {}; }

    // The value at one place, as the user wrote it (for messages).
    virtual double value(Index row, Index column) const = 0;

    // The number that the user knows a row by (for messages).
    virtual Index users_row(Index row) const { return row; }
};

template <class T> class StridedSource final : public Source<T> {
  public:
    explicit StridedSource(const ArrayView &view);
    Index rows() const override { return view_.rows; }
    Index width() const override { return view_.columns; }
    bool gather(const Index *numbers, Index count, T *out, Index ld, Check check) const override;
    Columns<const T> in_place() const override { return in_place_; }
    double value(Index row, Index column) const override;

  private:
    using GatherFunction = bool (*)(const ArrayView &, const Index *, Index, T *, Index);
    ArrayView view_;
    GatherFunction gather_ = nullptr;         // converts only
    GatherFunction gather_checked_ = nullptr; // converts and checks
    Columns<const T> in_place_;
};

// Some rows of another source, in any order: row i is its row numbers[i]. The numbers outlive it.
template <class T> class SelectedRows final : public Source<T> {
  public:
    SelectedRows(std::unique_ptr<const Source<T>> source, const Index *numbers, Index count)
        : source_(std::move(source)), numbers_(numbers), count_(count) {}
    Index rows() const override { return count_; }
    Index width() const override { return source_->width(); }
    bool gather(const Index *numbers, Index count, T *out, Index ld, Check check) const override;
    double value(Index row, Index column) const override {
        return source_->value(numbers_[row], column);
    }
    Index users_row(Index row) const override { return source_->users_row(numbers_[row]); }

  private:
    std::unique_ptr<const Source<T>> source_;
    const Index *numbers_;
    Index count_;
};

// Whether the first `width` values of each of n columns are finite.
template <class T> bool all_finite(Index width, Index n, Columns<const T> x);

// The first place, in row-major order, whose value is not finite once converted to T.
template <class T> std::optional<Fault> first_fault(const Source<T> &source);

// The same for a fault that `column_of` finds in a row, converted to T; it says -1 where there is
// none.
template <class T>
std::optional<Fault> first_fault(const Source<T> &source,
                                 FunctionRef<Index(const T *row)> column_of);

} // namespace deltarule
