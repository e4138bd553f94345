"""Laws of every provenance: semiring axioms, fixpoints, gradients, batches, precision, one result in every process.

NumPy computes those without gradients at once, in every run; JAX computes all of them by night, and by day those of one
family of each kind.
"""

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scallax import Provenance, Reasoner
from scallax.kernels.schedule import COMPLEMENT, NODES
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.table import resolve_provenance
from scallax.provenance.traits import Gradient, provenance_names
from tests.compilations import counted_compilations
from tests.nightly import with_rest_at_night


@dataclass(frozen=True)
class LogSum(Provenance):
    """Sum and product in logarithms, by a user."""

    def zero(self):
        return -math.inf

    def one(self):
        return 0.0

    def tag(self, probability):
        # A logarithm whose derivative is finite at 0.
        safe = jnp.where(probability > 0, probability, 1)
        return jnp.where(probability > 0, jnp.log(safe), -math.inf)

    def add(self, a, b):
        high, low = jnp.maximum(a, b), jnp.minimum(a, b)
        exists = high > -math.inf
        gap = jnp.where(exists, low - jnp.where(exists, high, 0), 0)
        return jnp.where(exists, high, 0) + jnp.where(exists, jnp.log1p(jnp.exp(gap)), -math.inf)

    def mult(self, a, b):
        return a + b

    def negate(self, tag):
        return jnp.log1p(-jnp.minimum(jnp.exp(tag), 1 - 1e-6))

    def recover(self, tag):
        return jnp.exp(tag)


@dataclass(frozen=True)
class Family:
    """A provenance in the laws, with the plain algebra `zero, one, add, mult` that it should be (None: by worlds)."""

    name: str | LogSum
    algebra: tuple[float, float, Callable, Callable] | None
    distributes: bool = True
    negates_twice: bool = True
    # Costs and counts are not those of a probability.
    scale: float = 1.0

    @property
    def options(self) -> dict:
        return {"provenance": self.name, "k": 3}

    @property
    def resolved(self) -> AbstractProvenance:
        custom = self.name if isinstance(self.name, LogSum) else None
        provenance = resolve_provenance("custom" if custom else str(self.name), k=3, custom=custom)
        assert isinstance(provenance, AbstractProvenance)
        return provenance


def noisy_or(a, b):
    return 1 - (1 - a) * (1 - b)


# One of each class; other names differ in how they read written tags.
FAMILIES = [
    Family("bool", (0, 1, max, min)),
    Family("natural", (0, 1, lambda a, b: a + b, lambda a, b: a * b), negates_twice=False, scale=10),
    Family("tropical", (2**31 - 1, 0, min, lambda a, b: min(a + b, 2**31 - 1)), negates_twice=False, scale=10),
    Family("realtropical", (math.inf, 0, min, lambda a, b: a + b), negates_twice=False),
    Family("diffminmaxprob", (0, 1, max, min)),
    Family("diffaddmultprob", (0, 1, lambda a, b: min(a + b, 1), lambda a, b: a * b)),
    Family("diffmaxmultprob", (0, 1, max, lambda a, b: a * b)),
    Family("diffnandmultprob", (0, 1, noisy_or, lambda a, b: a * b), distributes=False),
    Family("diffnandminprob", (0, 1, noisy_or, min), distributes=False),
    Family("difftopkproofs", None),
    Family("difftopbottomkclauses", None),
    Family("diffsamplekproofs", None),
    Family(LogSum(), (0, 1, lambda a, b: a + b, lambda a, b: a * b)),
]
IDS = [f.name if isinstance(f.name, str) else "custom" for f in FAMILIES]
DIFFERENTIABLE = [family for family in FAMILIES if not family.resolved.traits.is_discrete]
STEPWISE = [family for family in FAMILIES if family.resolved.traits.gradient is Gradient.STEP]
every_family = pytest.mark.parametrize("family", FAMILIES, ids=IDS)
# NumPy computes no algebra of a user.
AT_ONCE = [(family, "numpy") for family in FAMILIES if not isinstance(family.name, LogSum)]
COMPILED = [(family, "jax") for family in FAMILIES]
# Numbers, proofs and a user's own stand for the others.
BY_DAY = AT_ONCE + [
    case for case in COMPILED if case[0].resolved.name in ("diffaddmultprob", "difftopkproofs", "custom")
]
every_family_by_both = pytest.mark.parametrize(
    ("family", "executor"),
    with_rest_at_night(AT_ONCE + COMPILED, BY_DAY),
    ids=[f"{IDS[FAMILIES.index(family)]}-{executor}" for family, executor in AT_ONCE + COMPILED],
)

