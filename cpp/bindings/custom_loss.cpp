// The way to a loss in Python and back.
#include "custom_loss.hpp"

#include "arrays.hpp"

#include "deltarule/flush_subnormals.hpp"

#include <cmath>

namespace deltarule::bindings {

namespace {

// What _checked raised.
struct BadResult : DataError {
    explicit BadResult(const py::error_already_set &raised)
        : DataError("a result of a loss function"), error(raised) {}
    py::error_already_set error;
};

// function(first, second). A thread that the interpreter ends in there keeps its arguments.
py::object called(const py::object &function, const py::object &first, const py::object &second) {
    PyObject *result = unless_ended([&] {
        return PyObject_CallFunctionObjArgs(function.ptr(), first.ptr(), second.ptr(), nullptr);
    });
    if (!result)
        throw py::error_already_set();
    return py::reinterpret_steal<py::object>(result);
}

// A copy of n columns as an array (n, width): it may be kept, and written to.
template <class T> py::array_t<T> rows_of(Columns<const T> columns, Index n, Index width) {
    py::array_t<T> array({n, width});
    T *out = array.mutable_data();
    for (Index j = 0; j < n; ++j)
        std::copy_n(columns.column(j), width, out + j * width);
    return array;
}

// A gradient without a number, where the loss has one, is a mistake; where it has none, the step
// diverges by it.
template <class T> void take_gradient(const T *gradient, const LossCall<T> &call) {
    for (Index j = 0; j < call.n; ++j)
        for (Index i = 0; i < call.n_outputs; ++i) {
            const T value = gradient[j * call.n_outputs + i];
            if (!std::isfinite(value) && std::isfinite(call.losses[j]))
                throw DataError(
                    "the gradient that the loss function returned must be finite, got " +
                    std::string(py::str(py::float_(value))) + " at row " + std::to_string(j) +
                    ", output " + std::to_string(i) + " of a block of rows, where the loss is " +
                    std::string(py::str(py::float_(call.losses[j]))));
            call.d.column(j)[i] = value;
        }
}

template <class T> void compute(const py::weakref &reference, const LossCall<T> &call) {
    const KeepSubnormals mode;
    const TakeGil gil;
    const py::object loss = reference();
    if (loss.is_none())
        throw std::runtime_error("the loss is gone: its trainer was given another");
    const py::object y_true = rows_of(call.y, call.n, call.target_width);
    const py::object y_pred = rows_of(call.a, call.n, call.n_outputs);
    const py::object result = called(loss.attr("function"), y_true, y_pred);
    try {
        const py::tuple checked = called(loss.attr("_checked"), result, y_pred);
        const auto losses = checked[0].cast<py::array>(), gradient = checked[1].cast<py::array>();
        std::copy_n(contiguous_data<double>(losses, call.n, "losses"), call.n, call.losses);
        const T *numbers = contiguous_data<T>(gradient, call.n * call.n_outputs, "gradient");
        if (call.d)
            take_gradient(numbers, call);
    } catch (const py::error_already_set &raised) {
        if (!raised.matches(PyExc_Exception)) // Ctrl-C
            throw;
        throw BadResult(raised);
    }
}

} // namespace

PythonLoss::~PythonLoss() {
    const TakeGil gil;
    loss_ = py::weakref();
}

void PythonLoss::operator()(const LossCall<float> &call) const { compute(loss_, call); }
void PythonLoss::operator()(const LossCall<double> &call) const { compute(loss_, call); }

void raise_bad_result(std::exception_ptr thrown) {
    try {
        if (thrown)
            std::rethrow_exception(thrown);
    } catch (BadResult &result) {
        result.error.restore();
    }
}

} // namespace deltarule::bindings
