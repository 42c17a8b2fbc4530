// SparseRows: the three arrays of a CSR matrix, checked.
#include "arrays.hpp"
#include "register.hpp"

namespace deltarule::bindings {

using namespace py::literals;

namespace {

void require_plain(const py::array &array, const char *name) {
    if (array.ndim() != 1 || (array.flags() & py::array::c_style) == 0 ||
        is_byte_swapped(array.dtype()))
        throw std::invalid_argument(
            std::string(name) + " must be one-dimensional, contiguous and in native byte order");
}

const std::byte *bytes_of(const py::array &array) {
    return static_cast<const std::byte *>(array.data());
}

SparseView view_of(const py::array &data, const py::array &indices, const py::array &indptr,
                   Index n_columns) {
    require_plain(data, "data");
    require_plain(indices, "indices");
    require_plain(indptr, "indptr");
    const DType type = dtype_of(indices.dtype(), "indices");
    if ((type != DType::int32 && type != DType::int64) ||
        dtype_of(indptr.dtype(), "indptr") != type)
        throw py::type_error("indices and indptr must both be int32 or both int64");
    if (indices.size() != data.size())
        throw std::invalid_argument("indices must be as many as data, got " +
                                    std::to_string(indices.size()) + " and " +
                                    std::to_string(data.size()));
    if (indptr.size() == 0)
        throw std::invalid_argument("indptr must have one number more than there are rows, got 0");
    if (n_columns < 0)
        throw std::invalid_argument("n_columns must be >= 0, got " + std::to_string(n_columns));
    SparseView view;
    view.data = bytes_of(data);
    view.indices = bytes_of(indices);
    view.indptr = bytes_of(indptr);
    view.dtype = dtype_of(data.dtype(), "data");
    view.wide_indices = type == DType::int64;
    view.rows = indptr.size() - 1;
    view.columns = n_columns;
    view.n_stored = data.size();
    return view;
}

SparseMatrix checked(const SparseView &view) {
    const ReleaseGil release;
    return SparseMatrix(view);
}

} // namespace

SparseRows::SparseRows(py::array data_, py::array indices_, py::array indptr_, Index n_columns)
    : data(std::move(data_)), indices(std::move(indices_)), indptr(std::move(indptr_)),
      matrix(checked(view_of(data, indices, indptr, n_columns))) {}

void register_sparse(py::module_ &m) {
    py::class_<SparseRows>(m, "SparseRows", py::module_local(), py::is_final())
        .def(py::init<py::array, py::array, py::array, Index>(), "data"_a, "indices"_a, "indptr"_a,
             "n_columns"_a)
        .def_property_readonly("shape",
                               [](const SparseRows &rows) {
                                   const SparseView &view = rows.matrix.view();
                                   return std::make_pair(view.rows, view.columns);
                               })
        .def_readonly("data", &SparseRows::data)
        .def_readonly("indices", &SparseRows::indices)
        .def_readonly("indptr", &SparseRows::indptr);
}

} // namespace deltarule::bindings
