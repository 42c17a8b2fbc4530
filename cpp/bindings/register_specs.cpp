// The plain structs that say what to build and how to run it.
#include "register.hpp"

#include "deltarule/trainer.hpp"

#include <pybind11/stl.h>

namespace deltarule::bindings {

namespace py = pybind11;
using namespace py::literals;

namespace {

void register_layer(py::module_ &m) {
    py::class_<LayerSpec>(m, "LayerSpec", py::module_local(), py::is_final())
        .def(py::init([](std::string kind, Index units, std::string activation, double alpha,
                         double rate, std::string initializer, double gain) {
                 return LayerSpec{std::move(kind),        units, std::move(activation), alpha, rate,
                                  std::move(initializer), gain};
             }),
             "kind"_a, py::kw_only(), "units"_a = 0, "activation"_a = "identity", "alpha"_a = 0.0,
             "rate"_a = 0.0, "initializer"_a = "zeros", "gain"_a = 1.0)
        .def_readwrite("kind", &LayerSpec::kind)
        .def_readwrite("units", &LayerSpec::units)
        .def_readwrite("activation", &LayerSpec::activation)
        .def_readwrite("alpha", &LayerSpec::alpha)
        .def_readwrite("rate", &LayerSpec::rate)
        .def_readwrite("initializer", &LayerSpec::initializer)
        .def_readwrite("gain", &LayerSpec::gain);
}

void register_loss(py::module_ &m) {
    using L = LossSpec;
    py::class_<L>(m, "LossSpec", py::module_local(), py::is_final())
        .def(py::init(
                 [](const std::string &name, double delta, double scale, double gradient_scale) {
                     L spec;
                     spec.kind = loss_kind(name);
                     spec.delta = delta;
                     spec.scale = scale;
                     spec.gradient_scale = gradient_scale;
                     return spec;
                 }),
             "name"_a, py::kw_only(), "delta"_a = 1.0, "scale"_a = 1.0, "gradient_scale"_a = 1.0)
        .def_property_readonly("name", [](const L &s) { return std::string(loss_name(s.kind)); })
        .def_readwrite("delta", &L::delta)
        .def_readwrite("scale", &L::scale)
        .def_readwrite("gradient_scale", &L::gradient_scale)
        .def_readwrite("label_smoothing", &L::label_smoothing)
        .def_readwrite("gamma", &L::gamma)
        .def_readwrite("squared", &L::squared)
        .def_readwrite("quantiles", &L::quantiles)
        .def_readwrite("alpha", &L::alpha);
}

void register_optimizer(py::module_ &m) {
    using O = OptimizerSpec;
    py::class_<O>(m, "OptimizerSpec", py::module_local(), py::is_final())
        .def(py::init([](const std::string &name, double learning_rate, double momentum,
                         bool nesterov, double beta1, double beta2, double epsilon, double l2,
                         double weight_decay, bool rate_in_velocity, bool epsilon_hat,
                         bool l2_per_weight) {
                 return O{optimizer_kind(name),
                          learning_rate,
                          momentum,
                          nesterov,
                          beta1,
                          beta2,
                          epsilon,
                          l2,
                          weight_decay,
                          rate_in_velocity,
                          epsilon_hat,
                          l2_per_weight};
             }),
             "name"_a, py::kw_only(), "learning_rate"_a, "momentum"_a = 0.0, "nesterov"_a = false,
             "beta1"_a = 0.9, "beta2"_a = 0.999, "epsilon"_a = 1e-8, "l2"_a = 0.0,
             "weight_decay"_a = 0.0, "rate_in_velocity"_a = false, "epsilon_hat"_a = false,
             "l2_per_weight"_a = false)
        .def_property_readonly(
            "name", [](const O &o) { return o.kind == OptimizerKind::adam ? "adam" : "sgd"; })
        .def_readwrite("learning_rate", &O::learning_rate)
        .def_readwrite("momentum", &O::momentum)
        .def_readwrite("nesterov", &O::nesterov)
        .def_readwrite("beta1", &O::beta1)
        .def_readwrite("beta2", &O::beta2)
        .def_readwrite("epsilon", &O::epsilon)
        .def_readwrite("l2", &O::l2)
        .def_readwrite("weight_decay", &O::weight_decay)
        .def_readwrite("rate_in_velocity", &O::rate_in_velocity)
        .def_readwrite("epsilon_hat", &O::epsilon_hat)
        .def_readwrite("l2_per_weight", &O::l2_per_weight);
}

void register_options(py::module_ &m) {
    using R = RunOptions;
    py::class_<R>(m, "RunOptions", py::module_local(), py::is_final())
        .def(py::init([](Index batch_size, bool shuffle, std::int64_t epochs,
                         std::int64_t max_steps, double slice_seconds, bool pause_each_epoch,
                         double tol, std::int64_t patience, bool ties_improve, bool mean_over_rows,
                         int n_threads) {
                 if (batch_size < 1)
                     throw py::value_error("batch_size must be at least 1");
                 return R{batch_size,    shuffle,          epochs,   max_steps,
                          slice_seconds, pause_each_epoch, tol,      patience,
                          ties_improve,  mean_over_rows,   n_threads};
             }),
             py::kw_only(), "batch_size"_a, "shuffle"_a, "epochs"_a, "max_steps"_a = -1,
             "slice_seconds"_a = -1.0, "pause_each_epoch"_a = false, "tol"_a = -1.0,
             "patience"_a = 0, "ties_improve"_a = false, "mean_over_rows"_a = false,
             "n_threads"_a = 1)
        .def_readwrite("batch_size", &R::batch_size)
        .def_readwrite("shuffle", &R::shuffle)
        .def_readwrite("epochs", &R::epochs)
        .def_readwrite("max_steps", &R::max_steps)
        .def_readwrite("slice_seconds", &R::slice_seconds)
        .def_readwrite("pause_each_epoch", &R::pause_each_epoch)
        .def_readwrite("tol", &R::tol)
        .def_readwrite("patience", &R::patience)
        .def_readwrite("ties_improve", &R::ties_improve)
        .def_readwrite("mean_over_rows", &R::mean_over_rows)
        .def_readwrite("n_threads", &R::n_threads);
}

} // namespace

void register_specs(py::module_ &m) {
    register_layer(m);
    register_loss(m);
    register_optimizer(m);
    register_options(m);
}

} // namespace deltarule::bindings
