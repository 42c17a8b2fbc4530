// The counter generator and the order of rows, for tests and for splitting data.
#include "register.hpp"

#include "deltarule/random.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

namespace deltarule::bindings {

namespace py = pybind11;

namespace {

py::array_t<std::int64_t> drawn_order(Index n, std::uint64_t seed, std::uint64_t epoch,
                                      Stream stream) {
    if (n < 0)
        throw py::value_error("n must not be negative, got " + std::to_string(n));
    py::array_t<std::int64_t> rows(n);
    if (n > 0)
        RowOrder(n, seed, epoch, stream).rows(0, n, reinterpret_cast<Index *>(rows.mutable_data()));
    return rows;
}

} // namespace

void register_random(py::module_ &m) {
    m.def("philox", &philox, py::arg("counter"), py::arg("key"),
          "The four words of Philox 4x64-10 at a counter under a key.");
    m.def(
        "row_order",
        [](Index n, std::uint64_t seed, std::uint64_t epoch) {
            return drawn_order(n, seed, epoch, Stream::row_order);
        },
        py::arg("n"), py::arg("seed"), py::arg("epoch"),
        "The order in which an epoch visits n rows.");
    m.def(
        "split_order",
        [](Index n, std::uint64_t seed) { return drawn_order(n, seed, 0, Stream::splits); },
        py::arg("n"), py::arg("seed"), "The order in which n rows are split into parts.");
}

} // namespace deltarule::bindings
