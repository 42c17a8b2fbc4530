"""Every CPU level: v3 and v4 agree to the bit, v2 nearly; what is refused; what is exported."""

import importlib.machinery
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import deltarule as dr
from deltarule import _cpu
from helpers import run_python
from tolerances import close, tolerance

LEVELS = _cpu.levels()
pytestmark = pytest.mark.skipif(
    not {"v2", "v3"} <= set(LEVELS), reason="this processor has no levels v2 and v3 to compare"
)

RESULTS = """
    import importlib.util, json, os, sys, warnings
    import numpy as np
    sys.path.insert(0, sys.argv[1])
    import deltarule as dr
    from helpers import ACTIVATIONS, VALID, dense, rng, targets
    from schedule_cases import PURE

    found = {}

    def train(key, net, X, y, optimizer, **settings):
        history = net.fit(X, y, optimizer=optimizer, seed=1, **settings)
        found[key + " theta"], found[key + " loss"] = net.theta, history["loss"]
        found[key + " predict"] = net.predict(X)

    def pairs(dtype):
        for loss, output in VALID:
            for hidden in ACTIVATIONS:
                for optimizer in (dr.SGD(0.01, momentum=0.9), dr.Adam(0.01)):
                    X, y = rng(1).normal(size=(23, 5)), targets(loss, 23, 4)
                    net = dense((5, 9, 6, 4), (hidden, hidden, output), dtype=dtype)
                    net.theta[:] *= 0.5  # exp of exp stays finite
                    key = f"{dtype} {loss} {output} {hidden} {optimizer.name}"
                    train(key, net, X, y, optimizer, loss=loss, epochs=2, batch_size=8)

    def widths(dtype):
        for width in (*range(1, 21), 33, 64, 70, 257):
            X, y = rng(width).normal(size=(71, width)), rng(width, 1).normal(size=(71, 3))
            layers = [dr.Input(width), dr.Standardize(), dr.Dense(width, "tanh"), dr.Dropout(0.2)]
            layers += [dr.Dense(2 * width + 1, "silu", l1=1e-4, learning_rate_factor=0.5),
                       dr.Dense(3, l2=1e-3), dr.Rescale()]
            net = dr.Network(layers, dtype=dtype, seed=width)
            optimizer = (dr.SGD(0.01, momentum=0.9, nesterov=True, l2=1e-3),
                         dr.Adam(0.01, weight_decay=1e-2))[width % 2]
            train(f"{dtype} {width} wide {optimizer.name}", net, X, y, optimizer, epochs=2,
                  sample_weight=rng(width, 2).uniform(0, 2, 71), batch_size=33,
                  ema=(None, 0.9, 0.5)[width % 3])
            found[f"{dtype} {width} wide one row"] = net.predict(X[:1].astype(dtype))

    def rules(dtype):
        for k, rule in enumerate((dr.Adam(0.01, amsgrad=True), dr.AdamW(0.01), dr.RMSprop(0.01),
                                  dr.RMSprop(0.01, centered=True, momentum=0.5),
                                  dr.Adagrad(0.1), dr.NAdam(0.01), dr.Lion(0.001),
                                  dr.IRpropPlus(0.01))):
            X, y = rng(1).normal(size=(23, 21)), rng(2).normal(size=(23, 3))
            net = dense((21, 37, 3), ("relu", "identity"), dtype=dtype)
            train(f"{dtype} rule {k}", net, X, y, rule, epochs=5, batch_size=23)

    def rates(dtype):
        for name, (schedule, _) in PURE.items():
            X, y = rng(1).normal(size=(23, 5)), rng(2).normal(size=(23, 3))
            net = dense((5, 9, 3), ("tanh", "identity"), dtype=dtype)
            net.fit(X, y, optimizer=dr.SGD(schedule), epochs=2, batch_size=8, seed=1)
            found[f"{dtype} rates {name}"] = net.theta

    def blocks(dtype):
        for width in (1, 3, 16, 17, 64, 257):
            X, y = rng(width).normal(size=(300, width)), rng(width, 1).normal(size=(300, 3))
            inside = [dr.LayerNorm(), dr.Dense(width + 1, "silu"), dr.Dense(width)]
            layers = [dr.Input(width), dr.Residual([dr.Residual(inside), dr.Dropout(0.2)])]
            layers += [dr.Dense(40), dr.BatchNorm(), dr.LayerNorm(), dr.Activation("tanh")]
            layers += [dr.Dense(3)]
            net = dr.Network(layers, dtype=dtype, seed=width)
            train(f"{dtype} {width} wide blocks sgd", net, X, y, dr.SGD(0.01, momentum=0.9),
                  epochs=2, batch_size=270)
            found[f"{dtype} {width} wide blocks one row"] = net.predict(X[:1].astype(dtype))
            norm = next(view for view in net.layers if view.running_mean is not None)
            found[f"{dtype} {width} wide running mean"] = norm.running_mean
            found[f"{dtype} {width} wide running variance"] = norm.running_var

    def estimators(dtype):
        from deltarule.sklearn import MLPRegressor

        X, y = rng(1).normal(size=(71, 5)).astype(dtype), rng(2).poisson(3.0, (71, 5))
        for solver in ("sgd", "adam"):
            model = MLPRegressor("poisson", (70, 70), solver=solver, max_iter=3, random_state=0,
                                 batch_size=30, n_iter_no_change=np.inf)
            with warnings.catch_warnings(action="ignore"):  # it has not converged
                model.fit(X, y)
            key = f"{dtype} estimator {solver}"
            found[key + " theta"], found[key + " loss"] = model.network_.theta, model.loss_curve_

    for dtype in ("float32", "float64"):
        pairs(dtype)
        widths(dtype)
        rules(dtype)
        rates(dtype)
        blocks(dtype)
        if importlib.util.find_spec("sklearn"):
            estimators(dtype)
    np.savez(sys.argv[2], **found)
    print(json.dumps(dr.build_info()["cpu_level"]))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """For each level that this processor has, what a process at that level computes."""
    folder, found = tmp_path_factory.mktemp("levels"), {}
    for level in LEVELS:
        path = folder / f"{level}.npz"
        env = {"DELTARULE_CPU_LEVEL": level}
        assert run_python(RESULTS, Path(__file__).parent, path, env=env) == level
        with np.load(path) as file:
            found[level] = dict(file)
    return found


@pytest.mark.skipif("v4" not in LEVELS, reason="this processor has no AVX-512 (level v4)")
def test_v3_and_v4_give_the_same_bits(results):
    one, other = results["v3"], results["v4"]
    assert set(one) == set(other)
    different = {
        key: float(np.abs(one[key] - other[key]).max())
        for key in one
        if one[key].tobytes() != other[key].tobytes()
    }
    assert not different


def test_v2_agrees_within_rounding(results):
    """SGD only: other rules divide by the size of the gradient, however small that is.

    The number of terms: at most 515 in a sum, in the sums of six steps one after the other.
    """
    one, other = results["v2"], results["v3"]
    assert set(one) == set(other)
    far = [
        key
        for key in one
        if not {"adam", "rule"} & set(key.split())
        and not close(one[key], other[key], 6 * tolerance(key.split()[0], terms=515))
    ]
    assert not far


def test_v2_has_no_fused_multiply_add(results):
    """So the comparison above is one of different instructions."""
    one, other = results["v2"], results["v3"]
    assert sum(one[key].tobytes() != other[key].tobytes() for key in one) > len(one) / 2


# ---- asking for a level -------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_can_be_asked_for(level):
    """And build_info tells which it is."""
    script = "import json, deltarule; print(json.dumps(deltarule.build_info()))"
    info = run_python(script, env={"DELTARULE_CPU_LEVEL": level})
    assert info["cpu_level"] == level
    assert info["cpu_levels"].split() == list(LEVELS)


def test_the_best_level_is_taken():
    script = "import json, deltarule; print(json.dumps(deltarule.build_info()['cpu_level']))"
    assert run_python(script, env={"DELTARULE_CPU_LEVEL": ""}) == LEVELS[0]
    assert dr.build_info()["cpu_level"] == (os.environ.get("DELTARULE_CPU_LEVEL") or LEVELS[0])


@pytest.mark.parametrize("unknown", ["v1", "v5", "V3", "avx2", "v3 ", "../_core_v3"])
def test_an_unknown_level_is_an_import_error(unknown):
    done = run_python("import deltarule", env={"DELTARULE_CPU_LEVEL": unknown}, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        f"ImportError: DELTARULE_CPU_LEVEL={unknown!r} asks for no CPU level; "
        f"it can run {', '.join(LEVELS)}"
    )


# ---- older processors ---------------------------------------------------------------------------

OLD = """
    import hashlib, json, os, sys
    refused = {}
    for level in sys.argv[1:]:  # a level above the processor: before anything is loaded
        os.environ["DELTARULE_CPU_LEVEL"] = level
        try:
            import deltarule
        except ImportError as error:
            refused[level] = str(error)
    os.environ.pop("DELTARULE_CPU_LEVEL")
    import numpy as np
    import deltarule as dr

    bits = hashlib.sha256()
    for dtype in ("float32", "float64"):
        X = np.linspace(-2, 2, 60).reshape(12, 5)
        layers = [dr.Input(5), dr.Standardize(), dr.Dense(7, "tanh"), dr.Dropout(0.2)]
        layers += [dr.Dense(6, "silu"), dr.Dense(4, "softmax")]
        net = dr.Network(layers, dtype=dtype, seed=0)
        net.fit(X, np.arange(12) % 4, epochs=2, batch_size=5)
        net.fit(X, np.arange(12) % 4, epochs=1, optimizer=dr.SGD(0.1, momentum=0.9))
        assert np.isfinite(net.theta).all()
        bits.update(net.theta.tobytes() + net.predict(X).tobytes())
        bits.update(net.predict(X[:1].astype(dtype)).tobytes())
    print(json.dumps([dr.build_info()["cpu_level"], dr.build_info()["cpu_levels"], refused,
                      bits.hexdigest()]))
