"""What importing costs and brings along."""

import importlib.metadata
import re
import typing

import deltarule as dr
from helpers import run_python

MEASURE = """
    import json, time
    import numpy
    start = time.thread_time()  # NumPy's own threads still spin meanwhile: not part of our import
    import deltarule
    print(json.dumps(time.thread_time() - start))
"""


def test_import_adds_less_than_50_ms_to_numpy():
    """The best of five: an import takes what it takes at least."""
    run_python(MEASURE, env={"PYTHONDONTWRITEBYTECODE": ""})  # writes the bytecode
    assert min(run_python(MEASURE) for _ in range(5)) < 0.050


def test_import_brings_in_nothing_heavy():
    modules = run_python("import deltarule, json, sys; print(json.dumps(sorted(sys.modules)))")
    top = {name.split(".")[0] for name in modules}
    assert not top & {
        "sklearn",
        "scipy",
        "pandas",
        "polars",
        "matplotlib",
        "torch",
        "jax",
        "onnx",
        "pybind11",
        "eigency",
        "IPython",
        "ipywidgets",
    }


def test_the_whole_use_brings_in_nothing_heavy():
    modules = run_python(
        """
        import json, sys
        import numpy as np
        import deltarule as dr
        X = np.ones((9, 2))
        net = dr.Network([2, 1], seed=0)
        net.fit(X, X[:, 0], validation_data=(X, X[:, 0]), metrics=["rmse", "r2"], epochs=2)
        net.evaluate(X, X[:, 0], metrics=["mae"])
        print(json.dumps(sorted(sys.modules)))
        """
    )
    top = {name.split(".")[0] for name in modules}
    assert not top & {"sklearn", "scipy", "pandas", "matplotlib", "torch"}


def test_run_time_requirements():
    required = importlib.metadata.requires("deltarule") or []
    names = {re.match(r"[\w-]+", line).group() for line in required if "extra ==" not in line}
    assert names == {"numpy", "safetensors", "tqdm"}


def test_public_names():
    assert sorted(dr.__all__) == sorted(set(dr.__all__))
    assert all(hasattr(dr, name) for name in dr.__all__)
    for module in ("losses", "optimizers", "schedules", "initializers", "metrics", "callbacks"):
        public = getattr(dr, module)
        assert public.__doc__
        assert public.__all__
        for name in public.__all__:
            value = getattr(public, name)
            assert value.__doc__ or typing.get_origin(value), name  # an alias of a type has no doc


def test_build_info():
    info = dr.build_info()
    assert info["version"] == dr.__version__ == importlib.metadata.version("deltarule")
    text = " ".join(f"{key}={value}" for key, value in info.items()).lower()
    for word in ("cpu", "compiler", "eigen", "thread"):
        assert word in text


def test_package_is_typed_and_licensed():
    files = {
        str(file).replace("\\", "/").split("/")[-1]
        for file in importlib.metadata.files("deltarule") or []
    }
    if "py.typed" not in files:  # an editable installation lists no package files
        from pathlib import Path

        assert (Path(dr.__file__).parent / "py.typed").exists()
    assert importlib.metadata.metadata("deltarule")["License-Expression"] == "BSD-3-Clause"
