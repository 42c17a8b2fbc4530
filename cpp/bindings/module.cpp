// The compiled module. DELTARULE_MODULE is its name, one for each CPU level.
#include "register.hpp"

#include <Eigen/Core>

#include <map>
#include <pybind11/stl.h>
#include <string>

namespace py = pybind11;
using namespace deltarule::bindings;

namespace {

std::map<std::string, std::string> build_info() {
    const auto number = [](int x) { return std::to_string(x); };
#if defined(__clang__)
    const std::string compiler = "clang " __clang_version__;
#else
    const std::string compiler = "gcc " __VERSION__;
#endif
    return {{"cpu_level", DELTARULE_LEVEL},
            {"compiler", compiler},
            {"eigen", number(EIGEN_MAJOR_VERSION) + "." + number(EIGEN_MINOR_VERSION) + "." +
                          number(EIGEN_PATCH_VERSION)}};
}

} // namespace

PYBIND11_MODULE(DELTARULE_MODULE, m, py::mod_gil_not_used()) {
    m.doc() = "The compiled core of deltarule. Use deltarule.Network and deltarule.Trainer.";
    m.def("build_info", &build_info, "CPU level, compiler and Eigen version.");
    register_specs(m);
    register_random(m);
    register_sparse(m);
    register_network<float>(m, "Network32", "Trace32");
    register_network<double>(m, "Network64", "Trace64");
    register_small_predictor<float>(m, "SmallPredictor32");
    register_small_predictor<double>(m, "SmallPredictor64");
    register_trainer<float>(m, "Trainer32");
    register_trainer<double>(m, "Trainer64");
}