"""
QEMU = shutil.which("qemu-x86_64")


@pytest.mark.skipif(QEMU is None, reason="no qemu-x86_64 to stand in for an older processor")
@pytest.mark.parametrize(("processor", "levels"), [("Nehalem", ("v2",)), ("Haswell", ("v3", "v2"))])
def test_an_older_processor(processor, levels):
    """Imports, trains and predicts, with the bits of that level here; more is an ImportError."""
    above = sorted({"v2", "v3", "v4"} - set(levels))
    env = {key: value for key, value in os.environ.items() if key != "DELTARULE_CPU_LEVEL"}
    script = textwrap.dedent(OLD)
    done = subprocess.run(
        [str(QEMU), "-cpu", processor, sys.executable, "-W", "ignore", "-c", script, *above],
        capture_output=True, text=True, timeout=300, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    level, available, refused, bits = json.loads(done.stdout.splitlines()[-1])
    assert level == levels[0]
    assert available.split() == list(levels)
    assert sorted(refused) == above
    for asked, message in refused.items():
        assert message == (
            f"DELTARULE_CPU_LEVEL={asked!r} asks for a CPU level that this processor does not "
            f"have; it can run {', '.join(levels)}"
        )
    here = run_python(OLD.replace('os.environ.pop("DELTARULE_CPU_LEVEL")', "pass"),
                      env={"DELTARULE_CPU_LEVEL": level})  # fmt: skip
    assert bits == here[3]


# ---- what is exported ---------------------------------------------------------------------------

SUFFIXES = tuple(importlib.machinery.EXTENSION_SUFFIXES)
MODULES = sorted(p for p in Path(_cpu.__file__).parent.iterdir() if p.name.endswith(SUFFIXES))


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm (binutils) is not installed")
@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name.split(".")[0])
def test_a_module_exports_its_init_function_only(module):
    done = subprocess.run(
        ["nm", "-D", "--defined-only", module], capture_output=True, text=True, check=True
    )
    names = [line.split()[-1] for line in done.stdout.splitlines()]
    assert names == [f"PyInit_{module.name.split('.')[0]}"]


def test_there_is_one_core_for_every_level():
    names = {path.name.split(".")[0] for path in MODULES}
    assert names == {"_cpu", "_core_v2", "_core_v3", "_core_v4"}
