"""Facts that differ per sample: each sample's answers are those of a reasoner that has its facts alone."""

import math
import pickle
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import scallax
import torch_bridge
from scallax.errors import InputError
from scallax.evaluation.batch_grounding import BatchGrounding
from scallax.evaluation.sample_layout import SampleLayout
from scallax.facts.mappings import InputMapping
from scallax.provenance.table import resolve_provenance
from scallax.reasoner.reasoner import Reasoner
from tests.compilations import counted_compilations

# Recursion, negation, a count of samples that may have no tuple, a rule with a tag, facts of the program beside those
# of the sample, a choice, and a shared relation of uncertain facts.
PROGRAM = """
    type edge(a: i32, b: i32), blocked(a: i32)
    rel edge = {0.5::(7, 8)}
    rel 0.75::likes(1)
    rel path(a, b) = edge(a, b), not blocked(b)
    rel path(a, c) = path(a, b), edge(b, c), not blocked(c)
    rel num(n) = n := count(a: blocked(a))
    rel out(a, n) = n := count(b: edge(a, b))
    rel 0.25::far(a, c) = path(a, c), not edge(a, c)
    rel fan(a) = blocked(a), likes(a)
"""
OUTPUTS = ["path", "num", "out", "far", "fan"]
SAMPLES = [
    {"edge": [(0.9, (1, 2)), (0.8, (2, 3)), (None, (1, 3))], "blocked": [(0.3, (3,)), (0.4, (1,))]},
    {"edge": [(0.5, (1, 2)), (0.6, (1, 2))], "blocked": []},
    {"edge": [], "blocked": [(0.25, (8,))]},
    {"edge": [], "blocked": []},
    {"edge": [(0.7, (3, 1)), (0.1, (1, 3)), (0.2, (3, 3))], "blocked": [(None, (2,))]},
]


# Provenances that take facts per sample and answer without drawing; one of each family in every run.
QUICK = ["unit", "bool", "natural", "minmaxprob", "exact", "difftopkproofs", "diffaddmultprob", "diffnandminprob"]
SLOW = ["tropical", "realtropical", "topkproofs", "topbottomkclauses", "diffmaxmultprob", "diffminmaxprob"]
ALL = [*QUICK, *(pytest.param(name, marks=pytest.mark.nightly) for name in SLOW)]


def program(provenance: str) -> str:
    """The program with tags that the provenance can read."""
    if provenance not in ("natural", "tropical"):
        return PROGRAM
    return PROGRAM.replace("0.5::", "2::").replace("0.75::", "3::").replace("0.25::", "1::")


def rows(sample: dict, relation: str, provenance: str) -> list:
    if provenance == "unit":
        return [values for _, values in sample[relation]]
    if provenance in ("natural", "tropical"):
        return [(None if tag is None else int(10 * tag), values) for tag, values in sample[relation]]
    return sample[relation]


def table(result: tuple, sample: int, absent: float = 0.0) -> dict[tuple, float]:
    """The values of a sample that are not those of what does not hold."""
    tuples, values = result
    found = zip(tuples, np.asarray(values)[sample].astype(np.float64), strict=True)
    return {t: float(v) for t, v in found if v != absent and not abs(v - absent) <= 1e-7}


@pytest.mark.parametrize("provenance", ALL)
def test_a_sample_has_the_answers_of_its_facts_alone(provenance):
    outputs = dict.fromkeys(OUTPUTS)
    together = Reasoner(program(provenance), provenance=provenance, output_mappings=outputs)
    facts: dict[str, Any] = {
        name: [rows(sample, name, provenance) for sample in SAMPLES] for name in ("edge", "blocked")
    }
    results = together(**facts)
    absent = resolve_provenance(provenance).absent
    # JAX answers for all samples; NumPy, which compiles nothing, for each, but counts: their cycles take many rounds.
    executor = "jax" if provenance == "natural" else "numpy"
    options: dict[str, Any] = {"provenance": provenance, "output_mappings": outputs, "executor": executor}
    for number, sample in enumerate(SAMPLES):
        constants = {name: rows(sample, name, provenance) for name in ("edge", "blocked")}
        alone = Reasoner(program(provenance), facts=constants, **options)()
        for name in OUTPUTS:
            expected = table(alone[name], 0, absent)
            assert table(results[name], number, absent) == pytest.approx(expected, abs=1e-6), (name, number)
            assert list(results[name][0]) == sorted(results[name][0])


