// Sparse rows (CSR), read in place: a row becomes a dense column of the workspace while it is
// gathered, so the network computes the same bits as on dense rows, and no input is ever made dense
// whole.
#pragma once

#include "deltarule/dataset.hpp"

#include <vector>

namespace deltarule {

// What a CSR matrix says of itself: row i holds data[k] in column indices[k], for k from indptr[i]
// to indptr[i + 1], and zeros elsewhere; indices in any order. Contiguous, in native byte order, at
// any alignment. Does not own the memory.
struct SparseView {
    const std::byte *data = nullptr, *indices = nullptr, *indptr = nullptr;
    DType dtype = DType::float64;
    bool wide_indices = false; // indices and indptr are int64, not int32
    Index rows = 0, columns = 0;
    Index n_stored = 0; // elements of data, and of indices
};

// A view whose structure was checked, and in whose rows every column occurs once: where the user's
// matrix has several entries in one place it holds a copy with their sums.
class SparseMatrix {
  public:
    // Throws std::invalid_argument unless indptr starts at 0, never decreases and ends within data,
    // and every index is in [0, columns).
    explicit SparseMatrix(const SparseView &view);
    SparseMatrix(const SparseMatrix &) = delete; // view_ points into the copy
    SparseMatrix &operator=(const SparseMatrix &) = delete;

    const SparseView &view() const { return view_; }

  private:
    SparseView view_;
    std::vector<std::byte> data_;
    std::vector<Index> indices_, indptr_;
};

// Rows of a matrix that outlives it. What is not in [0, columns) when it is gathered, because the
// user's arrays were changed since they were checked, is left out: nothing is written elsewhere.
template <class T> class SparseSource final : public Source<T> {
  public:
    explicit SparseSource(const SparseMatrix &matrix);
    Index rows() const override { return view_.rows; }
    Index width() const override { return view_.columns; }
    bool gather(const Index *numbers, Index count, T *out, Index ld, Check check) const override;
    double value(Index row, Index column) const override;

  private:
    using GatherFunction = bool (*)(const SparseView &, const Index *, Index, T *, Index);
    SparseView view_;
    GatherFunction gather_ = nullptr;         // converts only
    GatherFunction gather_checked_ = nullptr; // converts and checks
};

} // namespace deltarule
