// The dtypes of NumPy, and signals.
#include "arrays.hpp"

#include "deltarule/flush_subnormals.hpp"

#include <algorithm>
#include <bit>
#include <chrono>

namespace deltarule::bindings {

DType dtype_of(const py::dtype &dtype, const char *name) {
    const auto size = dtype.itemsize();
    switch (dtype.kind()) {
    case 'b':
        return DType::boolean;
    case 'i':
        return size == 1   ? DType::int8
               : size == 2 ? DType::int16
               : size == 4 ? DType::int32
                           : DType::int64;
    case 'u':
        return size == 1   ? DType::uint8
               : size == 2 ? DType::uint16
               : size == 4 ? DType::uint32
                           : DType::uint64;
    case 'f':
        if (size == 2 || size == 4 || size == 8)
            return size == 2 ? DType::float16 : size == 4 ? DType::float32 : DType::float64;
        break;
    default:
        break;
    }
    throw py::type_error(std::string(name) + " has a dtype that cannot be read in place: " +
                         py::str(dtype).cast<std::string>());
}

bool is_byte_swapped(const py::dtype &dtype) {
    constexpr char kForeign = std::endian::native == std::endian::little ? '>' : '<';
    return dtype.byteorder() == kForeign;
}

ArrayView view_of(const py::array &array, const char *name) {
    if (array.ndim() != 2)
        throw std::invalid_argument(std::string(name) + " must have 2 dimensions, got " +
                                    std::to_string(array.ndim()));
    ArrayView view;
    view.data = static_cast<const std::byte *>(array.data());
    view.dtype = dtype_of(array.dtype(), name);
    view.byte_swapped = is_byte_swapped(array.dtype());
    view.rows = array.shape(0);
    view.columns = array.shape(1);
    view.row_stride = array.strides(0);
    view.column_stride = array.strides(1);
    return view;
}

const Index *row_numbers(const py::array &numbers, Index n_rows) {
    const auto *data = reinterpret_cast<const Index *>(
        contiguous_data<std::int64_t>(numbers, numbers.size(), "rows"));
    if (numbers.ndim() != 1 || std::any_of(data, data + numbers.size(), [n_rows](Index row) {
            return row < 0 || row >= n_rows;
        }))
        throw std::invalid_argument("rows must be numbers from 0 to " + std::to_string(n_rows - 1));
    return data;
}

Poll signal_poll(ReleaseGil &released) {
    using Clock = std::chrono::steady_clock;
    return [&released, last = Clock::now()]() mutable {
        constexpr auto kInterval = std::chrono::milliseconds(50);
        const auto now = Clock::now();
        if (now - last < kInterval)
            return false;
        last = now;
        const KeepSubnormals mode;
        released.take();
        const bool raised = PyErr_CheckSignals() != 0;
        released.give();
        return raised;
    };
}

} // namespace deltarule::bindings