def test_negations_and_groups_are_those_of_each_sample():
    program = """
        type m(i32), s(i32, i32, i32)
        rel t = {1, 2}
        rel apart(x) = m(x), not s(x, p, p)
        rel left(x, n) = m(x), n := count(p: t(p) and not s(x, p, _))
    """
    reasoner = Reasoner(program, provenance="minmaxprob", output_mappings=dict.fromkeys(["apart", "left"]))
    result = reasoner(
        m=[[(None, (1,))], [(None, (1,)), (0.5, (2,))], []],
        s=[[(0.25, (1, 2, 2)), (0.5, (1, 1, 2))], [(0.25, (2, 1, 1))], [(0.5, (1, 1, 1))]],
    )
    assert table(result["apart"], 0) == {(1,): 0.75}
    assert table(result["apart"], 1) == {(1,): 1.0, (2,): 0.5}
    assert table(result["left"], 0) == {(1, 0): 0.25, (1, 1): 0.5, (1, 2): 0.5}
    assert table(result["left"], 1) == {(1, 2): 1.0, (2, 1): 0.25, (2, 2): 0.5}
    assert table(result["apart"], 2) == table(result["left"], 2) == {}


def test_probabilities_are_those_of_all_worlds():
    program = "type e(a: i32, b: i32) rel p(a, b) = e(a, b) rel p(a, c) = p(a, b), e(b, c)"
    samples = [[(0.9, (1, 2)), (0.8, (2, 3)), (0.3, (1, 3))], [(0.5, (2, 3)), (0.25, (3, 1))]]
    result = Reasoner(program, output_relation="p", k=8)(e=samples)
    for number, facts in enumerate(samples):
        expected: dict[tuple, float] = {}
        for world in product([False, True], repeat=len(facts)):
            weight = math.prod(p if there else 1 - p for (p, _), there in zip(facts, world, strict=True))
            closed = {edge for (_, edge), there in zip(facts, world, strict=True) if there}
            while (more := {(a, d) for a, b in closed for c, d in closed if b == c}) - closed:
                closed |= more
            for pair in closed:
                expected[pair] = expected.get(pair, 0.0) + weight
        assert table(result, number) == pytest.approx(expected, abs=1e-6)


FORMULA = """
    type symbol(place: usize, glyph: String), length(n: usize)
    rel digit = {("1", 1), ("2", 2), ("3", 3)}
    rel sum(x, 0, 1) = symbol(0, s), digit(s, x)
    rel sum(x + y, 0, e + 2) = sum(x, 0, e), symbol(e, "+"), symbol(e + 1, s), digit(s, y)
    rel value(x) = sum(x, 0, n), length(n)
"""


def formula(lengths, seed=0):
    """Facts of sums of random digits, each place with two exclusive readings."""
    inputs: dict[str, Any]
    random = np.random.default_rng(seed)
    symbols, groups = [], []
    for length in lengths:
        facts, sets = [], []
        for place in range(length):
            glyphs = random.permutation(["1", "2", "3"])[:2] if place % 2 == 0 else ["+"]
            sets.append([len(facts) + i for i in range(len(glyphs))])
            facts += [(float(p), (place, str(g))) for p, g in zip(random.dirichlet([1, 1]), glyphs, strict=False)]
        symbols.append(facts)
        groups.append(sets)
    inputs = {"symbol": symbols, "length": [[(length,)] for length in lengths]}
    return inputs, {"symbol": groups}


def formula_reasoner(**options) -> Reasoner:
    return Reasoner(FORMULA, non_probabilistic=["length"], output_relation="value", **options)


