// The tiny module _cpu, built for the baseline: says what this processor can run, before anything
// compiled for more is loaded.
#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace {

// The x86-64 levels of the System V ABI that processor and operating system support, best first; on
// other processors the one core there is.
py::tuple levels() {
#if defined(__x86_64__)
    py::list all;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4"))
        all.append("v4");
    if (__builtin_cpu_supports("x86-64-v3"))
        all.append("v3");
    if (__builtin_cpu_supports("x86-64-v2"))
        all.append("v2");
    return py::tuple(all);
#else
    return py::make_tuple("generic");
#endif
}

} // namespace

PYBIND11_MODULE(_cpu, m, py::mod_gil_not_used()) {
    m.doc() = "What this processor can run.";
    m.def("levels", &levels, "Names of the CPU levels this processor can run, best first.");
}
