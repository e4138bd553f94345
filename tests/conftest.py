"""Strict settings for every test, and what is printed after them."""

import builtins
import gc
import importlib.metadata
import os
import random
from collections.abc import Iterator
from typing import cast

# Most of a test's time goes into compiling. Programs of the tests are small: what is not optimised answers as soon, and
# the older emitters compile three times as fast. `make nightly` compiles as users do. XLA reads this
# once, when it starts, and refuses flags that it does not know.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    + (" --xla_cpu_use_fusion_emitters=false" if importlib.metadata.version("jaxlib").startswith("0.10.") else ""),
)

# Compilations are counted by some tests: none are found in a folder of the user's.
os.environ.pop("SCALLAX_CACHE", None)

import hypothesis
import jax
import jaxtyping
import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

# JAX keeps millions of objects of its traces and compilations, which seldom become garbage.
gc.set_threshold(100_000, 10, 3)

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Compilations are counted by some tests, and timed by others.
jax.config.update("jax_enable_compilation_cache", False)

# No test depends on how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Shapes and dtypes of annotated functions are checked at every call (at every trace, for compiled ones). Left out are
# modules whose functions the NumPy executor calls at each step: checking them made some tests a quarter slower. Modules
# import the names of their annotations for type checkers alone: here these are found among the built-in names, and
# arrays are those of both executors.
_array_types = {name: getattr(jaxtyping, name) for name in ("Bool", "Float", "Int", "PyTree", "Shaped", "UInt32")}
for _name, _type in {**_array_types, "Array": jax.Array | np.ndarray | np.generic}.items():
    setattr(builtins, _name, _type)
install_import_hook(
    [
        "scallax.evaluation.differentiation",
        "scallax.evaluation.jax_batch",
        "scallax.kernels.schedule",
        "scallax.kernels.selection_values",
        "scallax.kernels.threefry",
        "scallax.kernels.tiles",
        "scallax.provenance.proofs.clause_weights",
        "scallax.provenance.proofs.clauses",
        "scallax.provenance.proofs.counting",
        "scallax.provenance.proofs.counting_gradient",
        "scallax.provenance.proofs.layers",
        "scallax.provenance.proofs.sampled",
    ],
    "beartype.beartype",
)


@pytest.fixture(autouse=True, scope="session")
def _bounds() -> None:
    # Behind the import hook.
    from tests.compilations import BOUNDS, limit_compiled

    limit_compiled(**BOUNDS)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _float32() -> Iterator[None]:
    """A test that leaves 64-bit types on would change the tests after it."""
    assert not jax.config.read("jax_enable_x64")
    yield
    assert not jax.config.read("jax_enable_x64")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available() and jax.default_backend() == "gpu":
        return
    reason = "needs a CUDA device in both torch and JAX"
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter) -> None:
    """The conformance cases by area, and the skipped tests of devices that are not here."""
    rows = [
        cast("tuple[str, dict[str, int]]", value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name == "conformance"
    ]
    if not rows:
        return
    terminalreporter.section("conformance")
    columns = ("pass", "fail", "wait", "differ", "night")
    terminalreporter.write_line(f"{'area':<28}" + "".join(f"{name:>8}" for name in columns))
    for area, outcomes in sorted(rows):
        terminalreporter.write_line(f"{area:<28}" + "".join(f"{outcomes.get(name, 0):>8}" for name in columns))
    totals = [sum(outcomes.get(name, 0) for _, outcomes in rows) for name in columns]
    terminalreporter.write_line(f"{'total':<28}" + "".join(f"{total:>8}" for total in totals))