def test_exclusive_facts_differ_per_sample():
    inputs, groups = formula([3, 1, 5])
    tuples, values = formula_reasoner(k=8)(**inputs, disjunctions=groups)
    for sample, facts in enumerate(inputs["symbol"]):
        expected: dict[tuple, float] = {}
        readings = [[facts[i] for i in places] for places in groups["symbol"][sample]]
        for reading in product(*readings):
            total = sum(int(glyph) for _, (_, glyph) in reading if glyph != "+")
            expected[(total,)] = expected.get((total,), 0.0) + math.prod(p for p, _ in reading)
        # Facts of one group count as independent once proofs that clash are dropped: a little below the sum of all.
        found = table((tuples, values), sample)
        assert found.keys() == expected.keys()
        assert all(found[t] <= expected[t] + 1e-6 for t in found)
        single = [t for t, p in expected.items() if sum(1 for r in product(*readings) if _total(r) == t[0]) == 1]
        assert {t: found[t] for t in single} == pytest.approx({t: expected[t] for t in single}, abs=1e-6)


def _total(reading) -> int:
    return sum(int(glyph) for _, (_, glyph) in reading if glyph != "+")


def test_exclusive_facts_in_one_proof_clash():
    program = 'type c(i: i32, v: String) rel clash() = c(0, "r"), c(0, "b") rel one() = c(0, _)'
    reasoner = Reasoner(program, output_mappings={"clash": (), "one": ()}, wmc_with_disjunctions=True)
    facts = [[(0.6, (0, "r")), (0.3, (0, "b"))], [(0.6, (0, "r")), (0.3, (0, "b"))]]
    found = reasoner(c=facts, disjunctions={"c": [[[0, 1]], []]})
    assert found["clash"].tolist() == pytest.approx([0.0, 0.18])
    assert found["one"].tolist() == pytest.approx([0.9, 0.72])


def test_a_certain_fact_of_a_group_still_excludes_the_others():
    program = "type c(v: i32) rel both() = c(0), c(1) rel first() = c(0)"
    reasoner = Reasoner(program, output_mappings={"both": (), "first": ()})
    found = reasoner(c=[[(None, (0,)), (0.5, (1,))]], disjunctions={"c": [[[0, 1]]]})
    assert [float(found["both"][0]), float(found["first"][0])] == [0.0, 1.0]


GRADIENTS = [
    "minmaxprob",
    "exact",
    "difftopkproofs",
    "diffaddmultprob",
    pytest.param("diffnandminprob", marks=pytest.mark.nightly),
]


@pytest.mark.parametrize("provenance", GRADIENTS)
def test_gradients_are_those_of_each_sample_and_of_torch(provenance):
    program = "type e(a: i32, b: i32) rel p(a, b) = e(a, b) rel p(a, c) = p(a, b), e(b, c)"
    reasoner = Reasoner(program, provenance=provenance, output_relation="p")
    tuples = [[(0, 1), (1, 2), (0, 2)], [(5, 6)], [], [(0, 1), (1, 2)]]
    tags = np.array([0.9, 0.6, 0.3, 0.5, 0.8, 0.4], np.float32)

    def loss(tags):
        found, values = reasoner(e=scallax.FactList(tuples, tags))
        return (values @ jnp.linspace(0.5, 1.5, len(found))).sum()

    gradient = jax.grad(loss)(jnp.asarray(tags))
    assert jax.jit(jax.grad(loss))(jnp.asarray(tags)) == pytest.approx(np.asarray(gradient), abs=1e-6)

    start, expected = 0, []
    all_tuples = reasoner(e=scallax.FactList(tuples, tags))[0]
    weights = dict(zip(all_tuples, np.linspace(0.5, 1.5, len(all_tuples)), strict=True))
    for sample in tuples:
        mapped = Reasoner(program, provenance=provenance, output_relation="p", input_mappings={"e": sample or [(9, 9)]})
        own = np.array([weights.get(t, 0.0) for t in mapped.compiled_program.outputs[0].tuples], np.float32)
        if sample:
            part = tags[start : start + len(sample)]
            expected += jax.grad(lambda p, m=mapped, w=own: (m(e=p)[1] @ w).sum())(part[None])[0].tolist()
            start += len(sample)
    assert np.asarray(gradient) == pytest.approx(np.array(expected), abs=1e-5)

    module = torch_bridge.Module.from_reasoner(reasoner)
    source = torch.tensor(tags, requires_grad=True)
    shared = torch.stack([source, source])
    flat = iter(range(len(tags)))
    facts = [[(shared[i % 2, i], t) for t in sample for i in [next(flat)]] for sample in tuples]
    _, values = module(e=facts)
    (values * torch.linspace(0.5, 1.5, values.shape[1])).sum().backward()
    assert source.grad.numpy() == pytest.approx(np.asarray(gradient), abs=1e-6)


