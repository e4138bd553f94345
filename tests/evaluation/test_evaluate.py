"""Evaluation of ground programs against plain recursion and possible worlds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scallax.circuits.layout import lay_out
from scallax.evaluation import differentiation as evaluation
from scallax.evaluation.differentiation import backward, forward
from scallax.grounding.derivations import ONE, Derivations, Literals, literal_operand
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.table import resolve_provenance
from tests.nightly import with_rest_at_night

evaluate = jax.jit(evaluation.evaluate, static_argnums=0)

NAMES = ["bool", "minmaxprob", "addmultprob", "topkproofs"]


def random_derivations(rng, num_nodes, num_literals, num_derivations, negation=True):
    """An acyclic program: operands of node n are literals, ONE, and nodes below n."""
    head = np.sort(rng.integers(0, num_nodes, num_derivations))

    def operand():
        node = rng.integers(0, np.maximum(head, 1))
        literal = literal_operand(rng.integers(0, num_literals, len(head)))
        kind = rng.random(len(head))
        return np.where((kind < 0.45) & (head > 0), node, np.where(kind < 0.9, literal, ONE))

    left, right = operand(), operand()
    negated = [(rng.random(len(head)) < (0.2 if negation else 0)) & (o != ONE) for o in (left, right)]
    return Derivations(num_nodes, head, left, right, *negated)


def independent(num_literals):
    return Literals(
        np.full(num_literals, np.nan),
        np.arange(num_literals),
        np.full(num_literals, -1),
        np.full(num_literals, -1),
    )


def compile_program(provenance, derivations, literals, outputs):
    return lay_out(
        derivations,
        literals,
        outputs,
        provenance.traits,
        num_inputs=len(literals),
        logit_groups=np.zeros(0, np.int64),
    )


def by_recursion(derivations, outputs, leaf, zero, one, conjoin, disjoin, negate):
    """Tags of outputs by plain recursion over an acyclic program."""
    rows = [[] for _ in range(derivations.num_nodes)]
    for row in range(len(derivations)):
        rows[derivations.head[row]].append(row)
    known = {}

    def tag(operand, negated):
        if operand == ONE:
            value = one
        elif operand < 0:
            value = leaf(-3 - operand)
        else:
            if operand not in known:
                total = zero
                for row in rows[operand]:
                    left = tag(derivations.left[row], derivations.left_negated[row])
                    right = tag(derivations.right[row], derivations.right_negated[row])
                    total = disjoin(total, conjoin(left, right))
                known[operand] = total
            value = known[operand]
        return negate(value) if negated else value

    return [tag(int(o), False) for o in outputs]


ALGEBRAS = {
    "bool": (False, True, jnp.logical_and, jnp.logical_or, jnp.logical_not),
    "minmaxprob": (0.0, 1.0, jnp.minimum, jnp.maximum, lambda a: 1 - a),
    "addmultprob": (0.0, 1.0, lambda a, b: a * b, lambda a, b: jnp.minimum(a + b, 1), lambda a: 1 - a),
}


@pytest.mark.parametrize("name", ALGEBRAS)
@pytest.mark.parametrize(("nodes", "derivations", "batch"), [(1, 1, 1), (5, 12, 3), (60, 400, 4), (200, 2500, 2)])
def test_folding_tiles_equals_recursion(name, nodes, derivations, batch):
    rng = np.random.default_rng(nodes)
    literals = independent(12)
    given = random_derivations(rng, nodes, 12, derivations)
    outputs = np.concatenate([rng.integers(0, nodes, 20), literal_operand(rng.integers(0, 12, 3)), [ONE]])
    p = rng.random((12, batch)).astype(np.float32)
    if name == "bool":
        p = np.round(p).astype(np.float32)
    provenance = resolve_provenance(name)
    actual = evaluate(provenance, compile_program(provenance, given, literals, outputs), jnp.asarray(p))
    values = jnp.asarray(p != 0 if name == "bool" else p)
    expected = by_recursion(given, outputs, lambda literal: values[literal], *ALGEBRAS[name])
    for row, value in enumerate(expected):
        np.testing.assert_allclose(actual[row], np.broadcast_to(value, batch), atol=1e-6)


@pytest.mark.parametrize(("nodes", "derivations"), [(3, 5), (25, 80), (2, 120)])
def test_the_gradient_of_sum_product_is_that_of_the_recursion(nodes, derivations):
    rng = np.random.default_rng(nodes)
    literals = independent(12)
    given = random_derivations(rng, nodes, 12, derivations)
    outputs = rng.integers(0, nodes, 6)
    # Small values: below the clamp, whose derivative is the identity.
    p = jnp.asarray(rng.random((12, 3)) * 0.01, jnp.float32)
    provenance = resolve_provenance("diffaddmultprob")
    program = compile_program(provenance, given, literals, outputs)
    weights = jnp.asarray(rng.random((8, 3)), jnp.float32)

    def total(p):
        return (evaluate(provenance, program, p) * weights).sum()

    def straight(a, b):
        return a + b + jax.lax.stop_gradient(jnp.minimum(a + b, 1) - (a + b))

    def expected(p):
        algebra = (jnp.zeros(3), jnp.ones(3), lambda a, b: a * b, straight, lambda a: 1 - a)
        tags = by_recursion(given, outputs, lambda literal: p[literal], *algebra)
        return sum((tag * weights[row]).sum() for row, tag in enumerate(tags))

    # Sums of up to thousands of terms in another order: float32 rounding.
    np.testing.assert_allclose(jax.jit(jax.grad(total))(p), jax.jit(jax.grad(expected))(p), rtol=1e-4, atol=1e-4)


def worlds(num_literals):
    return [np.array(world) for world in itertools.product([False, True], repeat=num_literals)]


@pytest.mark.parametrize("seed", with_rest_at_night(range(6), [1, 2]))
def test_proofs_that_are_not_truncated_are_exact(seed):
    rng = np.random.default_rng(seed)
    literals = independent(6)
    negation = seed % 2 == 1
    given = random_derivations(rng, 8, 6, 10 if negation else 16, negation)
    outputs = np.arange(8)
    p = rng.random((6, 2)).astype(np.float32)
    provenance = resolve_provenance("difftopkproofs", k=10)
    program = compile_program(provenance, given, literals, outputs)
    actual = np.asarray(evaluate(provenance, program, jnp.asarray(p)))
    expected = np.zeros((8, 2))
    for world in worlds(6):
        holds = by_recursion(
            given,
            outputs,
            lambda literal, w=world: bool(w[literal]),
            False,
            True,
            lambda a, b: a & b,
            lambda a, b: a | b,
            lambda a: not a,
        )
        expected += np.array(holds)[:, None] * np.prod(np.where(world[:, None], p, 1 - p), 0)
    # Ten proofs are enough for programs this small; the count of float32 terms of both signs loses a few digits.
    np.testing.assert_allclose(actual, expected, atol=2e-5)
    gradient = jax.jit(jax.grad(lambda q: evaluate(provenance, program, q)[:8].sum()))(jnp.asarray(p))
    assert np.isfinite(gradient).all()


def cycle(length):
    """`node 0 <- literal 0; node i + 1 <- node i, literal i + 1; node 0 <- node n - 1, literal n`."""
    nodes = np.arange(length)
    head = np.concatenate([[0], nodes[1:], [0]])
    left = np.concatenate([[literal_operand(0)], nodes[:-1], [length - 1]])
    right = np.concatenate([[ONE], literal_operand(nodes[1:]), [literal_operand(length)]])
    no = np.zeros(len(head), bool)
    return Derivations(length, head, left, right, no, no)


@pytest.mark.parametrize("length", [1, 2, 5, 40])
def test_a_cycle_of_sum_product_reaches_its_fixpoint_with_the_implicit_gradient(length):
    literals = independent(length + 1)
    provenance = resolve_provenance("diffaddmultprob")
    program = compile_program(provenance, cycle(length), literals, np.array([length - 1]))
    # Around the cycle the product is 1/2, and every tag is below the clamp.
    p = jnp.full((length + 1, 2), 0.5 ** (1 / length), jnp.float32).at[0].set(jnp.array([0.3, 0.2]))

    def closed(p):
        return p[0] / (1 - jnp.prod(p[1:], 0)) * jnp.prod(p[1:length], 0)

    # The loop stops when a round changes less than 1e-6, and the rest is at most a few times that.
    np.testing.assert_allclose(evaluate(provenance, program, p)[0], closed(p), rtol=3e-5)
    gradient = jax.jit(jax.grad(lambda q: evaluate(provenance, program, q)[0].sum()))(p)
    np.testing.assert_allclose(gradient, jax.grad(lambda q: closed(q).sum())(p), rtol=3e-4)


@pytest.mark.parametrize("nodes", [3, 12, 40])
def test_a_dense_cycle_of_sum_product_solves_its_linear_equations(nodes):
    """`t = a + w t`: every node is read by all nodes of its own tile, in more derivations than are folded at once."""
    rng = np.random.default_rng(nodes)
    i, j = np.divmod(np.arange(nodes * nodes), nodes)
    head = np.concatenate([np.arange(nodes), i])
    left = np.concatenate([literal_operand(np.arange(nodes)), j])
    right = np.concatenate([np.full(nodes, ONE), literal_operand(nodes + np.arange(nodes * nodes))])
    no = np.zeros(len(head), bool)
    provenance = resolve_provenance("diffaddmultprob")
    num_literals = nodes + nodes * nodes
    derivations = Derivations(nodes, head, left, right, no, no)
    program = compile_program(provenance, derivations, independent(num_literals), np.arange(nodes))
    # Every sum of weights is below 1/2, so that the equations converge, and to values below the clamp.
    p = jnp.asarray(rng.random((num_literals, 2)) / (2 * nodes), jnp.float32)
    weights = jnp.asarray(rng.random((nodes, 2)), jnp.float32)

    def closed(p):
        system = jnp.eye(nodes)[:, :, None] - p[nodes:].reshape(nodes, nodes, -1)
        return jnp.linalg.solve(jnp.moveaxis(system, -1, 0), p[:nodes].T[..., None])[..., 0].T

    actual = evaluate(provenance, program, p)[:nodes]
    np.testing.assert_allclose(actual, closed(p), atol=1e-5)
    gradient = jax.jit(jax.grad(lambda q: (evaluate(provenance, program, q)[:nodes] * weights).sum()))(p)
    np.testing.assert_allclose(gradient, jax.grad(lambda q: (closed(q) * weights).sum())(p), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["minmaxprob", "topkproofs"])
def test_a_cycle_of_an_idempotent_algebra_ends(name):
    provenance = resolve_provenance(name, k=3)
    program = compile_program(provenance, cycle(5), independent(6), np.arange(5))
    p = jnp.asarray(np.random.default_rng(0).random((6, 3)), jnp.float32)
    actual = np.asarray(evaluate(provenance, program, p))
    join = np.minimum.accumulate if name == "minmaxprob" else np.cumprod
    # Going round the cycle adds nothing: the proof without it is contained in the longer one.
    np.testing.assert_allclose(actual[:5], join(np.asarray(p)[:5], axis=0), rtol=1e-6)


@pytest.mark.parametrize("name", ["minmaxprob", "addmultprob"])
@pytest.mark.parametrize("length", [1, 5])
def test_what_is_not_a_number_goes_round_a_cycle_to_the_output(name, length):
    program = compile_program(resolve_provenance(name), cycle(length), independent(length + 1), np.array([length - 1]))
    for literal in range(length + 1):
        p = jnp.full((length + 1, 1), 0.25, jnp.float32).at[literal].set(jnp.nan)
        assert np.isnan(evaluate(resolve_provenance(name), program, p)[0])


@pytest.mark.parametrize(
    "name", with_rest_at_night(["diffminmaxprob", "diffaddmultprob", "difftopkproofs"], ["diffminmaxprob"])
)
def test_vmap_equals_a_loop(name):
    rng = np.random.default_rng(3)
    provenance = resolve_provenance(name)
    program = compile_program(provenance, random_derivations(rng, 10, 5, 30), independent(5), np.arange(10))
    p = jnp.asarray(rng.random((4, 5, 3)), jnp.float32)

    def value(q):
        return evaluate(provenance, program, q)

    def gradient(q):
        return jax.grad(lambda r: value(r)[:10].sum())(q)

    for function in (value, jax.jit(gradient)):
        expected = jnp.stack([function(q) for q in p])
        np.testing.assert_allclose(jax.vmap(function)(p), expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_residuals_hold_no_index_arrays(name):
    rng = np.random.default_rng(1)
    provenance = resolve_provenance(name)
    program = compile_program(provenance, random_derivations(rng, 10, 5, 30), independent(5), np.arange(10))
    _, residuals = jax.jit(forward, static_argnums=0)(
        provenance, program, jnp.ones((5, 2), jnp.float32) / 2, jnp.ones((5, 2), bool)
    )
    assert all(leaf.shape[-1] == 2 for leaf in jax.tree.leaves(residuals))


def test_compiled_size_does_not_grow_with_derivations():
    provenance = resolve_provenance("diffaddmultprob")
    assert isinstance(provenance, AbstractProvenance)
    # Enough nodes that their numbers of derivations need blocks of every size.
    sizes = {}
    for derivations in (3000, 6000):
        rng = np.random.default_rng(0)
        given = random_derivations(rng, 300, 12, derivations)
        program = compile_program(provenance, given, independent(12), np.arange(10))

        def step(program, p):
            values, residuals = forward(provenance, program, p, jnp.ones(p.shape, bool))
            return values, backward(provenance, program, p, jnp.ones(p.shape, bool), residuals, values)

        text = str(jax.make_jaxpr(step)(program, jnp.ones((12, 2), jnp.float32)))
        sizes[derivations] = (program.forward.branches, program.transpose.use_rows, text.count("\n"))
    assert sizes[3000] == sizes[6000]


def test_absent_facts_are_zero_and_have_no_gradient():
    derivations = Derivations(
        1,
        np.array([0, 0]),
        literal_operand(np.array([0, 1])),
        np.array([ONE, ONE]),
        np.zeros(2, bool),
        np.zeros(2, bool),
    )
    p = jnp.asarray([[0.5], [0.25]], jnp.float32)
    present = jnp.asarray([[True], [False]])
    for name in ("diffminmaxprob", "diffaddmultprob", "difftopkproofs"):
        provenance = resolve_provenance(name)
        program = compile_program(provenance, derivations, independent(2), np.array([0]))

        def output(q, provenance=provenance, program=program):
            return evaluate(provenance, program, q, present)[0, 0]

        value, gradient = jax.value_and_grad(output)(p)
        assert value == 0.5
        np.testing.assert_array_equal(gradient, [[1], [0]])
