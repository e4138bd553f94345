"""Semirings of Python objects, written for the reference: in contexts, in forward functions, for facts per sample."""

import itertools
import math
import pickle
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import scallax
import torch_bridge as scallopy
from scallax.errors import InputError, UnsupportedError
from scallax.reasoner.reasoner import Reasoner

# The name and the probability of each fact of the tests.
CHANCES = {"a": 0.5, "b": 0.25, "c": 0.75, "d": 0.125}
WORLDS = list(itertools.product([False, True], repeat=len(CHANCES)))


class Worlds(scallopy.ScallopProvenance):
    """A tag is the set of worlds in which a tuple holds, as numbers; recovered is how likely they are together."""

    def zero(self):
        return frozenset()

    def one(self):
        return frozenset(range(len(WORLDS)))

    def tagging_fn(self, input_tag):
        place = list(CHANCES).index(input_tag)
        return frozenset(number for number, world in enumerate(WORLDS) if world[place])

    def add(self, a, b):
        return a | b

    def mult(self, a, b):
        return a & b

    def negate(self, tag):
        return self.one() - tag

    def saturated(self, old, new):
        return old == new

    def discard(self, tag):
        return not tag

    def recover_fn(self, internal_tag):
        chances = CHANCES.values()
        return sum(
            math.prod(p if there else 1 - p for p, there in zip(chances, WORLDS[number], strict=True))
            for number in internal_tag
        )


# Recursion, negation and a count.
PROGRAM = """
    type edge(a: i32, b: i32), blocked(a: i32)
    rel path(a, b) = edge(a, b), not blocked(b)
    rel path(a, b) = path(a, c), edge(c, b), not blocked(b)
    rel num(n) = n := count(a, b: edge(a, b))
"""
EDGES = {(0, 1): "a", (1, 2): "b", (0, 2): "c", (2, 0): None}
BLOCKED = {(1,): "d"}


def expected(edges: dict, blocked: dict) -> dict[str, dict[tuple, float]]:
    """The probabilities by enumeration: a search in the graph of each world."""
    found: dict[str, dict[tuple, float]] = {"path": {}, "num": {}}
    for world in WORLDS:
        holds = dict(zip(CHANCES, world, strict=True))
        weight = math.prod(p if holds[name] else 1 - p for name, p in CHANCES.items())
        there = [edge for edge, name in edges.items() if name is None or holds[name]]
        closed = {v for v, name in blocked.items() if name is None or holds[name]}
        paths = {(a, b) for a, b in there if (b,) not in closed}
        while more := {(a, d) for a, b in paths for c, d in there if b == c and (d,) not in closed} - paths:
            paths |= more
        for path in paths:
            found["path"][path] = found["path"].get(path, 0) + weight
        count = (len(there),)
        found["num"][count] = found["num"].get(count, 0) + weight
    return found


def context_of(edges: dict, blocked: dict) -> scallopy.ScallopContext:
    ctx = scallopy.ScallopContext(provenance="custom", custom_provenance=Worlds())
    ctx.add_program(PROGRAM)
    ctx.add_facts("edge", [(tag, values) for values, tag in edges.items()])
    ctx.add_facts("blocked", [(tag, values) for values, tag in blocked.items()])
    return ctx


def test_a_context_gives_what_its_semiring_recovers():
    ctx = context_of(EDGES, BLOCKED)
    ctx.run()
    for relation, tuples in expected(EDGES, BLOCKED).items():
        assert {values: tag for tag, values in ctx.relation(relation)} == pytest.approx(tuples)
    assert (ctx.provenance, ctx.requires_tag(), ctx.is_probabilistic()) == ("custom", True, False)
    ctx.add_facts("edge", [("d", (1, 0))])
    ctx.run()
    more = expected({**EDGES, (1, 0): "d"}, BLOCKED)["path"]
    assert {values: tag for tag, values in ctx.relation("path")} == pytest.approx(more)


def test_facts_per_sample_are_tagged_by_the_semiring():
    module = scallopy.Module(program=PROGRAM, custom_provenance=Worlds(), output_mappings={"path": None, "num": [0, 2]})
    graphs = [(EDGES, BLOCKED), ({(0, 1): "b"}, {}), ({}, {(1,): None})]
    edges, blocked = ([[(tag, t) for t, tag in part.items()] for part in parts] for parts in zip(*graphs, strict=True))
    found = module(edge=edges, blocked=blocked)
    tuples, tags = found["path"]
    assert tuples == sorted(tuples)
    for sample, graph in enumerate(graphs):
        chances = expected(*graph)
        assert tags[sample] == pytest.approx([chances["path"].get(values, 0) for values in tuples])
        assert found["num"][sample] == pytest.approx([chances["num"].get((n,), 0) for n in (0, 2)])


