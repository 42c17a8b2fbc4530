"""Every tolerance of the tests, derived in one place.

A float64 result is compared with float64 NumPy: both round differently, a few hundred units of
1e-16 in the sums that these tests make, hence FLOAT64. A float32 result is compared with float64
NumPy, so its own rounding is what shows: the errors of a sum of `terms` numbers add like a random
walk, hence 8 eps sqrt(terms). Both are relative to the largest number compared (`close`), because a
small number in a vector may be the difference of two large ones.
"""

import numpy as np

EPS32 = float(np.finfo(np.float32).eps)
EPS64 = float(np.finfo(np.float64).eps)

FLOAT64 = 1e-12

# Central differences: the step that balances truncation (h^2) and rounding (eps / h), and the
# tolerance that leaves two digits beyond the error h^2 = 4e-11 for curved functions.
DIFFERENCE_STEP = EPS64 ** (1 / 3)
DIFFERENCE = 1e-6

# Twenty steps in float32 against float64. Adaptive rules divide gradients by their own size, so
# what is small and badly known moves as far as the rest: rounding of 1e-7 in a gradient grows with
# each step, to some hundred times of it.
FLOAT32_STEPS = 2e-4

# Without fused multiply-add (level v2) every term is rounded twice instead of once.
GOLDEN_FACTOR = {"v2": 2.0, "v3": 1.0, "v4": 1.0}


def tolerance(dtype, terms=1):
    """The relative tolerance of a result in `dtype` that sums `terms` numbers."""
    if np.dtype(dtype) == np.float64:
        return FLOAT64
    return 8 * EPS32 * float(np.sqrt(terms))


def close(actual, expected, rtol):
    """Whether the largest difference is within rtol of the largest expected number."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"{actual.shape} != {expected.shape}"
    if actual.size == 0:
        return True
    error, scale = abs(actual - expected).max(), max(abs(expected).max(), 1e-30)
    if not error <= rtol * scale:
        print(f"error {error:.3g}, allowed {rtol * scale:.3g} (rtol {rtol:.3g})")
    return bool(error <= rtol * scale)
