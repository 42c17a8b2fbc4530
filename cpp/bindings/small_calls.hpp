// The fast path of tiny calls: a C-ordered array of the network's dtype goes straight in, the GIL
// stays held, and nothing is allocated but the result. What it does not take, it declines (None):
// Python then checks, converts, explains.
#pragma once

#include "arrays.hpp"

#include "deltarule/inference.hpp"

namespace deltarule::bindings {

// Up to so many multiply-adds (some ten microseconds; a hundred where weights come from beyond the
// L2 cache) a call keeps the GIL.
inline constexpr double kSmallWork = 1 << 20;
// A small call has at most so many rows: those of the workspace that is kept for it.
inline constexpr Index kSmallRows = 64;

// A view of an ndarray (no subclass) that is aligned, C-contiguous and of dtype T in native order;
// of one dimension only with `vector_too`, as one column.
template <class T>
std::optional<ArrayView> plain_view(py::handle object, bool vector_too, bool writeable = false) {
    static const auto &api = py::detail::npy_api::get();
    if (Py_TYPE(object.ptr()) != api.PyArray_Type_)
        return std::nullopt;
    const auto *array = py::detail::array_proxy(object.ptr());
    const auto *dtype = py::detail::array_descriptor_proxy(array->descr);
    const int needed = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ |
                       py::detail::npy_api::NPY_ARRAY_ALIGNED_ |
                       (writeable ? py::detail::npy_api::NPY_ARRAY_WRITEABLE_ : 0);
    constexpr int kType = py::detail::npy_format_descriptor<T>::value;
    const bool shaped = array->nd == 2 || (vector_too && array->nd == 1);
    if (!shaped || (array->flags & needed) != needed || dtype->type_num != kType ||
        dtype->byteorder == '>')
        return std::nullopt;
    ArrayView view;
    view.data = reinterpret_cast<const std::byte *>(array->data);
    view.dtype = std::is_same_v<T, float>    ? DType::float32
                 : std::is_same_v<T, double> ? DType::float64
                                             : DType::int64;
    view.rows = array->dimensions[0];
    view.columns = array->nd == 2 ? array->dimensions[1] : 1;
    view.column_stride = static_cast<Index>(sizeof(T));
    view.row_stride = view.columns * view.column_stride;
    return view;
}

// A new C-ordered array of shape (rows, columns).
template <class T> py::object new_matrix(Index rows, Index columns) {
    static const auto &api = py::detail::npy_api::get();
    static const py::handle dtype = py::dtype::of<T>().release();
    const Py_intptr_t shape[2] = {rows, columns};
    return py::reinterpret_steal<py::object>(api.PyArray_NewFromDescr_(
        api.PyArray_Type_, dtype.inc_ref().ptr(), 2, shape, nullptr, nullptr, 0, nullptr));
}

template <class T> bool is_small(const Network<T> &network, Index rows, int passes) {
    const double looked_up = static_cast<double>(network.n_looked_up());
    const double multiplied = static_cast<double>(network.n_parameters()) - looked_up;
    const double updated = passes > 1 ? looked_up : 0; // tables are gone through once a step
    return rows <= kSmallRows &&
           static_cast<double>(rows * passes) * multiplied + updated <= kSmallWork;
}

} // namespace deltarule::bindings