EDGES = [(0, 1), (1, 2), (2, 0), (0, 2)]
PATH = "rel path(x, y) = e(x, y)\nrel path(x, z) = path(x, y), e(y, z)"
# The same program in another order.
PATH_REVERSED = "rel path(x, z) = e(y, z), path(x, y)\nrel path(x, y) = e(x, y)"
DAG = [(0, 1), (1, 2), (1, 3), (0, 2)]
PATHS = [(0, 1), (0, 2), (1, 2), (2, 2)]
NUM_SAMPLES = 1 + 2 * len(EDGES)


def test_every_class_of_provenances_is_in_the_laws():
    # The laws of `exact` are in test_exact.py, those of Python objects in test_objects.py.
    others = {"Exact", "ObjectProvenance"}
    classes = {type(family.resolved).__name__ for family in FAMILIES} | others
    names = [name for name in provenance_names() if name != "custom"]
    assert {type(resolve_provenance(name)).__name__ for name in names} == classes - {"CustomProvenance"}


def inputs(family: Family, scale: float = 0.35) -> np.ndarray:
    """A sample, then for each entry one with it larger and one with it smaller; other samples of what is discrete."""
    p = np.array([0.9, 0.7, 0.3, 0.6]) * scale
    if family.name == "bool":
        # All true, then all pairs of others.
        places = np.arange(NUM_SAMPLES)[:, None]
        return np.where((places > 0) & ((places - np.arange(len(p))) % len(p) < 2), 0.0, 1.0)
    if family.scale > 1:
        return np.stack([np.roll(np.ceil(p * family.scale), place) for place in range(NUM_SAMPLES)])
    step = 1e-6 * np.eye(len(p))
    return np.concatenate([p[None], p + step, p - step])


def path_reasoner(family: Family, program: str = PATH, edges=EDGES, executor: str = "jax") -> Reasoner:
    options = {**family.options, "executor": executor}
    return Reasoner(program, input_mappings={"e": edges}, output_mapping=("path", PATHS), **options)


def by_rounds(algebra, edges, tags) -> list[float]:
    """The least fixpoint of the program over dictionaries, by rounds."""
    zero, _, add, mult = algebra
    known: dict[tuple[int, int], float] = {}
    for _ in range(3000):
        found = dict(zip(edges, tags, strict=True))
        for (x, y), tag in known.items():
            for (z, w), edge in zip(edges, tags, strict=True):
                if y == z:
                    found[x, w] = add(found.get((x, w), zero), mult(tag, edge))
        if all(abs(tag - known.get(key, zero)) < 1e-15 for key, tag in found.items() if tag != known.get(key)):
            break
        known = found
    return [float(known[pair]) if pair in known else float(zero) for pair in PATHS]


def by_worlds(edges, tags) -> list[float]:
    total = np.zeros(len(PATHS))
    for world in itertools.product([False, True], repeat=len(edges)):
        held = [edge for edge, holds in zip(edges, world, strict=True) if holds]
        reached = by_rounds((0, 1, max, min), held, [1] * len(held))
        total += np.array(reached) * np.prod(np.where(world, tags, 1 - np.array(tags)))
    return total.tolist()


def literal_table(xp: Any, p: np.ndarray) -> LiteralTable:
    """The literals of some probabilities, as arrays of `xp`."""
    size = p.shape[0]
    columns = np.pad(np.arange(size, dtype=np.int32), (0, 32 - size), constant_values=-1)
    return LiteralTable(
        probabilities=xp.asarray(p),
        present=xp.ones(p.shape, bool),
        exclusions=xp.zeros((size, 0), xp.uint32),
        group_end=xp.ones(size, bool),
        # A column of each polarity for every literal.
        columns=xp.asarray(np.tile(columns, 2)),
        column_of=xp.asarray(np.arange(size, dtype=np.int32)[None] + np.array([[0], [32]], np.int32)),
        negated=xp.zeros(0, xp.int32),
        words=(1, 1, 1, size, size),
        certain=xp.zeros(size, bool),
        seed=xp.asarray(0, xp.uint32),
        length=0,
        groups=np.zeros(0, np.int32),
    )


