// Mean and standard deviation of data, for Standardize and Rescale: one streaming pass.
#pragma once

#include "deltarule/objective.hpp"

namespace deltarule {

// Fits the layers of `network` that wait for their statistics: Standardize to X, Rescale to y.
// Every column gets its weighted mean and deviation √(Σ w (x − mean)² / Σ w), or scale 1 where it
// has no spread. Blocks of 256 rows are merged in order, in double: T. Chan, G. Golub, R. LeVeque,
// "Updating formulae and a pairwise algorithm for computing sample variances", 1982. Throws
// DataError; then nothing is changed. False if abandoned.
template <class T> bool fit_scaling(Network<T> &network, const Examples<T> &data, const Poll &poll);

} // namespace deltarule
