// Trainer32 and Trainer64.
#include "arrays.hpp"
#include "register.hpp"
#include "small_calls.hpp"

#include "deltarule/trainer.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <variant>

namespace deltarule::bindings {

using namespace py::literals;

namespace {

using Weights = std::optional<py::array>;
using RowNumbers = std::optional<py::array>;
using Scalar = std::variant<bool, std::int64_t, std::uint64_t, double>;

const char *status_name(Status status) {
    switch (status) {
    case Status::paused:
        return "paused";
    case Status::epoch:
        return "epoch";
    case Status::rate:
        return "rate";
    case Status::max_steps:
        return "max_steps";
    case Status::epochs:
        return "epochs";
    case Status::converged:
        return "converged";
    case Status::diverged:
        return "diverged";
    case Status::interrupted:
        break;
    }
    return "interrupted";
}

// Calls f(name, member) for everything a checkpoint keeps.
template <class State, class F> void each_scalar(State &s, F &&f) {
    f("seed", s.seed);
    f("own_seed", s.own_seed);
    f("step", s.step);
    f("epoch", s.epoch);
    f("in_epoch", s.in_epoch);
    f("position", s.position);
    f("rows", s.rows);
    f("batch_size", s.batch_size);
    f("shuffle", s.shuffle);
    f("epoch_first_step", s.epoch_first_step);
    f("epoch_draw", s.epoch_draw);
    f("loss_sum", s.loss_sum);
    f("weight_sum", s.weight_sum);
    f("epoch_seconds", s.epoch_seconds);
    f("best_loss", s.best_loss);
    f("has_best", s.has_best);
    f("epochs_since_best", s.epochs_since_best);
    f("seconds", s.seconds);
}

// The same for what only some schedules have, so that other checkpoints need none of it.
template <class State, class F> void each_schedule_scalar(ScheduleKind kind, State &s, F &&f) {
    if (kind == ScheduleKind::plateau) {
        f("plateau_best", s.plateau.best);
        f("plateau_epochs", s.plateau.epochs_since_best);
        f("plateau_reductions", s.plateau.reductions);
    } else if (kind == ScheduleKind::sampled) {
        f("sampled_epoch", s.sampled_epoch);
        f("sampled_rate", s.sampled_rate);
    }
}

// Whether these could be of a trainer.
bool schedule_state_fits(ScheduleKind kind, const TrainerState &s) {
    const PlateauState &p = s.plateau;
    const bool plateau_fits = !std::isnan(p.best) && p.epochs_since_best >= 0 &&
                              p.reductions >= 0 && p.reductions <= s.epoch;
    if (kind != ScheduleKind::sampled || (s.sampled_epoch == -1 && !s.in_epoch))
        return plateau_fits;
    return std::isfinite(s.sampled_rate) && s.sampled_rate >= 0 && s.sampled_epoch >= 0 &&
           s.sampled_epoch <= s.epoch && (!s.in_epoch || s.sampled_epoch == s.epoch);
}

// A trainer with the arrays it works on.
template <class T> struct BoundTrainer : Trainer<T> {
    using Trainer<T>::Trainer;
    std::unique_ptr<OwnedExamples<T>> data, validation;
};

template <class T>
void set_data(BoundTrainer<T> &t, const Rows &X, const py::array &y, const Weights &w,
              const std::optional<Rows> &validation_X, const Weights &validation_y,
              const Weights &validation_weight, const RowNumbers &rows,
              const RowNumbers &validation_rows) {
    auto data = std::make_unique<OwnedExamples<T>>(X, y, w, ArgumentNames{}, rows);
    std::unique_ptr<OwnedExamples<T>> validation;
    if (validation_rows)
        validation = std::make_unique<OwnedExamples<T>>(X, y, validation_weight, ArgumentNames{},
                                                        validation_rows);
    else if (validation_X && validation_y)
        validation = std::make_unique<OwnedExamples<T>>(
            *validation_X, *validation_y, validation_weight,
            ArgumentNames{"validation_data[0]", "validation_data[1]", "validation_data[2]"});
    const Index width = t.network().n_inputs();
    if (data->view.X->width() != width || (validation && validation->view.X->width() != width) ||
        data->view.X->rows() < 1 || (validation && validation->view.X->rows() < 1))
        throw std::invalid_argument("X must have rows, and " + std::to_string(width) + " columns");
    if (validation && validation->view.y->width() != data->view.y->width())
        throw std::invalid_argument(
            "validation_data[1] must have targets of the same form as y (class numbers, or one "
            "column for each output): got " +
            std::to_string(validation->view.y->width()) + " columns, y has " +
            std::to_string(data->view.y->width()));
    t.data = std::move(data);
    t.validation = std::move(validation);
}

template <class T> const char *run(BoundTrainer<T> &t, const RunOptions &options) {
    if (!t.data)
        throw std::runtime_error("set_data comes before run");
    const Examples<T> none;
    Status status;
    {
        ReleaseGil release;
        status = t.run(t.data->view, t.validation ? t.validation->view : none, options,
                       signal_poll(release));
    }
    raise_if_abandoned(status != Status::interrupted);
    return status_name(status);
}

template <class T>
double step(BoundTrainer<T> &t, const Rows &X, const py::array &y, const Weights &w,
            int n_threads) {
    const OwnedExamples<T> batch(X, y, w);
    if (batch.view.X->width() != t.network().n_inputs() || batch.view.X->rows() < 1)
        throw std::invalid_argument("X must have rows, and " +
                                    std::to_string(t.network().n_inputs()) + " columns");
    const ReleaseGil release;
    return t.step(batch.view, n_threads);
}

// A step on a few plain rows, or None.
template <class T> py::object step_small(BoundTrainer<T> &t, py::handle X, py::handle y) {
    const Network<T> &network = t.network();
    const auto rows = plain_view<T>(X, false);
    auto targets = plain_view<T>(y, true);
    if (!targets)
        targets = plain_view<std::int64_t>(y, true);
    if (!rows || !targets || rows->rows == 0 || rows->rows != targets->rows ||
        rows->columns != network.n_inputs() || !t.takes_target_width(targets->columns) ||
        !is_small(network, rows->rows, 3) ||
        std::find(network.fitted.begin(), network.fitted.end(), false) != network.fitted.end())
        return py::none();
    const StridedSource<T> inputs(*rows), outputs(*targets);
    return py::float_(t.step({&inputs, &outputs, nullptr, {}}, 1));
}

template <class T> bool apply(BoundTrainer<T> &t, const py::array &gradient, double loss) {
    const T *data = contiguous_data<T>(gradient, t.network().n_parameters(), "gradient");
    const ReleaseGil release;
    return t.apply(data, loss);
}

template <class T>
std::vector<std::tuple<double, double, double, double>> take_records(BoundTrainer<T> &t) {
    std::vector<std::tuple<double, double, double, double>> taken;
    for (const EpochRecord &r : t.records)
        taken.emplace_back(r.loss, r.validation_loss, r.seconds, r.learning_rate);
    t.records.clear();
    return taken;
}

template <class T> py::dict progress(const BoundTrainer<T> &t) {
    const TrainerState &s = t.state;
    const bool started = s.in_epoch && s.weight_sum > 0;
    return py::dict("epoch"_a = s.epoch, "step"_a = s.step,
                    "position"_a = s.in_epoch ? s.position : 0, "rows"_a = s.rows,
                    "loss"_a = started ? s.loss_sum / s.weight_sum
                                       : std::numeric_limits<double>::quiet_NaN(),
                    "seconds"_a = s.seconds, "learning_rate"_a = t.present_rate());
}

template <class T> std::map<std::string, Scalar> scalars(BoundTrainer<T> &t) {
    std::map<std::string, Scalar> all;
    const auto add = [&](const char *name, const auto &x) { all.emplace(name, x); };
    each_scalar(t.state, add);
    each_schedule_scalar(t.optimizer().spec().schedule.kind, t.state, add);
    all.emplace("optimizer_steps", t.optimizer().n_steps());
    for (const auto &[name, number] : t.optimizer().scalars())
        all.emplace(name, *number);
    return all;
}

template <class T> void set_scalars(BoundTrainer<T> &t, const py::dict &values) {
    TrainerState state = t.state;
    const auto value = [&](const std::string &name) {
        if (!values.contains(name.c_str()))
            throw std::invalid_argument("missing scalar '" + name + "'");
        return values[name.c_str()];
    };
    const auto set = [&](const char *name, auto &x) {
        x = value(name).template cast<std::decay_t<decltype(x)>>();
    };
    each_scalar(state, set);
    each_schedule_scalar(t.optimizer().spec().schedule.kind, state, set);
    const auto optimizer_steps = value("optimizer_steps").template cast<std::int64_t>();
    const bool counts_fit = state.step >= 0 && state.epoch >= 0 && state.epochs_since_best >= 0 &&
                            state.kept_epoch <= state.epoch && optimizer_steps >= 0 &&
                            state.epoch_first_step >= 0 && state.epoch_first_step <= state.step;
    const bool place_fits =
        !state.in_epoch || (state.rows > 0 && state.position >= 0 && state.position <= state.rows &&
                            state.batch_size > 0);
    if (!counts_fit || !place_fits ||
        !schedule_state_fits(t.optimizer().spec().schedule.kind, state))
        throw std::invalid_argument("the trainer's counters contradict each other");
    std::vector<double> numbers;
    for (const auto &[name, number] : t.optimizer().scalars()) {
        numbers.push_back(value(name).template cast<double>());
        if (std::isnan(numbers.back()))
            throw std::invalid_argument("scalar '" + name + "' must be a number");
    }
    t.state = state;
    t.optimizer().set_n_steps(optimizer_steps);
    for (std::size_t i = 0; i < numbers.size(); ++i)
        *t.optimizer().scalars()[i].second = numbers[i];
}

// The kept epoch, or None. Apart from the scalars: a checkpoint has it only if there is one.
template <class T> py::object best(const BoundTrainer<T> &t) {
    const TrainerState &s = t.state;
    if (s.kept_epoch == 0)
        return py::none();
    return py::dict("epoch"_a = s.kept_epoch, "loss"_a = s.kept_loss,
                    "validated"_a = s.kept_validated);
}

// Its numbers are then to be written into vectors().
template <class T>
void set_best(BoundTrainer<T> &t, std::int64_t epoch, double loss, bool validated) {
    if (epoch < 1 || epoch > t.state.epoch || std::isnan(loss))
        throw std::invalid_argument("the best epoch is none of the trainer's: epoch " +
                                    std::to_string(epoch) + " of " + std::to_string(t.state.epoch) +
                                    ", loss " + std::to_string(loss));
    t.reserve_best();
    t.state.kept_epoch = epoch;
    t.state.kept_loss = loss;
    t.state.kept_validated = validated;
}

template <class T> py::dict vectors(py::object self) {
    py::dict all;
    for (const auto &[name, vector] : self.cast<BoundTrainer<T> &>().vectors())
        all[py::str(name)] = vector_view<T>(self, vector->data(), vector->size(), true);
    return all;
}

} // namespace

template <class T> void register_trainer(py::module_ &m, const char *name) {
    using B = BoundTrainer<T>;
    py::class_<B>(m, name, py::module_local(), py::is_final())
        .def(py::init<std::shared_ptr<Network<T>>, const LossSpec &, const OptimizerSpec &,
                      std::optional<std::uint64_t>, double>(),
             "network"_a, "loss"_a, "optimizer"_a, "seed"_a.none(true), "ema"_a = 0.0)
        .def("set_data", &set_data<T>, "X"_a, "y"_a, "sample_weight"_a.none(true),
             "validation_X"_a.none(true), "validation_y"_a.none(true),
             "validation_weight"_a.none(true), "rows"_a.none(true) = py::none(),
             "validation_rows"_a.none(true) = py::none())
        .def("clear_data",
             [](B &t) {
                 t.data.reset();
                 t.validation.reset();
             })
        .def("run", &run<T>, "options"_a)
        .def(
            "judge",
            [](B &t, double monitored, const RunOptions &options) {
                return status_name(t.judge_outside(monitored, options));
            },
            "monitored"_a, "options"_a)
        .def("forget_best", &B::forget_best, "kept_too"_a)
        .def("step", &step<T>, "X"_a, "y"_a, "sample_weight"_a.none(true), "n_threads"_a)
        .def("step_small", &step_small<T>, "X"_a, "y"_a)
        .def("apply", &apply<T>, "gradient"_a, "loss"_a)
        .def(
            "set_learning_rate", [](B &t, double rate) { t.optimizer().set_learning_rate(rate); },
            "rate"_a)
        .def_property_readonly("sampled_epoch", [](const B &t) { return t.state.sampled_epoch; })
        .def(
            "set_sampled_rate", [](B &t, double rate) { t.set_sampled_rate(rate); }, "rate"_a)
        .def("take_records", &take_records<T>)
        .def_property_readonly("progress", &progress<T>)
        .def_property_readonly("epoch", [](const B &t) { return t.state.epoch; })
        .def_property_readonly("n_steps", [](const B &t) { return t.state.step; })
        .def_property_readonly("divergence",
                               [](const B &t) {
                                   const auto &d = t.divergence;
                                   return std::make_tuple(d.epoch, d.step, d.loss);
                               })
        .def("scalars", &scalars<T>)
        .def("set_scalars", &set_scalars<T>, "values"_a)
        .def_property_readonly("best", &best<T>)
        .def("set_best", &set_best<T>, "epoch"_a, "loss"_a, "validated"_a)
        .def("restore_best", [](B &t) { return t.restore_best(); })
        .def_property_readonly("average_in_network",
                               [](const B &t) { return t.state.average_in_network; })
        .def("use_average", [](B &t) { t.use_average(); })
        .def("use_raw",
             [](B &t) {
                 if (t.state.step > 0) // before, what is trained is the network's theta
                     t.use_raw();
             })
        .def("vectors", &vectors<T>);
}

template void register_trainer<float>(py::module_ &, const char *);
template void register_trainer<double>(py::module_ &, const char *);

} // namespace deltarule::bindings