def test_scalar_tensors_of_every_kind_get_their_gradients():
    module = torch_bridge.Module("type a(x: i32) rel b(x) = a(x)", output_mapping=("b", range(6)))
    leaf = torch.tensor(0.5, requires_grad=True)
    vector = torch.tensor([0.1, 0.2], requires_grad=True)
    transposed = torch.rand(2, 3, requires_grad=True)
    doubled = (vector * 2)[1]
    doubled.retain_grad()
    row = transposed.t()[2]
    values = module(a=[[(leaf, (0,)), (vector[0], (1,)), (doubled, 2), (0.25, (3,)), (None, (4,)), (row[1], (5,))]])
    assert values[0].tolist() == pytest.approx([0.5, 0.1, 0.4, 0.25, 1.0, transposed[1, 2].item()])
    (values * torch.arange(1.0, 7.0)).sum().backward()
    assert leaf.grad.item() == 1
    assert vector.grad.tolist() == [2, 6]
    assert doubled.grad.item() == 3
    assert transposed.grad.tolist() == [[0, 0, 0], [0, 0, 6]]


def test_mapped_inputs_stand_beside_facts():
    program = "type digit(d: i32), goal(d: i32) rel hit() = digit(d), goal(d) rel seen(d) = digit(d)"
    mapping = InputMapping(range(3), disjunctive=True, retain_k=2)
    reasoner = Reasoner(program, input_mappings={"digit": mapping}, output_mappings={"hit": (), "seen": range(3)})
    p = jnp.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    found = reasoner(digit=p, goal=[[(0.5, 1), (0.5, 0)], [(1.0, 0), (1.0, 2)]])
    assert found["hit"].tolist() == pytest.approx([0.25, 0.6])
    assert found["seen"].tolist() == [pytest.approx([0, 0.5, 0.3]), pytest.approx([0.6, 0.3, 0])]
    gradient = jax.grad(lambda p: reasoner(digit=p, goal=[[(0.5, 1)], [(1.0, 0)]])["hit"].sum())(p)
    assert gradient.tolist() == [pytest.approx([0, 0.5, 0]), pytest.approx([1, 0, 0])]
    # As a list, the facts of a mapped relation are any.
    assert reasoner(digit=[[(0.5, 7)]], goal=[[(0.5, 7)]])["hit"].tolist() == pytest.approx([0.25])


def test_trained_tags_hold_in_every_sample():
    program = "rel w = {0.25::(1), 0.5::(2)} type a(x: i32) rel b(x) = a(x), w(x)"
    reasoner = Reasoner(program, trainable=["w"], output_mapping=("b", [1, 2]))
    facts = [[(0.5, 1)], [(1.0, 1), (0.5, 2)]]
    assert reasoner(a=facts).tolist() == [pytest.approx([0.125, 0]), pytest.approx([0.25, 0.25])]
    logits = dict(reasoner.parameters)
    gradient = jax.grad(lambda logits: reasoner.apply(logits, a=facts).sum())(logits)["w.facts"]
    assert gradient.tolist() == pytest.approx([1.5 * 0.25 * 0.75, 0.5 * 0.25])


