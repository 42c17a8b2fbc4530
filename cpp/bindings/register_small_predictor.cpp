// SmallPredictor32 and 64: predictions of a few rows, called millions of times.
#include "register.hpp"
#include "small_calls.hpp"

#include <atomic>

namespace deltarule::bindings {

using namespace py::literals;

namespace {

// A network with a workspace that is kept from call to call.
template <class T> class SmallPredictor {
  public:
    explicit SmallPredictor(std::shared_ptr<Network<T>> network) : network_(std::move(network)) {}

    // The prediction of a few plain rows, or None.
    py::object predict(py::handle X, py::handle out) {
        const auto view = plain_view<T>(X, false);
        if (!view || view->rows == 0 || view->columns != network_->n_inputs() ||
            !is_small(*network_, view->rows, 1))
            return py::none();
        py::object result;
        if (out.is_none()) {
            result = new_matrix<T>(view->rows, network_->n_outputs());
            if (!result)
                throw py::error_already_set();
        } else {
            const auto target = plain_view<T>(out, false, true);
            if (!target || target->rows != view->rows || target->columns != network_->n_outputs())
                return py::none();
            result = py::reinterpret_borrow<py::object>(out);
        }
        T *data = reinterpret_cast<T *>(py::detail::array_proxy(result.ptr())->data);
        if (busy_.test_and_set(std::memory_order_acquire)) // without a GIL: another thread's call
            return py::none();
        const std::unique_ptr<std::atomic_flag, Clear> clear(&busy_);
        if (!workspace_)
            workspace_ = std::make_unique<Workspace<T>>(*network_, kSmallRows, 0, Keep::outputs);
        deltarule::predict(*network_, StridedSource<T>(*view), *workspace_, data);
        return result;
    }

  private:
    struct Clear {
        void operator()(std::atomic_flag *flag) const { flag->clear(std::memory_order_release); }
    };

    std::shared_ptr<Network<T>> network_;
    std::unique_ptr<Workspace<T>> workspace_;
    std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

} // namespace

template <class T> void register_small_predictor(py::module_ &m, const char *name) {
    using S = SmallPredictor<T>;
    py::class_<S>(m, name, py::module_local(), py::is_final())
        .def(py::init<std::shared_ptr<Network<T>>>(), "network"_a)
        .def("predict", &S::predict, "X"_a, "out"_a);
}

template void register_small_predictor<float>(py::module_ &, const char *);
template void register_small_predictor<double>(py::module_ &, const char *);

} // namespace deltarule::bindings
