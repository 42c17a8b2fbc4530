// The plain structs that say what to build and how to run it.
#include "custom_loss.hpp"
#include "register.hpp"

#include "deltarule/trainer.hpp"

#include <pybind11/stl.h>

namespace deltarule::bindings {

namespace py = pybind11;
using namespace py::literals;

namespace {

void register_layer_training(py::module_ &m) {
    using L = LayerTraining;
    py::class_<L>(m, "LayerTraining", py::module_local(), py::is_final())
        .def(py::init([](double l1, double l2, double learning_rate_factor) {
                 return L{l1, l2, learning_rate_factor};
             }),
             py::kw_only(), "l1"_a = 0.0, "l2"_a = 0.0, "learning_rate_factor"_a = 1.0)
        .def_readwrite("l1", &L::l1)
        .def_readwrite("l2", &L::l2)
        .def_readwrite("learning_rate_factor", &L::learning_rate_factor);
}

void register_layer(py::module_ &m) {
    py::class_<LayerSpec>(m, "LayerSpec", py::module_local(), py::is_final())
        .def(py::init([](std::string kind, Index units, std::string activation, double alpha,
                         double rate, std::string initializer, double gain,
                         std::vector<Index> columns, std::vector<Index> n_levels, Index dimension,
                         double momentum, double epsilon) {
                 return LayerSpec{std::move(kind),
                                  units,
                                  std::move(activation),
                                  alpha,
                                  rate,
                                  std::move(initializer),
                                  gain,
                                  std::move(columns),
                                  std::move(n_levels),
                                  dimension,
                                  momentum,
                                  epsilon};
             }),
             "kind"_a, py::kw_only(), "units"_a = 0, "activation"_a = "identity", "alpha"_a = 0.0,
             "rate"_a = 0.0, "initializer"_a = "zeros", "gain"_a = 1.0,
             "columns"_a = std::vector<Index>(), "n_levels"_a = std::vector<Index>(),
             "dimension"_a = 0, "momentum"_a = 0.1, "epsilon"_a = 1e-5)
        .def_readwrite("kind", &LayerSpec::kind)
        .def_readwrite("units", &LayerSpec::units)
        .def_readwrite("activation", &LayerSpec::activation)
        .def_readwrite("alpha", &LayerSpec::alpha)
        .def_readwrite("rate", &LayerSpec::rate)
        .def_readwrite("initializer", &LayerSpec::initializer)
        .def_readwrite("gain", &LayerSpec::gain)
        .def_readwrite("columns", &LayerSpec::columns)
        .def_readwrite("n_levels", &LayerSpec::n_levels)
        .def_readwrite("dimension", &LayerSpec::dimension)
        .def_readwrite("momentum", &LayerSpec::momentum)
        .def_readwrite("epsilon", &LayerSpec::epsilon)
        .def_readwrite("training", &LayerSpec::training);
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
        .def_readwrite("alpha", &L::alpha)
        .def(
            "set_custom",
            [](L &spec, const py::object &loss, Index target_width) {
                spec.function = std::make_shared<PythonLoss>(loss);
                spec.target_width = target_width;
            },
            "loss"_a, "target_width"_a);
    py::register_local_exception_translator(&raise_bad_result);
}

// Calls f(name, member) for every setting of an optimiser but its name.
template <class F> void each_setting(F &&f) {
    using O = OptimizerSpec;
    f("learning_rate", &O::learning_rate);
    f("schedule", &O::schedule);
    f("momentum", &O::momentum);
    f("nesterov", &O::nesterov);
    f("beta1", &O::beta1);
    f("beta2", &O::beta2);
    f("epsilon", &O::epsilon);
    f("l2", &O::l2);
    f("weight_decay", &O::weight_decay);
    f("amsgrad", &O::amsgrad);
    f("alpha", &O::alpha);
    f("centered", &O::centered);
    f("initial_accumulator", &O::initial_accumulator);
    f("momentum_decay", &O::momentum_decay);
    f("eta_plus", &O::eta_plus);
    f("eta_minus", &O::eta_minus);
    f("step_min", &O::step_min);
    f("step_max", &O::step_max);
    f("clip_norm", &O::clip_norm);
    f("clip_value", &O::clip_value);
    f("rate_in_velocity", &O::rate_in_velocity);
    f("epsilon_hat", &O::epsilon_hat);
    f("l2_per_weight", &O::l2_per_weight);
}

// The same for a schedule.
template <class F> void each_schedule_setting(F &&f) {
    using S = ScheduleSpec;
    f("factor", &S::factor);
    f("every", &S::every);
    f("power", &S::power);
    f("steps", &S::steps);
    f("final", &S::final_rate);
    f("restarts", &S::restarts);
    f("t_mult", &S::t_mult);
    f("pct_start", &S::pct_start);
    f("div_factor", &S::div_factor);
    f("final_div_factor", &S::final_div_factor);
    f("patience", &S::patience);
    f("tol", &S::tol);
    f("minimum", &S::minimum);
    f("warm_up_steps", &S::warm_up_steps);
    f("warm_up_start", &S::warm_up_start);
}

// Sets the members that `settings` names; `each` is one of the two above.
template <class Spec, class Each>
Spec with_settings(Spec spec, const Each &each, const py::kwargs &settings) {
    std::size_t n_known = 0;
    each([&](const char *setting, auto member) {
        if (!settings.contains(setting))
            return;
        spec.*member = settings[setting].cast<std::decay_t<decltype(spec.*member)>>();
        ++n_known;
    });
    if (n_known != settings.size())
        throw py::type_error("unknown setting");
    return spec;
}

ScheduleSpec schedule_spec(const std::string &name, const py::kwargs &settings) {
    ScheduleSpec spec;
    spec.kind = schedule_kind(name);
    const auto each = [](auto &&f) { each_schedule_setting(f); };
    spec = with_settings(spec, each, settings);
    if (spec.every < 1 || spec.steps < 0 || spec.restarts < 0 || spec.warm_up_steps < 0)
        throw py::value_error("counts of a schedule must not be negative, every at least 1");
    return spec;
}

void register_schedule(py::module_ &m) {
    using S = ScheduleSpec;
    py::class_<S> spec(m, "ScheduleSpec", py::module_local(), py::is_final());
    spec.def(py::init(&schedule_spec), "name"_a).def_property_readonly("name", [](const S &s) {
        return std::string(schedule_name(s.kind));
    });
    each_schedule_setting(
        [&](const char *setting, auto member) { spec.def_readonly(setting, member); });
}

OptimizerSpec optimizer_spec(const std::string &name, const py::kwargs &settings) {
    OptimizerSpec spec;
    spec.kind = optimizer_kind(name);
    return with_settings(spec, [](auto &&f) { each_setting(f); }, settings);
}

void register_optimizer(py::module_ &m) {
    using O = OptimizerSpec;
    py::class_<O> spec(m, "OptimizerSpec", py::module_local(), py::is_final());
    spec.def(py::init(&optimizer_spec), "name"_a).def_property_readonly("name", [](const O &o) {
        return std::string(optimizer_name(o.kind));
    });
    each_setting([&](const char *setting, auto member) { spec.def_readwrite(setting, member); });
}

void register_options(py::module_ &m) {
    using R = RunOptions;
    py::class_<R>(m, "RunOptions", py::module_local(), py::is_final())
        .def(py::init([](Index batch_size, bool shuffle, std::int64_t epochs,
                         std::int64_t max_steps, double slice_seconds, bool pause_each_epoch,
                         double tol, std::int64_t patience, bool ties_improve, bool mean_over_rows,
                         bool keep_best, bool judge_outside, int n_threads) {
                 if (batch_size < 1)
                     throw py::value_error("batch_size must be at least 1");
                 return R{batch_size,       shuffle,       epochs,   max_steps,    slice_seconds,
                          pause_each_epoch, tol,           patience, ties_improve, mean_over_rows,
                          keep_best,        judge_outside, n_threads};
             }),
             py::kw_only(), "batch_size"_a, "shuffle"_a, "epochs"_a, "max_steps"_a = -1,
             "slice_seconds"_a = -1.0, "pause_each_epoch"_a = false, "tol"_a = -1.0,
             "patience"_a = 0, "ties_improve"_a = false, "mean_over_rows"_a = false,
             "keep_best"_a = false, "judge_outside"_a = false, "n_threads"_a = 1)
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
        .def_readwrite("keep_best", &R::keep_best)
        .def_readwrite("judge_outside", &R::judge_outside)
        .def_readwrite("n_threads", &R::n_threads);
}

} // namespace

void register_specs(py::module_ &m) {
    register_layer_training(m);
    register_layer(m);
    register_loss(m);
    register_schedule(m);
    register_optimizer(m);
    register_options(m);
}

} // namespace deltarule::bindings