def test_empty_batches_and_nothing_derived():
    reasoner = Reasoner("type a(x: i32) rel b(x) = a(x), x > 5", output_relation="b")
    assert reasoner(a=[[(0.5, 1)], []])[0] == []
    assert reasoner(a=[[(0.5, 1)], []])[1].shape == (2, 0)
    assert reasoner(a=[])[1].shape == (0, 0)
    mapped = Reasoner("type a(x: i32) rel b(x) = a(x)", output_mapping=("b", [1, 2]))
    assert mapped(a=[]).shape == (0, 2)
    assert mapped(a=[[], []]).tolist() == [[0, 0], [0, 0]]
    module = torch_bridge.Module.from_reasoner(mapped)
    assert module(a=[]).shape == (0, 2)
    assert module(a=[[]]).tolist() == [[0, 0]]


def test_a_gradient_that_is_no_number_stays_in_its_sample():
    program = "type e(a: i32, b: i32) rel p(a, b) = e(a, b) rel p(a, c) = p(a, b), e(b, c)"
    module = torch_bridge.Module(program, output_relation="p", output_mapping=[(0, 2)])
    tags = torch.tensor([0.9, 0.6, 0.5, 0.8], requires_grad=True)
    tuples = [(0, 1), (1, 2)]
    values = module(e=[list(zip(part, tuples, strict=True)) for part in (tags[:2], tags[2:])])
    values.backward(torch.tensor([[float("nan")], [1.0]]))
    assert tags.grad is not None
    assert tags.grad[:2].isnan().all()
    assert tags.grad[2:].tolist() == pytest.approx([0.8, 0.5])


@pytest.mark.parametrize("door", ["jax", "torch"])
def test_a_call_asks_for_other_outputs(door):
    program = "type a(x: i32) rel b(x) = a(x) rel c(x + 1) = a(x)"
    make = Reasoner if door == "jax" else torch_bridge.Module
    reasoner = make(program, output_relation="b", output_mapping=[1, 2])
    facts: dict[str, Any] = {"a": [[(0.5, 1)], [(0.25, 2)]]}
    near = pytest.approx
    assert reasoner(**facts, output_mappings=[2, 3]).tolist() == [near([0, 0]), near([0.25, 0])]
    assert reasoner(**facts, output_relations="c", output_mappings=(2,)).tolist() == near([0.5, 0])
    found = reasoner(**facts, output_mappings={"b": None, "c": [3]})
    assert found["b"][0] == [(1,), (2,)]
    assert found["c"].tolist() == [near([0]), near([0.25])]
    tuples, values = reasoner(**facts, output_relations=["b", "c"])
    assert tuples == [(1,), (2,), (3,)]
    assert values.tolist() == [near([0.5, 0, 0]), near([0, 0, 0.25])]
    both = reasoner(**facts, output_relations=[["b", "c"], ["c", "b"]], output_mappings=[2, 3])
    assert [part.tolist() for part in both] == [
        [near([0, 0]), near([0, 0.25])],
        [near([0.5, 0]), near([0.25, 0])],
    ]
    with pytest.raises(InputError, match="names the relations of 1 samples; the batch has 2"):
        reasoner(**facts, output_relations=["b"])


def test_draws_by_probability_are_seeded():
    mapping = InputMapping(range(4), retain_k=1, sample_strategy="categorical")
    program = "type a(x: i32) rel b(x) = a(x)"
    reasoner = Reasoner(program, input_mappings={"a": mapping}, output_mapping=("b", range(4)))
    p = jnp.tile(jnp.array([0.1, 0.2, 0.3, 0.4]), (4000, 1))
    found = np.asarray(reasoner(a=p))
    assert ((found > 0).sum(1) == 1).all()
    # Four standard deviations of 4000 draws.
    assert (found > 0).mean(0) == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.032)
    assert np.array_equal(found, reasoner(a=p))
    assert not np.array_equal(found, reasoner(a=p, key=1))
    assert not np.array_equal(found, reasoner(a=p, key=jax.random.key(2)))
    gradient = jax.grad(lambda p: reasoner(a=p, key=3).sum())(p)
    assert np.array_equal(np.asarray(gradient) > 0, np.asarray(reasoner(a=p, key=3)) > 0)
    assert Reasoner.from_json(reasoner.specification.to_json()) == reasoner

    module = torch_bridge.Module.from_reasoner(reasoner)
    tensor = torch.tensor(np.asarray(p))
    torch.manual_seed(0)
    first, second = module(a=tensor), module(a=tensor)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(first, module(a=tensor))
    module.eval()
    assert torch.equal(module(a=tensor), torch.tensor(found))