class MinMax(scallopy.Provenance):
    """The reference's own algebra of torch scalars."""

    def zero(self):
        return torch.tensor(0.0)

    def one(self):
        return torch.tensor(1.0)

    def add(self, a, b):
        return torch.maximum(a, b)

    def mult(self, a, b):
        return torch.minimum(a, b)

    def saturated(self, old, new):
        return bool(old == new)

    def collate(self, batch_outputs):
        return torch.stack([torch.stack(outputs) for outputs in batch_outputs])


def test_tensors_and_facts_stand_side_by_side_with_gradients_of_torch():
    ctx = scallopy.ScallopContext(custom_provenance=MinMax())
    ctx.add_relation("digit_1", int, input_mapping=scallopy.Map(range(3), retain_k=2))
    ctx.add_relation("digit_2", int)
    ctx.add_rule("sum_2(x + y) = digit_1(x) and digit_2(y)")
    function = ctx.forward_function("sum_2", list(range(4)), dispatch="serial")
    p = torch.tensor([[0.5, 0.25, 0.1], [0.2, 0.6, 0.9]], requires_grad=True)
    q = torch.tensor([0.3, 0.7], requires_grad=True)
    values = function(digit_1=p, digit_2=[[(q[0], (0,)), (q[1], (1,))], [(None, (1,))]])
    twin = scallopy.Module(
        program="type digit_2(x: i32)\nrel sum_2(x + y) = digit_1(x) and digit_2(y)",
        provenance="diffminmaxprob",
        input_mappings={"digit_1": scallopy.Map(range(3), retain_k=2)},
        output_mapping=("sum_2", range(4)),
    )
    again = twin(digit_1=p, digit_2=[[(q[0], (0,)), (q[1], (1,))], [(None, (1,))]])
    torch.testing.assert_close(values, again)
    weights = torch.arange(8.0).reshape(2, 4)
    gradients = [torch.autograd.grad((each * weights).sum(), (p, q)) for each in (values, again)]
    torch.testing.assert_close(*gradients)


def test_what_holds_weighs_one_where_tuples_are_chosen():
    ctx = scallopy.ScallopContext(custom_provenance=Worlds())
    ctx.add_relation("p", (int, int))
    ctx.add_facts("p", [("a", (1, 5)), ("b", (1, 6)), (None, (1, 7)), ("c", (2, 8))])
    ctx.add_rule("first(k, x) = x := top<2>(x: p(k, x))")
    ctx.add_rule("one(x) = x := unique(x: p(_, x))")
    ctx.run()
    # The first tuples of equal weight are taken.
    assert list(ctx.relation("first")) == [(0.5, (1, 5)), (0.25, (1, 6)), (0.75, (2, 8))]
    assert list(ctx.relation("one")) == [(0.5, (5,))]


def test_a_context_is_pickled_with_its_semiring():
    ctx = context_of(EDGES, BLOCKED)
    restored = pickle.loads(pickle.dumps(ctx))
    ctx.run()
    restored.run()
    assert restored.relation("path") == ctx.relation("path")

    class Local(Worlds):
        pass

    with pytest.raises(InputError, match=r"Local` cannot be pickled(.|\n)*at the top of a module"):
        pickle.dumps(scallopy.ScallopContext(custom_provenance=Local()))


def test_a_clone_reads_the_tags_that_it_can():
    ctx = context_of(EDGES, BLOCKED)
    ctx.run()
    clone = ctx.clone()
    assert clone.relation("path") == ctx.relation("path")
    certain = ctx.clone(provenance="unit")
    certain.run()
    assert list(certain.relation("path")) == list(itertools.product([0, 1, 2], [0, 2]))
    for source in (ctx, certain):
        with pytest.raises(InputError, match=r"the fact `edge\(0, 1\)` has the tag 'a'; it must be a number"):
            source.clone(provenance="topkproofs")
    best = scallax.Context("minmaxprob")
    best.add_relation("p", int)
    best.add_facts("p", [(0.5, 1), (0.25, 2)])
    twin = best.clone(custom_provenance=Numbers())
    twin.add_rule("q() = p(_)")
    twin.run()
    assert list(twin.relation("q")) == [(0.75, ())]
    with pytest.raises(InputError, match="of the user's"):
        best.clone(provenance="custom")


