// NumPy arrays to views of their memory, and back. Nothing is copied in either direction.
#pragma once

#include "gil.hpp"

#include "deltarule/dataset.hpp"
#include "deltarule/objective.hpp"
#include "deltarule/sparse.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <optional>

namespace deltarule::bindings {

namespace py = pybind11;

// TypeError for a dtype that the core does not read.
DType dtype_of(const py::dtype &dtype, const char *name);
bool is_byte_swapped(const py::dtype &dtype);

// A view of a two-dimensional numeric array. TypeError for any other.
ArrayView view_of(const py::array &array, const char *name);

// A CSR matrix over three arrays, which it keeps alive.
struct SparseRows {
    SparseRows(py::array data, py::array indices, py::array indptr, Index n_columns);
    py::array data, indices, indptr;
    SparseMatrix matrix;
};

// What X may be: an array or SparseRows.
class Rows : public py::object {
    PYBIND11_OBJECT(Rows, py::object, is_rows)
  private:
    static bool is_rows(PyObject *object) {
        return py::isinstance<py::array>(object) || py::isinstance<SparseRows>(object);
    }
};

// A source of the rows of an array or of SparseRows, which it keeps alive.
template <class T> class OwnedSource {
  public:
    OwnedSource(const py::array &array, const char *name)
        : owner_(array), source_(std::make_unique<StridedSource<T>>(view_of(array, name))) {}
    OwnedSource(const Rows &rows, const char *name) : OwnedSource(made_of(rows, name)) {}
    const Source<T> &operator*() const { return *source_; }
    const Source<T> *operator->() const { return source_.get(); }
    // From now on it has these rows of what it had; the numbers outlive it.
    void select(const Index *numbers, Index count) {
        source_ = std::make_unique<SelectedRows<T>>(std::move(source_), numbers, count);
    }

  private:
    OwnedSource(py::object owner, std::unique_ptr<const Source<T>> source)
        : owner_(std::move(owner)), source_(std::move(source)) {}
    static OwnedSource made_of(const Rows &rows, const char *name) {
        if (py::isinstance<py::array>(rows))
            return {py::reinterpret_borrow<py::array>(rows), name};
        const auto &sparse = py::cast<const SparseRows &>(rows);
        return {rows, std::make_unique<SparseSource<T>>(sparse.matrix)};
    }

    py::object owner_;
    std::unique_ptr<const Source<T>> source_;
};

// The numbers of some of `n_rows` rows: an int64 array, each in [0, n_rows).
const Index *row_numbers(const py::array &numbers, Index n_rows);

// X, y and weights of one call, kept alive; of `rows` only those, if given.
template <class T> struct OwnedExamples {
    OwnedExamples(const Rows &X, const py::array &y, const std::optional<py::array> &w,
                  ArgumentNames names = {}, const std::optional<py::array> &rows = std::nullopt)
        : inputs(X, "X"), targets(y, "y") {
        if (w)
            weights.emplace(*w, "sample_weight");
        const Index n_rows = inputs->rows();
        if (weights && (*weights)->width() != 1)
            throw std::invalid_argument("sample_weight must be one column");
        if (targets->rows() != n_rows || (weights && (*weights)->rows() != n_rows))
            throw std::invalid_argument("X, y and sample_weight must have the same number of rows");
        if (rows)
            select(*rows, n_rows);
        view = {&*inputs, &*targets, weights ? &**weights : nullptr, names};
    }
    OwnedExamples(const OwnedExamples &) = delete;
    OwnedExamples &operator=(const OwnedExamples &) = delete;

    OwnedSource<T> inputs, targets;
    std::optional<OwnedSource<T>> weights;
    Examples<T> view;

  private:
    void select(const py::array &rows, Index n_rows) {
        rows_ = rows;
        const Index *numbers = row_numbers(rows, n_rows);
        inputs.select(numbers, rows.size());
        targets.select(numbers, rows.size());
        if (weights)
            weights->select(numbers, rows.size());
    }
    py::object rows_;
};

// A (rows, columns) array over memory that `owner` keeps alive.
template <class T>
py::array matrix_view(py::handle owner, T *data, Index rows, Index columns, Index row_stride,
                      bool writable) {
    constexpr auto kSize = static_cast<py::ssize_t>(sizeof(T));
    py::array_t<std::remove_const_t<T>> array({rows, columns}, {row_stride * kSize, kSize}, data,
                                              owner);
    if (!writable)
        array.attr("setflags")(py::arg("write") = false);
    return array;
}

template <class T> py::array vector_view(py::handle owner, T *data, Index size, bool writable) {
    py::array_t<std::remove_const_t<T>> array({size}, {static_cast<py::ssize_t>(sizeof(T))}, data,
                                              owner);
    if (!writable)
        array.attr("setflags")(py::arg("write") = false);
    return array;
}

// Data pointer of a C-contiguous array of exactly `size` elements of T. TypeError/ValueError
// otherwise.
template <class T> T *contiguous_data(const py::array &array, Index size, const char *name) {
    const bool same = py::isinstance<py::array_t<T, py::array::c_style>>(array);
    if (!same)
        throw py::type_error(std::string(name) +
                             " must be a C-contiguous array of the network's dtype");
    if (array.size() != size)
        throw std::invalid_argument(std::string(name) + " must have " + std::to_string(size) +
                                    " elements, got " + std::to_string(array.size()));
    return const_cast<T *>(static_cast<const T *>(array.data()));
}

// Asks Python for signals, at most every 50 ms, in the thread that released the GIL; true leaves
// the exception set.
Poll signal_poll(ReleaseGil &released);

// After a call that was abandoned by signal_poll: raises what the signal raised.
inline void raise_if_abandoned(bool finished) {
    if (!finished)
        throw py::error_already_set();
}

} // namespace deltarule::bindings

// How signatures name the type.
template <> struct pybind11::detail::handle_type_name<deltarule::bindings::Rows> {
    static constexpr auto name = const_name("numpy.ndarray | SparseRows");
};