@pytest.mark.parametrize("dim", [None, 1])
def test_a_sample_draws_the_same_in_every_batch(dim):
    mapping = InputMapping({0: range(2), 1: range(8)}, retain_k=3, sample_dim=dim, sample_strategy="categorical")
    options = {"input_mappings": {"a": mapping}, "output_mapping": ("b", list(mapping.tuples))}
    reasoner = Reasoner("rel b(x, y) = a(x, y)", provenance="minmaxprob", **options)
    p = np.random.default_rng(5).uniform(0.1, 1, (13, 2, 8)).astype(np.float32)
    few, many = (np.asarray(reasoner(a=p[:size], key=7)) > 0 for size in (3, 13))
    assert np.array_equal(few, many[:3])
    # The numbers drawn are those of JAX, one after the other: first all of a sample.
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), 0x52455441), 0)
    scores = np.log(p.reshape(13, 1, 16) if dim is None else p[:, None])
    noise = np.asarray(jax.random.gumbel(key, (13, 3, *scores.shape[2:])))
    met = jax.nn.one_hot((scores + noise).argmax(-1), scores.shape[-1]).any(1)
    assert np.array_equal(many, met.reshape(13, 16))


def test_groundings_are_kept_by_content():
    reasoner = formula_reasoner()
    inputs, groups = formula([3, 3])
    first = reasoner(**inputs, disjunctions=groups)[1]
    others = {"symbol": [[(p / 2, t) for p, t in facts] for facts in inputs["symbol"]], "length": inputs["length"]}
    second = reasoner(**others, disjunctions=groups)[1]
    info = reasoner.cache_info()
    assert (info.hits, info.misses, info.size) == (1, 1, 1)
    assert info.bytes > 0
    assert np.all(np.asarray(second) <= np.asarray(first))
    reasoner(**inputs)
    assert reasoner.cache_info().misses == 2
    reasoner.with_k(1)(**inputs)
    assert reasoner.cache_info().misses == 3
    reasoner.cache_clear()
    assert reasoner.cache_info() == (0, 0, 0, 0)


def evaluate(reasoner: Reasoner, grounding: BatchGrounding, tags: np.ndarray) -> None:
    evaluator = reasoner.evaluator
    evaluator.with_layout(SampleLayout(evaluator.layout, grounding)).forward((tags,))


def test_shapes_are_shared_by_batches_of_like_size():
    reasoner = formula_reasoner(k=1)
    random = np.random.default_rng(0)
    sizes = []
    with counted_compilations() as compiled:
        for seed in range(16):
            inputs, groups = formula(random.integers(1, 10, random.integers(2, 9)), seed)
            grounding = reasoner.ground(inputs, disjunctions=groups)
            tags = np.array([p for facts in inputs["symbol"] for p, _ in facts], np.float32)
            sizes.append(len(tags))
            evaluate(reasoner, grounding, np.pad(tags, (0, grounding.padded_tags - len(tags))))
    assert 1 < len(compiled) <= 2 * math.log2(max(sizes) / min(sizes))
    renamed = FORMULA.replace("digit", "figure").replace("sum", "total")
    other = Reasoner(renamed, non_probabilistic=["length"], output_relation="value", k=1)
    random = np.random.default_rng(0)
    with counted_compilations() as compiled:
        inputs, groups = formula(random.integers(1, 10, random.integers(2, 9)), 0)
        grounding = other.ground(inputs, disjunctions=groups)
        evaluate(other, grounding, np.zeros(grounding.padded_tags, np.float32))
    assert len(compiled) == 0