class Numbers(scallopy.ScallopProvenance):
    """Numbers without negation; a tag is what was given."""

    def zero(self):
        return 0

    def one(self):
        return 1

    def add(self, a, b):
        return a + b

    def mult(self, a, b):
        return a * b


class Best(scallax.Provenance):
    def zero(self):
        return 0.0

    def one(self):
        return 1.0

    def tag(self, probability):
        return probability

    def add(self, a, b):
        return jnp.maximum(a, b)

    def mult(self, a, b):
        return a * b


@pytest.mark.parametrize("door", [scallax.Context, scallopy.ScallopContext])
def test_an_algebra_of_arrays_is_a_contexts_too(door):
    ctx = door("unit", custom_provenance=Best())
    ctx.add_relation("edge", (int, int))
    ctx.add_facts("edge", [(0.5, (0, 1)), (0.5, (1, 2)), (0.125, (0, 2))])
    ctx.add_rule("path(a, c) = edge(a, c) or path(a, b) and edge(b, c)")
    ctx.run()
    assert list(ctx.relation("path")) == [(0.5, (0, 1)), (0.25, (0, 2)), (0.5, (1, 2))]


def test_jax_scalars_are_tags_of_objects_too():
    ctx = scallax.Context(custom_provenance=Numbers())
    ctx.add_relation("p", int)
    ctx.add_facts("p", [(jnp.float32(0.5), 1), (np.float32(0.25), 2), (3, 3)])
    ctx.add_rule("q() = p(_)")
    ctx.run()
    assert list(ctx.relation("q")) == [(3.75, ())]


def unsettled() -> None:
    ctx = scallopy.ScallopContext(custom_provenance=Numbers())
    ctx.add_relation("edge", (int, int))
    ctx.add_facts("edge", [(2, (0, 1)), (2, (1, 0))])
    ctx.add_rule("path(a, c) = edge(a, c) or path(a, b) and edge(b, c)")
    ctx.run()


def negated() -> None:
    ctx = scallopy.ScallopContext(custom_provenance=Numbers())
    ctx.add_program("rel p = {1, 2}\nrel r(x) = p(x), not q(x)\ntype q(x: i32)")
    ctx.add_facts("q", [(0.5, 1)])
    ctx.run()


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda: scallopy.Context(custom_provenance=scallopy.Provenance()), InputError, "no method `zero`, `one`"),
        (lambda: scallopy.Context(provenance="custom"), InputError, "`custom` is a provenance of the user's"),
        (lambda: scallopy.Module("query p", custom_provenance=object()), InputError, "no method `zero`"),
        (lambda: scallax.Context(3), InputError, "which is no provenance"),  # pyright: ignore[reportArgumentType]
        (lambda: unsettled(), UnsupportedError, "still change after 10,000 rounds"),
        (lambda: negated(), UnsupportedError, "its provenance has no negation"),
        (lambda: context_of(EDGES, {}).explain("edge", (0, 1)), UnsupportedError, "objects that tell no proofs"),
        (lambda: context_of(EDGES, {}).forward_function("path"), UnsupportedError, "tag 'a', and those of a function"),
        (lambda: _grounded(), UnsupportedError, "Python objects, not one array"),
    ],
)
def test_what_objects_cannot_do_is_one_error(use, error, message):
    with pytest.raises(error, match=message):
        use()


def _grounded() -> None:
    reasoner = Reasoner("type p(x: i32)\nrel q(x) = p(x)", custom_provenance=Numbers(), output_relation="q")
    reasoner.evaluate_grounded(reasoner.ground({"p": [[1]]}), np.ones(1, np.float32))


@pytest.mark.parametrize(
    ("provenance", "facts", "values"),
    [
        ("proofs", [[1, 2], [(2,)], []], [[True, True, True], [False, False, True], [False, False, False]]),
        (
            "realtropicalproofs",
            [[(1.0, 1), (3.0, 2)], [(2.0, 2)], []],
            [[2, 4, 6], [math.inf, math.inf, 4], [math.inf] * 3],
        ),
    ],
)
def test_sets_of_proofs_differ_per_sample(provenance: str, facts: list, values: list):
    program = "type a(x: i32)\nrel b(x + y) = a(x), a(y)"
    reasoner = Reasoner(program, provenance=provenance, output_mapping=("b", [2, 3, 4]))
    assert reasoner(a=facts).tolist() == values
    assert scallopy.Module.from_reasoner(reasoner)(a=facts).tolist() == values