@every_family_by_both
def test_tags_are_a_semiring(family: Family, executor: str):
    provenance = family.resolved
    xp, compiled = (np, lambda function: function) if executor == "numpy" else (jnp, jax.jit)
    numbers = np.array([[0.2, 0.4], [0.1, 0.3], [0.3, 0.15]]) * family.scale
    literals = literal_table(xp, (np.ceil(numbers) if family.scale > 1 else numbers).astype(np.float32))
    leaves = provenance.widen(provenance.leaf_tags(literals), literals)
    zero, one, a, b, c = (jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], leaves) for i in range(5))
    is_cyclic = xp.asarray(False)

    @compiled
    def join(total, left, right):
        tags = provenance.step(NODES, total, [left], [right], is_cyclic, literals)
        return tags, provenance.recover(tags, literals)

    def add(x, y):
        return join(x, y, one)[0]

    def mult(x, y):
        return join(zero, x, y)[0]

    def same(x, y):
        # Rounding, and for proofs the count of a few terms.
        np.testing.assert_allclose(join(zero, x, one)[1], join(zero, y, one)[1], rtol=2e-6, atol=1e-6)

    same(add(a, b), add(b, a))
    same(add(add(a, b), c), add(a, add(b, c)))
    same(add(a, zero), a)
    same(mult(a, b), mult(b, a))
    same(mult(mult(a, b), c), mult(a, mult(b, c)))
    same(mult(a, one), a)
    same(mult(a, zero), zero)
    if family.distributes:
        same(mult(a, add(b, c)), add(mult(a, b), mult(a, c)))
    negate = compiled(lambda tag: provenance.step(COMPLEMENT, zero, [tag], [], is_cyclic, literals))
    same(negate(zero), one)
    if family.negates_twice:
        same(negate(negate(a)), a)
    else:
        same(negate(a), zero)


@every_family
def test_a_cycle_is_its_least_fixpoint_in_both_precisions_with_its_gradient(family: Family):
    reasoner = path_reasoner(family)
    p = inputs(family)
    single = reasoner(e=p.astype(np.float32))
    if family.name == "natural":
        # A tuple that goes round a cycle has no number of derivations.
        assert single[0].tolist() == [2**31 - 1] * len(PATHS)
        return
    expected = by_worlds(EDGES, p[0]) if family.algebra is None else by_rounds(family.algebra, EDGES, p[0])
    if reasoner.evaluator.provenance.traits.is_discrete:
        assert single[0].tolist() == expected
        return
    weights = np.array([0.3, 1.3, 2.3, 3.3])
    with jax.enable_x64(True):
        values, pull_back = jax.vjp(lambda p: reasoner(e=p), jnp.asarray(p))
        (gradient,) = pull_back(jnp.broadcast_to(weights, values.shape))
    # A cycle ends when a round changes less than 1e-6 in float32.
    np.testing.assert_allclose(single, values, rtol=1e-5, atol=5e-6)
    at_once = path_reasoner(family, executor="numpy")
    np.testing.assert_allclose(at_once(e=p.astype(np.float32)), single, rtol=1e-6, atol=1e-6)
    with jax.enable_x64(True):
        np.testing.assert_allclose(at_once(e=p), values, rtol=1e-12)
    np.testing.assert_allclose(values[0], expected, rtol=1e-9)
    totals = np.asarray(values) @ weights
    n = len(EDGES)
    differences = (totals[1 : n + 1] - totals[n + 1 :]) / 2e-6
    np.testing.assert_allclose(gradient[0], differences, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:no rule can derive")
@every_family_by_both
def test_more_rounds_only_add_until_the_fixpoint_is_reached(family: Family, executor: str):
    """Costs fall, all else grows; more rounds than a path has edges find nothing."""
    edges = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]
    if family.name == "natural":
        # On a cycle every count is the largest number.
        edges = edges[:3] + edges[4:]
    tags = np.tile(
        np.append(inputs(family)[0], inputs(family)[0, :1])[: len(edges)].astype(np.float32), (NUM_SAMPLES, 1)
    )
    pairs = list(itertools.product(range(4), repeat=2))

    def values(rounds: int | None) -> np.ndarray:
        options = {**family.options, "iter_limit": rounds, "executor": executor}
        reasoner = Reasoner(PATH, input_mappings={"e": edges}, output_mapping=("path", pairs), **options)
        return np.asarray(reasoner(e=tags)[0], np.float64)

    steps = [values(rounds) for rounds in (0, 1, 4)]
    sign = -1 if str(family.name).endswith("tropical") else 1
    for before, after in itertools.pairwise(steps):
        # Rounding of sums in another order, and what a cycle's end leaves out.
        assert (sign * after >= sign * before - 2e-6).all()
    assert not np.array_equal(steps[0], steps[-1])
    np.testing.assert_array_equal(steps[-1], values(None))


