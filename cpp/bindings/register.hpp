// One function for each group of bound classes.
#pragma once

#include <pybind11/pybind11.h>

namespace deltarule::bindings {

void register_specs(pybind11::module_ &m);
void register_sparse(pybind11::module_ &m);
void register_random(pybind11::module_ &m);
template <class T> void register_network(pybind11::module_ &m, const char *name, const char *trace);
template <class T> void register_small_predictor(pybind11::module_ &m, const char *name);
template <class T> void register_trainer(pybind11::module_ &m, const char *name);

} // namespace deltarule::bindings
