// A loss that is a Python function: blocks of rows out as arrays, losses and gradients in.
#pragma once

#include "deltarule/loss.hpp"

#include <pybind11/pybind11.h>

#include <exception>

namespace deltarule::bindings {

// Calls loss.function(y_true, y_pred) and lets loss._checked(result, y_pred) judge the result,
// where `loss` is a deltarule.losses.Custom. That is held weakly: whoever asks for the work keeps
// it alive, and a cycle through the core could never be collected.
class PythonLoss final : public LossFunction {
  public:
    explicit PythonLoss(const pybind11::object &loss) : loss_(loss) {}
    ~PythonLoss() override;
    PythonLoss(const PythonLoss &) = delete;
    PythonLoss &operator=(const PythonLoss &) = delete;

    void operator()(const LossCall<float> &call) const override;
    void operator()(const LossCall<double> &call) const override;

  private:
    pybind11::weakref loss_;
};

// For pybind11: raises what _checked raised. To the core a refused result is like refused data.
void raise_bad_result(std::exception_ptr thrown);

} // namespace deltarule::bindings