@pytest.mark.filterwarnings("ignore:no rule can derive")
@every_family_by_both
def test_derivations_of_an_acyclic_program_are_counted_as_they_are(family: Family, executor: str):
    reasoner = path_reasoner(family, edges=DAG, executor=executor)
    tags = inputs(family)[0]
    actual = reasoner(e=np.tile(tags.astype(np.float32), (NUM_SAMPLES, 1)))[0]
    expected = by_worlds(DAG, tags) if family.algebra is None else by_rounds(family.algebra, DAG, tags)
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:no rule can derive")
@every_family_by_both
def test_order_and_batch_and_transformations_change_nothing(family: Family, executor: str):
    # Endless counts take 2,000 rounds.
    edges = DAG if (family.name, executor) == ("natural", "numpy") else EDGES
    reasoner = path_reasoner(family, edges=edges, executor=executor)
    p = inputs(family).astype(np.float32)
    expected = reasoner(e=p)
    if executor == "jax":
        mapped = jax.jit(jax.vmap(lambda q: reasoner(e=q)))(p[:8].reshape(2, 4, -1))
        np.testing.assert_allclose(mapped.reshape(8, -1), expected[:8], rtol=1e-6, atol=1e-7)
    looped = np.concatenate([reasoner(e=sample[None]) for sample in p[:3]])
    np.testing.assert_allclose(looped, expected[:3], rtol=1e-6, atol=1e-7)
    if not family.resolved.traits.draws:
        again = path_reasoner(family, PATH_REVERSED, edges[::-1], executor)(e=p[:, ::-1])
        np.testing.assert_allclose(again, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize(
    "family", [f for f in FAMILIES if not f.resolved.traits.is_discrete], ids=lambda f: str(f.name)
)
def test_values_and_gradients_are_finite_at_0_and_1(family: Family, p: float):
    if isinstance(family.name, LogSum) and p == 1:
        pytest.skip("sums of the cycle have no fixpoint")
    reasoner = path_reasoner(family)
    values, gradient = jax.value_and_grad(lambda q: reasoner(e=q)[0].sum())(jnp.full((NUM_SAMPLES, 4), p, jnp.float32))
    assert np.isfinite(values)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("executor", ["numpy", pytest.param("jax", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", [name for name in provenance_names() if name != "custom"])
def test_every_name_conjoins_and_disjoins(name: str, executor: str):
    program = "rel both() = a(0), a(1)\nrel some() = a(0) or a(1)"
    outputs = {"both": (), "some": ()}
    options: dict[str, Any] = {"provenance": name, "executor": executor}
    reasoner = Reasoner(program, **options, input_mappings={"a": [0, 1]}, output_mappings=outputs)
    integer = name in ("natural", "tropical")
    p = np.array([[3, 2]], np.int32) if integer else np.array([[0.5, 0.25]], np.float32)
    results = reasoner(a=p)
    both, some = (result[0] if isinstance(result, tuple) else result for result in results.values())
    expected = {
        "unit": (1, 1),
        "bool": (1, 1),
        "proofs": (1, 1),
        "natural": (6, 5),
        "tropical": (5, 2),
        "realtropical": (0.75, 0.25),
        "realtropicalproofs": (0.75, 0.25),
        "minmaxprob": (0.25, 0.5),
        "diffminmaxprob": (0.25, 0.5),
        "addmultprob": (0.125, 0.75),
        "diffaddmultprob": (0.125, 0.75),
        "diffaddmultprob2": (0.125, 0.75),
        "diffmaxmultprob": (0.125, 0.5),
        "diffmaxmultprob2": (0.125, 0.5),
        "diffnandminprob": (0.25, 0.625),
    }.get(name, (0.125, 0.625))
    assert (float(both[0]), float(some[0])) == pytest.approx(expected)


def test_equal_shapes_share_a_compilation_and_keys_too():
    draws = Family("diffsamplekproofs", None)
    p = inputs(draws).astype(np.float32)
    sampler = path_reasoner(draws)
    sampler(e=p, key=jax.random.key(0))
    reasoner = path_reasoner(Family(LogSum(), None))
    reasoner(e=p)
    with counted_compilations() as compiled:
        sampler(e=p, key=jax.random.key(1))
        path_reasoner(Family(LogSum(), None), "rel path(x, y) = e(x, y)\nrel path(x, z) = path(x, w), e(w, z)")(e=p)
    assert not compiled


IN_PROCESS = """
import sys
import numpy as np
from scallax import Reasoner
for name in ("proofs", "realtropicalproofs", "diffsamplekproofs"):
    reasoner = Reasoner(
        "rel path(x, y) = e(x, y)\\nrel path(x, z) = path(x, y), e(y, z)",
        provenance=name, k=2, executor=sys.argv[1], input_mappings={"e": [(0, 1), (1, 2), (2, 0), (0, 2)]},
        output_mapping=("path", [(0, 1), (0, 2), (1, 2), (2, 2)]),
    )
    p = np.full((1, 4), 0.5, np.float32)
    proofs = [[str(literal) for literal in proof] for proofs in reasoner.kept_proofs(e=p)[0] for proof in proofs]
    print(name, np.asarray(reasoner(e=p)).tolist(), proofs)
"""


@pytest.mark.parametrize("executor", ["numpy", pytest.param("jax", marks=pytest.mark.nightly)])
def test_every_process_gives_one_result(executor: str):
    def run(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run(
            [sys.executable, "-c", IN_PROCESS, executor], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("1") == run("2")
