// Network32, Network64 and their traces.
#include "arrays.hpp"
#include "register.hpp"

#include "deltarule/inference.hpp"
#include "deltarule/scaling.hpp"

#include <pybind11/stl.h>

namespace deltarule::bindings {

using namespace py::literals;

namespace {

using Weights = std::optional<py::array>;

template <class T> void check_width(const Network<T> &network, const Source<T> &X) {
    if (X.width() != network.n_inputs())
        throw std::invalid_argument("X must have " + std::to_string(network.n_inputs()) +
                                    " columns, got " + std::to_string(X.width()));
}

template <class T> std::vector<std::map<std::string, Index>> layout(const Network<T> &network) {
    std::vector<std::map<std::string, Index>> all;
    for (const LayerLayout &l : network.layout())
        all.push_back({{"n_inputs", l.n_inputs},
                       {"n_outputs", l.n_outputs},
                       {"theta_offset", l.theta_offset},
                       {"n_parameters", l.n_parameters},
                       {"state_offset", l.state_offset},
                       {"n_state", l.n_state}});
    return all;
}

template <class T>
void predict_into(const Network<T> &network, const Rows &X, py::array out, int n_threads) {
    const OwnedSource<T> source(X, "X");
    check_width(network, *source);
    T *data = contiguous_data<T>(out, source->rows() * network.n_outputs(), "out");
    if (!out.writeable())
        throw std::invalid_argument("out must be writeable");
    bool finished = true;
    {
        ReleaseGil release;
        if (source->rows() > 0)
            finished = predict(network, *source, signal_poll(release), n_threads, data);
    }
    raise_if_abandoned(finished);
}

template <class T>
double loss_of(const Network<T> &network, const Rows &X, const py::array &y, const Weights &w,
               const LossSpec &loss, const Pass &pass, int n_threads, T *gradient) {
    const OwnedExamples<T> data(X, y, w);
    check_width(network, *data.view.X);
    double value = 0;
    bool finished = true;
    {
        ReleaseGil release;
        finished = evaluate(network, loss, data.view, pass, signal_poll(release), n_threads, value,
                            gradient);
    }
    raise_if_abandoned(finished);
    return value;
}

template <class T> Pass pass_for(const Network<T> &network, std::uint64_t seed, bool training) {
    Pass pass;
    pass.training = training;
    pass.seed = seed;
    pass.step = network.n_steps;
    return pass;
}

template <class T>
py::tuple backward_of(const Network<T> &network, const Rows &X, const py::array &output_gradient,
                      std::uint64_t seed, bool training, int n_threads) {
    const OwnedSource<T> source(X, "X"), given(output_gradient, "output_gradient");
    check_width(network, *source);
    const Index rows = source->rows();
    if (given->rows() != rows || given->width() != network.n_outputs())
        throw std::invalid_argument("output_gradient must have one row for each of X and " +
                                    std::to_string(network.n_outputs()) + " columns");
    py::array_t<T> gradient(network.n_parameters());
    py::array_t<T> input_gradient({rows, network.n_inputs()});
    std::fill_n(gradient.mutable_data(), network.n_parameters(), T(0));
    bool finished = true;
    {
        ReleaseGil release;
        Buffer<T> sum(network.n_parameters()); // aligned, with room for whole packets
        if (rows > 0)
            finished = backward(network, *source, *given, pass_for(network, seed, training),
                                signal_poll(release), n_threads, sum.data(),
                                input_gradient.mutable_data());
        std::copy_n(sum.data(), sum.size(), gradient.mutable_data());
    }
    raise_if_abandoned(finished);
    return py::make_tuple(gradient, input_gradient);
}

template <class T>
void fit_scaling_of(Network<T> &network, const Rows &X, const py::array &y, const Weights &w,
                    const std::optional<py::array> &rows) {
    const OwnedExamples<T> data(X, y, w, {}, rows);
    check_width(network, *data.view.X);
    bool finished = true;
    {
        ReleaseGil release;
        finished = fit_scaling(network, data.view, signal_poll(release));
    }
    raise_if_abandoned(finished);
}

template <class T>
void set_training(Network<T> &network, Index layer, const LayerTraining &training) {
    if (layer < 0 || layer >= static_cast<Index>(network.layers().size()))
        throw py::index_error("no layer " + std::to_string(layer));
    network.set_training(static_cast<std::size_t>(layer), training);
}

template <class T> void set_fitted(Network<T> &network, const std::vector<bool> &flags) {
    if (flags.size() != network.fitted.size())
        throw std::invalid_argument("fitted must have one flag for each layer");
    network.fitted = flags;
}

template <class T>
std::unique_ptr<Trace<T>> trace_of(const Network<T> &network, const Rows &X, const py::array &y,
                                   const Weights &w, const LossSpec &loss, std::uint64_t seed,
                                   bool training) {
    const OwnedExamples<T> data(X, y, w);
    check_width(network, *data.view.X);
    const ReleaseGil release;
    return std::make_unique<Trace<T>>(network, loss, data.view, pass_for(network, seed, training));
}

template <class T, Columns<T> Slot<T>::*Member> py::array trace_view(py::object self, Index layer) {
    const auto &trace = self.cast<const Trace<T> &>();
    if (layer < 0 || layer >= static_cast<Index>(trace.layout.size()))
        throw py::index_error("no layer " + std::to_string(layer));
    const auto l = static_cast<std::size_t>(layer);
    const Columns<T> c = trace.workspace.slots[l].*Member;
    return matrix_view<T>(self, c.data, trace.rows, trace.layout[l].n_outputs, c.ld, false);
}

template <class T> void register_trace(py::module_ &m, const char *name) {
    py::class_<Trace<T>>(m, name, py::module_local(), py::is_final())
        .def_readonly("loss", &Trace<T>::loss)
        .def_property_readonly("gradient",
                               [](py::object self) {
                                   auto &trace = self.cast<Trace<T> &>();
                                   return vector_view<T>(self, trace.gradient.data(),
                                                         trace.gradient.size(), false);
                               })
        .def("z", &trace_view<T, &Slot<T>::z>, "layer"_a)
        .def("a", &trace_view<T, &Slot<T>::a>, "layer"_a)
        .def("delta", &trace_view<T, &Slot<T>::delta>, "layer"_a);
}

} // namespace

template <class T> void register_network(py::module_ &m, const char *name, const char *trace) {
    using N = Network<T>;
    register_trace<T>(m, trace);
    py::class_<N, std::shared_ptr<N>>(m, name, py::module_local(), py::is_final())
        .def(py::init<Index, const std::vector<LayerSpec> &, std::uint64_t>(), "n_inputs"_a,
             "layers"_a, "seed"_a)
        .def_readwrite("n_steps", &N::n_steps)
        .def_property("seed", &N::seed, &N::set_seed)
        .def_property_readonly("n_parameters", &N::n_parameters)
        .def_property_readonly("n_inputs", &N::n_inputs)
        .def_property_readonly("n_outputs", &N::n_outputs)
        .def_property_readonly("theta",
                               [](py::object self) {
                                   auto &n = self.cast<N &>();
                                   return vector_view<T>(self, n.theta(), n.n_parameters(), true);
                               })
        .def_property_readonly("state",
                               [](py::object self) {
                                   auto &n = self.cast<N &>();
                                   return vector_view<T>(self, n.state(), n.n_state(), true);
                               })
        .def_property(
            "fitted", [](const N &n) { return n.fitted; }, &set_fitted<T>)
        .def("layout", &layout<T>)
        .def("set_training", &set_training<T>, "layer"_a, "training"_a)
        .def("predict", &predict_into<T>, "X"_a, "out"_a, "n_threads"_a)
        .def("fit_scaling", &fit_scaling_of<T>, "X"_a, "y"_a, "sample_weight"_a.none(true),
             "rows"_a.none(true) = py::none())
        .def(
            "evaluate",
            [](const N &n, const Rows &X, const py::array &y, const Weights &w,
               const LossSpec &loss,
               int n_threads) { return loss_of<T>(n, X, y, w, loss, Pass{}, n_threads, nullptr); },
            "X"_a, "y"_a, "sample_weight"_a.none(true), "loss"_a, "n_threads"_a)
        .def(
            "gradient",
            [](const N &n, const Rows &X, const py::array &y, const Weights &w,
               const LossSpec &loss, std::uint64_t seed, bool training, int n_threads,
               py::array out) {
                T *data = contiguous_data<T>(out, n.n_parameters(), "out");
                Buffer<T> sum(n.n_parameters()); // aligned, with room for whole packets
                const double value = loss_of<T>(n, X, y, w, loss, pass_for(n, seed, training),
                                                n_threads, sum.data());
                std::copy_n(sum.data(), sum.size(), data);
                return value;
            },
            "X"_a, "y"_a, "sample_weight"_a.none(true), "loss"_a, "seed"_a, "training"_a,
            "n_threads"_a, "out"_a)
        .def("backward", &backward_of<T>, "X"_a, "output_gradient"_a, "seed"_a, "training"_a,
             "n_threads"_a)
        .def("trace", &trace_of<T>, "X"_a, "y"_a, "sample_weight"_a.none(true), "loss"_a, "seed"_a,
             "training"_a);
}

template void register_network<float>(py::module_ &, const char *, const char *);
template void register_network<double>(py::module_ &, const char *, const char *);

} // namespace deltarule::bindings