def test_a_grounding_is_pickled_and_evaluated_in_a_jitted_step():
    reasoner = Reasoner("type a(x: i32) rel b(x) = a(x) rel n(c) = c := count(x: a(x))", output_mapping=("n", range(3)))
    facts = {"a": [[1, 2], [3], []]}
    grounding = pickle.loads(pickle.dumps(reasoner.ground(facts)))
    tags = jnp.array([0.5, 0.25, 0.75])
    expected = reasoner(a=[[(0.5, 1), (0.25, 2)], [(0.75, 3)], []])
    assert reasoner.evaluate_grounded(grounding, {"a": tags}).tolist() == expected.tolist()
    step = jax.jit(jax.grad(lambda tags, arrays: reasoner.evaluate_grounded(arrays, tags)[:, 1].sum()))
    assert step(tags, grounding.arrays).tolist() == pytest.approx([1 - 2 * 0.25, 1 - 2 * 0.5, 1.0])
    module = torch_bridge.Module.from_reasoner(reasoner)
    tensor = torch.tensor([0.5, 0.25, 0.75], requires_grad=True)
    module.evaluate_grounded(grounding, tensor)[:, 1].sum().backward()
    assert tensor.grad.tolist() == pytest.approx([0.5, 0.0, 1.0])
    with pytest.raises(InputError, match=r"have shape \(2,\); the batch has 3 facts"):
        reasoner.evaluate_grounded(grounding, tags[:2])
    with pytest.raises(InputError, match="another program"):
        Reasoner("type a(x: i32) rel b(x) = a(x)", output_relation="b").evaluate_grounded(grounding, tags)


BAD = [
    ({"e": [[(0.5, (1,))]]}, "fact 0 of sample 0, (1), does not fit: it has 1 values, but the relation has 2 columns"),
    ({"e": [[], [(0.5, (1, 2)), (0.5, (1, "a"))]]}, 'fact 1 of sample 1, (1, "a"), does not fit: "a" is no i32'),
    ({"e": [[(0.5, (1, 1 << 40))]]}, "1099511627776 is no i32 (column 2)"),
    ({"e": [[(1, 2)], [0.5]]}, "fact 0 of sample 1, 0.5, has no tag"),
    ({"e": [[(1, 0)]]}, "if `(1, 0)` is the tuple, write `(None, (1, 0))`"),
    ({"e": [0.5]}, "sample 0 is a float; give a list of facts for each sample"),
    ({"edge": [[]]}, "the program has no relation `edge` to give facts of"),
    ({"e": [[(math.nan, (1, 2))]]}, "fact 0 of sample 0, (1, 2), has the tag nan; a tag is a finite number"),
    ({"e": [[(0.5, (1, 2))], [(math.inf, (1, 2))]]}, "fact 0 of sample 1, (1, 2), has the tag inf"),
    ({"e": [[(1e300, (1, 2))]]}, "fact 0 of sample 0, (1, 2), has the tag inf; a tag is a finite number"),
    ({"e": [[("a", (1, 2))]]}, "has the tag 'a'; a tag is a number"),
    ({"e": [[], []], "n": [[]]}, "differ in batch size: `e` has 2, `n` has 1"),
    ({"e": [[(0.5, (1, 2))]], "disjunctions": {"e": [[[0, 1]]]}}, "there is no fact 1; the sample has 1 facts"),
    ({"e": [[(0.5, (1, 2))]], "disjunctions": {"e": [[[0], [0]]]}}, "fact 0 is in two exclusive groups"),
    ({"e": [[(0.5, (1, 2))]], "disjunctions": {"e": [[0]]}}, "give a list of lists of indices"),
    ({"e": [[], [(0.5, (1, 2))]], "disjunctions": {"e": [[], iter([[0]])]}}, "`e` in sample 1 is <list_iterator"),
    ({"e": [[(0.5, (1, 2))]], "disjunctions": {"e": [[[False]]]}}, "False is no index of a fact"),
    ({"e": [[(0.5, (1, 2))]], "disjunctions": {"e": [[[1 << 70]]]}}, "there is no fact 1180591620717411303424"),
    ({"e": [[(0.5, (1, 2))]], "disjunctions": {"e": [[], []]}}, "has 1 samples, but disjunctions for 2"),
    ({"e": [[(0.5, (1, 2))]], "disjunctions": {"n": [[]]}}, "`disjunctions` names `n`, of which no facts are given"),
]