def test_inputs_of_every_kind_are_those_of_one_call() -> None:
    reasoner = Reasoner(
        "type goal(x: i32)\nrel hit() = a(x), goal(x)",
        custom_provenance=Numbers(),
        input_mappings={"a": range(3)},
        output_mapping=("hit", ()),
    )
    arrays: dict[str, Any] = {"a": np.array([[1, 2, 3], [4, 5, 6]], np.float32)}
    assert reasoner(**arrays, goal=[[(10, 0), (1, 2)], [(0.5, 1)]]) == [13, 2.5]
    with pytest.raises(InputError, match="differ in batch size: `a` has 2, `goal` has 1"):
        reasoner(**arrays, goal=[[]])


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, lambda f: jax.grad(lambda x: f(x).sum())])
def test_objects_that_ask_for_the_value_of_a_traced_number_are_refused(transform: Callable):
    reasoner = Reasoner("type a(x: i32)\nrel any() = a(_)", provenance="realtropicalproofs", output_mapping=("any", ()))
    with pytest.raises(UnsupportedError, match=r"on the host.*\n.*outside of `jit`.*`realtropical`"):
        transform(lambda x: reasoner(a=[[(x.sum(), 0)]]))(jnp.array([0.3]))


class Largest(Numbers):
    def add(self, a, b):
        return max(a, b)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
def test_a_semiring_that_compares_traced_numbers_is_refused(transform: Callable):
    mapped = Reasoner(
        "rel any() = a(_)", custom_provenance=Largest(), input_mappings={"a": range(2)}, output_mapping=("any", ())
    )
    with pytest.raises(UnsupportedError, match="on the host"):
        transform(lambda x: mapped(a=x.reshape(1, -1)))(jnp.array([[0.3, 0.4]]))


def test_a_context_whose_semiring_compares_traced_numbers_is_refused():
    def largest(tag):
        context = scallax.Context(custom_provenance=Largest())
        context.add_program("type a(x: i32)\nrel any() = a(_)")
        context.add_facts("a", [(tag, 0), (0.5, 1)])
        context.run()
        return context.relation("any").tags[0]

    assert largest(0.25) == 0.5
    with pytest.raises(UnsupportedError, match="on the host"):
        jax.jit(largest)(0.25)


def test_costs_of_derivations_have_the_precision_of_the_inputs():
    program, provenance = "type a(x: i32)\nrel any() = a(_)", "realtropicalproofs"
    module = scallopy.Module(program, provenance=provenance, input_mappings={"a": range(2)}, output_mapping=("any", ()))
    costs = torch.tensor([[0.3, 0.4]], dtype=torch.float64, requires_grad=True)
    assert module(a=costs).tolist() == [0.3]
    assert module(a=costs.float()).dtype == torch.float32
    facts = scallopy.Module(program, provenance=provenance, output_mapping=("any", ()))
    assert facts(a=[[(costs[0, 0], 0), (costs[0, 1], 1)]]).tolist() == [0.3]
    with jax.enable_x64(True):
        reasoner = Reasoner(program, provenance=provenance, output_mapping=("any", ()))
        assert reasoner(a=[scallax.FactList([0, 1], np.array([0.3, 0.4]))]).tolist() == [0.3]


class Longest(Best):
    def add(self, a, b):
        return jnp.maximum(a, b)

    def mult(self, a, b):
        return a + b


def test_what_never_settles_is_no_number():
    rules = "rel path(x, y) = edge(x, y)\nrel path(x, z) = path(x, y), edge(y, z)"
    edges = [(0, 1), (1, 0), (2, 3), (3, 4)]
    longest = Reasoner(rules, provenance=Longest(), input_mappings={"edge": edges}, output_mapping=("path", (0, 1)))
    assert np.isnan(longest(edge=np.full((1, 4), 0.5, np.float32))).all()
    settled = Reasoner(rules, provenance=Longest(), input_mappings={"edge": edges}, output_mapping=("path", (2, 4)))
    assert settled(edge=np.full((1, 4), 0.5, np.float32)).tolist() == [1]


class OneOfEach(Best):
    def one(self):
        return jnp.array([1.0, 2.0, 3.0])


class Word(Best):
    def zero(self):
        return "x"


@pytest.mark.parametrize(("algebra", "method"), [(OneOfEach(), "OneOfEach.one"), (Word(), "Word.zero")])
def test_constants_of_an_algebra_are_numbers(algebra: scallax.Provenance, method: str):
    def use():
        reasoner = Reasoner("rel q(x) = f(x)", provenance=algebra, input_mappings={"f": range(3)}, output_relation="q")
        return reasoner(f=np.full((3, 3), 0.5, np.float32))

    with pytest.raises(InputError, match=f"`{method}` gives .*, where a number is needed"):
        use()