@pytest.mark.parametrize(("inputs", "message"), BAD)
@pytest.mark.parametrize("door", ["jax", "torch"])
def test_facts_that_do_not_fit_are_one_error(inputs: dict[str, Any], message, door):
    program = "type e(a: i32, b: i32), n(a: i32) rel p(a) = e(a, _), n(a)"
    make = Reasoner if door == "jax" else torch_bridge.Module
    reasoner = make(program, output_relation="p", non_probabilistic=["n"])
    with pytest.raises(InputError) as caught:
        reasoner(**inputs)
    assert message in str(caught.value)


def test_tags_that_do_not_fit_are_one_error():
    program = "type e(a: i32) rel p(a) = e(a)"
    reasoner = Reasoner(program, output_relation="p")
    module = torch_bridge.Module.from_reasoner(reasoner)
    with pytest.raises(InputError, match=r"fact 0 of sample 0, \(1\), has a tag of shape \(2,\); a tag is a scalar"):
        reasoner(e=[[(jnp.ones(2), 1)]])
    with pytest.raises(InputError, match=r"fact 0 of sample 0, \(1\), has a tag of shape \(1,\); a tag is a scalar"):
        module(e=[[(torch.ones(1), 1)]])
    with pytest.raises(InputError, match=r"has a tag of dtype torch\.int64"):
        module(e=[[(torch.tensor(1), 1)]])
    with pytest.raises(InputError, match=r"fact 1 of sample 0.*has the tag nan"):
        module(e=[[(torch.tensor(0.5), 1), (torch.tensor(math.nan), 2)]])
    with pytest.raises(InputError, match=r"tags of the `FactList` have shape \(1,\), but it has 2 facts"):
        reasoner(e=scallax.FactList([[1], [2]], np.ones(1, np.float32)))
    with pytest.raises(InputError, match="but has no input mapping"):
        reasoner(e=np.ones((2, 3), np.float32))
    with pytest.warns(UserWarning, match=r"fact 0 of sample 0, \(1\), has the tag 1.5, outside"):
        assert reasoner(e=[[(1.5, 1)]])[1].tolist() == [[1.5]]


def test_terms_of_one_sample_are_not_listed_in_another():
    program = """
        type Expr = Const(i32) | Add(Expr, Expr)
        type root(e: Expr)
        rel eval(e, y) = case e is Const(y)
        rel eval(e, x + y) = case e is Add(l, r), eval(l, x), eval(r, y)
        rel result(y) = root(e), eval(e, y)
    """
    # A sample knows only those terms of the outputs that it has.
    outputs = {"result": range(20), "eval": [("Const(3)", 3), ("Const(9)", 9)]}
    module = torch_bridge.Module(program, provenance="minmaxprob", output_mappings=outputs)
    tag = torch.tensor(0.5, requires_grad=True)
    facts = [[(tag, ("Add(Const(5), Const(3))",))], [(0.25, ("Const(10)",))]]
    values = module(root=facts)
    assert values["result"].nonzero().tolist() == [[0, 8], [1, 10]]
    assert values["eval"].tolist() == [[1, 0], [0, 0]]
    values["result"].sum().backward()
    assert tag.grad == 1
    grounding = module.ground({"root": facts})
    again = module.evaluate_grounded(grounding, {"root": torch.tensor([0.5, 0.25])})
    assert torch.equal(again["result"], values["result"])
    assert module(root=[])["result"].shape == (0, 20)


def test_a_mapping_of_terms_is_known_to_all():
    program = """
        type List = Nil() | Cons(i32, List)
        type made(x: List), told(x: List)
        rel any(h) = case l is Cons(h, _)
    """
    reasoner = Reasoner(program, provenance="unit", input_mappings={"told": ["Cons(1, Nil())"]}, output_relation="any")
    tuples, values = reasoner(told=np.ones((2, 1), np.float32), made=[["Cons(2, Cons(3, Nil()))"], []])
    assert tuples == [(1,), (2,), (3,)]
    assert values.tolist() == [[True, True, True], [True, False, False]]
