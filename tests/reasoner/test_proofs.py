"""The proofs that are shown to people entail their tuple, are minimal, and together are all there are."""

import itertools
import re
import xml.dom.minidom
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import scallax
import torch_bridge
from scallax import nn
from scallax.circuits.compile import analyse_program
from scallax.errors import InputError, Source, UnsupportedError
from scallax.grounding.derivations import ONE, Derivations, literal_operand
from scallax.reasoner import proof_search
from scallax.reasoner.proofs import Proof
from tests.oracles import naive_datalog

PATH = "rel path(x, y) = edge(x, y)\nrel path(x, z) = path(x, y), edge(y, z)"
EDGES = [(0, 1), (1, 2), (0, 2), (2, 0), (2, 1)]
PROGRAMS = {
    "recursion": ("path(a, b) = edge(a, b)\nrel path(a, c) = path(a, b) and edge(b, c)", "path", (0, 2)),
    "cycle": ("path(a, b) = edge(a, b)\nrel path(a, c) = path(a, b) and path(b, c)", "path", (1, 1)),
    "negation": ("alone(a) = edge(_, a) and not edge(a, 2) and not edge(a, 0)", "alone", (1,)),
    "negated rule": (
        "near(a, b) = edge(a, b) or edge(b, a)\nrel apart(a, b) = edge(a, _) and edge(_, b) and not near(a, b)",
        "apart",
        (0, 1),
    ),
    "count": ("n(c) = c := count(b: edge(2, b))", "n", (1,)),
    "forall": ("all(a) = edge(a, _) and forall(b: edge(a, b) implies edge(b, a))", "all", (0,)),
}


def holds(rules: str, relation: str, values: tuple, edges: set[tuple]) -> bool:
    program = analyse_program([Source(f"type edge(a: i32, b: i32)\nrel {rules}")])
    possible = naive_datalog(program, {"edge": set(EDGES)})
    return values in naive_datalog(program, {"edge": edges}, possible)[relation]


def agrees(proof: Proof, edges: set[tuple]) -> bool:
    return all((fact.values in edges) != fact.is_negated for fact in proof.facts)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_tuple_holds_where_one_of_its_proofs_does(name):
    rules, relation, values = PROGRAMS[name]
    facts = [(0.3 + 0.1 * i, edge) for i, edge in enumerate(EDGES)]
    reasoner = scallax.Reasoner(
        f"type edge(a: i32, b: i32)\nrel {rules}",
        provenance="addmultprob",
        facts={"edge": facts},
        output_relation=relation,
    )
    explanation = reasoner.explain(relation, values, k=100)
    weights = [proof.weight for proof in explanation.proofs]
    assert weights == sorted(weights, reverse=True)
    for chosen in itertools.product([False, True], repeat=len(EDGES)):
        world = {edge for edge, holds in zip(EDGES, chosen, strict=True) if holds}
        is_entailed = any(agrees(proof, world) for proof in explanation.proofs)
        assert is_entailed == holds(rules, relation, values, world)
    parts = [{(fact.values, fact.is_negated) for fact in proof.facts} for proof in explanation.proofs]
    assert not any(first <= second for first, second in itertools.permutations(parts, 2))
    for proof in explanation.proofs:
        assert proof.weight == pytest.approx(np.prod([_weight(fact) for fact in proof.facts]))


def _weight(fact) -> float:
    return 1 - fact.probability if fact.is_negated else fact.probability


def test_inputs_rules_choices_and_certain_facts_are_named():
    program = """
type edge(a: i32, b: i32)
rel colour = {0.4::"red"; 0.6::"blue"}
rel 0.9::path(a, b) = edge(a, b)
rel path(a, c) = path(a, b) and road(b, c) and colour("red")
rel road = {(1, 2)}
"""
    mapping = {"edge": EDGES}
    reasoner = scallax.Reasoner(program, input_mappings=mapping, output_relation="path")
    inputs = jnp.array([[0.1] * 5, [0.5, 0.2, 0.3, 0.4, 0.6]])
    explanation = reasoner.explain("path", (0, 2), {"edge": inputs}, sample=1)
    assert str(explanation) == (
        "path(0, 2): 0.3996\n\n"
        "proof of weight 0.27\n"
        "  path(0, 2)    by the rule at <program>:4:1\n"
        "    0.3::edge(0, 2)\n"
        "    0.9::path(0, 2), the choice of the rule at <program>:4:1\n\n"
        "proof of weight 0.18\n"
        "  path(0, 2)    by the rule at <program>:5:1\n"
        "    path(0, 1)    by the rule at <program>:4:1\n"
        "      0.5::edge(0, 1)\n"
        "      0.9::path(0, 1), the choice of the rule at <program>:4:1\n"
        "    road(1, 2)\n"
        '    0.4::colour("red")'
    ).replace("0.3996", f"{explanation.value:.6g}")
    tuples, values = reasoner(edge=inputs)
    # NumPy explains what JAX computed: they agree to some units in the last place.
    assert explanation.value == pytest.approx(float(values[1, tuples.index((0, 2))]), rel=1e-6)
    module = torch_bridge.Module(program, input_mappings=mapping, output_relation="path")
    assert module.explain("path", (0, 2), {"edge": torch.tensor(np.asarray(inputs))}, sample=1) == explanation


def test_the_facts_of_a_discrete_program_are_its_proofs():
    program = "rel edge = {(0, 1), (1, 2), (0, 2)}\nrel path(a, b) = edge(a, b) or (path(a, c) and edge(c, b))"
    reasoner = scallax.Reasoner(program, provenance="unit", output_relation="path")
    explanation = reasoner.explain("path", (0, 2))
    assert explanation.value is True
    facts = [[(fact.relation, fact.values, fact.probability) for fact in proof.facts] for proof in explanation.proofs]
    assert facts == [[("edge", (0, 2), None)], [("edge", (0, 1), None), ("edge", (1, 2), None)]]
    assert str(reasoner.explain("path", (2, 0))) == "path(2, 0): false, no proof"


def test_two_alternatives_of_a_group_are_no_proof():
    program = "rel a = {0.3::1; 0.4::2}\nrel both() = a(1) and a(2)\nrel one(x) = a(x)"
    reasoner = scallax.Reasoner(program, output_relation="both")
    assert reasoner.explain("both", ()).proofs == ()
    assert [proof.weight for proof in reasoner.explain("one", 2).proofs] == [0.4]


def test_trained_probabilities_are_explained():
    reasoner = scallax.Reasoner("rel edge = {0.5::(0, 1)}\nrel path(a, b) = edge(a, b)\nquery path", trainable=["edge"])
    logit = jnp.log(jnp.array([3.0], jnp.float32))
    explanation = reasoner.with_parameters({"edge.facts": logit}).explain("path", (0, 1))
    assert explanation.proofs[0].weight == pytest.approx(0.75, rel=1e-6)


def test_pictures(tmp_path):
    reasoner = scallax.Reasoner('rel a = {0.3::"\\"x\\\\"}\nrel b(x) = a(x)', output_relation="b")
    explanation = reasoner.explain("b", '"x\\')
    assert explanation.to_dot() == (
        "digraph proofs {\n"
        "  rankdir=BT;\n"
        "  node [shape=box, style=rounded];\n"
        "  subgraph cluster_0 {\n"
        '    label="weight 0.3";\n'
        '    n0 [label="b(\\"\\\\\\"x\\\\\\\\\\")"];\n'
        '    n0_0 [label="0.3::a(\\"\\\\\\"x\\\\\\\\\\")"];\n'
        '    n0_0 -> n0 [label="rel b(x) = a(x)"];\n'
        "  }\n"
        "}"
    )
    for name, start in {"proof.png": b"\x89PNG", "proof.svg": b"<?xml", "proof.pdf": b"%PDF"}.items():
        explanation.draw(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    picture = explanation._repr_svg_()
    assert picture is not None
    assert "<svg" in picture
    with pytest.raises(InputError, match=r"ends in \.png, \.svg or \.pdf"):
        explanation.draw(tmp_path / "proof.txt")


def test_what_cannot_be_explained_is_told():
    rules = "rel a(x) = b(x)\nrel none() = not a(_)\nquery none"
    reasoner = scallax.Reasoner(f"type b(x: i32)\n{rules}", input_mappings={"b": range(3)})
    inputs = {"b": jnp.full((2, 3), 0.5)}
    with pytest.raises(InputError, match="has no relation `c`"):
        reasoner.explain("c", 1, inputs)
    with pytest.raises(InputError, match="has 2 values, but the relation has 1 columns"):
        reasoner.explain("a", (1, 2), inputs)
    with pytest.raises(InputError, match="there is no sample 2: the inputs have 2"):
        reasoner.explain("a", 1, inputs, sample=2)
    with pytest.raises(InputError, match="`k` is 0"):
        reasoner.explain("a", 1, inputs, k=0)
    with pytest.raises(InputError, match="no input for `b`"):
        reasoner.explain("a", 1)
    with pytest.raises(InputError, match="`b`"):
        reasoner.explain("a", 1, {"b": jnp.float32(0.5)})
    many = scallax.Reasoner("type b(x: i32)\nrel none() = not b(_)\nquery none", input_mappings={"b": range(300)})
    with pytest.raises(UnsupportedError, match="a negated tuple has more than 256 proofs"):
        many.explain("none", (), {"b": jnp.full((1, 300), 0.5)})


def test_facts_per_sample_are_explained():
    rules = f"type edge(i32, i32)\ntype blocked(i32)\n{PATH}\nrel safe(y) = path(0, y), not blocked(y)"
    options = {"provenance": "exact", "output_mapping": ("safe", [2])}
    reasoner = scallax.Reasoner(rules, **options)
    facts = {
        "edge": [[], [(0.9, (0, 1)), (0.8, (1, 2)), (0.3, (0, 2)), (None, (0, 3))]],
        "blocked": [[(0.5, 2)], [(0.25, (2,)), (0.5, (1,))]],
    }
    disjunctions = {"edge": [[], [[0, 2]]]}
    explanation = reasoner.explain("safe", 2, facts, disjunctions=disjunctions, sample=1)
    assert explanation.value == pytest.approx((0.9 * 0.8 + 0.3) * 0.75)
    assert [proof.weight for proof in explanation.proofs] == pytest.approx([0.9 * 0.8 * 0.75, 0.3 * 0.75])
    assert "not 0.25::blocked(2)" in str(explanation.proofs[1])
    assert reasoner.explain("safe", 2, facts, disjunctions=disjunctions).proofs == ()
    assert reasoner.explain("path", (0, 3), facts, sample=1).value == 1

    module = torch_bridge.Module(program=rules, **options)
    p = torch.tensor([0.9, 0.8, 0.3], requires_grad=True)
    facts["edge"] = [[], [(p[0], (0, 1)), (p[1], (1, 2)), (p[2], (0, 2)), (None, (0, 3))]]
    assert module.explain("safe", 2, facts, disjunctions=disjunctions, sample=1).proofs == explanation.proofs
    with pytest.raises(InputError, match="there is no sample 2: the inputs have 2"):
        module.explain("safe", 2, facts, sample=2)


def test_facts_of_a_mapped_relation_take_the_place_of_its_array():
    options = {"input_mappings": {"edge": [(0, 1), (1, 2)], "goal": range(3)}, "output_mapping": ("hit", ())}
    module = torch_bridge.Module(program=f"{PATH}\nrel hit() = path(0, x), goal(x)", **options)
    inputs = {"edge": [[(0.5, (0, 7))], [(0.5, (0, 2))]], "goal": torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])}
    explanation = module.explain("hit", (), inputs, sample=1)
    assert [proof.weight for proof in explanation.proofs] == [pytest.approx(0.3)]
    assert explanation.value == pytest.approx(0.3)


def test_flax_modules_explain_with_their_parameters():
    options = {"program": f"rel edge = {{0.5::(0, 1), 0.25::(1, 2)}}\n{PATH}", "trainable": ["edge"]}
    options["output_mapping"] = ("path", [(0, 2)])
    module = nn.Reasoner(**options)
    assert module.explain("path", (0, 2)).value == pytest.approx(0.125)
    module.edge["facts"][...] = jnp.zeros(2)  # pyright: ignore[reportAttributeAccessIssue]
    assert module.explain("path", (0, 2)).value == pytest.approx(0.25)
    linen = nn.LinenReasoner(**options)
    variables = linen.init(jax.random.key(0))
    explanation: Any = linen.apply(variables, "path", (0, 2), method="explain")
    assert explanation.value == pytest.approx(0.125)


def test_deep_proofs_are_printed_and_drawn(tmp_path: Path):
    length = 600
    context = scallax.Context()
    context.add_program(PATH)
    context.add_facts("edge", [(x, x + 1) for x in range(length)])
    explanation = context.explain("path", (0, length), k=1)
    lines = str(explanation.proofs[0]).splitlines()
    assert len(lines) == 1 + 2 * length
    assert len(lines[length]) - len(lines[length].lstrip()) == 2 * length
    assert explanation.to_dot().count("->") == 2 * length - 1
    context.explain("path", (0, 150), k=1).draw(tmp_path / "proof.png")
    assert (tmp_path / "proof.png").stat().st_size > 1000


def picture_width(length: int) -> float:
    context = scallax.Context()
    context.add_program(PATH)
    context.add_facts("edge", [(x, x + 1) for x in range(100, 100 + length)])
    svg = context.explain("path", (100, 100 + length), k=1)._repr_svg_()
    return float(re.search(r'width="([0-9.]+)pt"', str(svg))[1])


def test_a_picture_of_a_chain_is_no_wider_than_its_labels():
    assert picture_width(3) == picture_width(30)


def test_what_a_proof_uses_twice_is_one_node():
    program = f"rel edge = {{(0, 1), (1, 2), (2, 3)}}\n{PATH}\nrel twice() = path(0, 3), path(1, 3), path(0, 2)"
    reasoner = scallax.Reasoner(program, provenance="unit", output_relation="twice")
    dot = reasoner.explain("twice", ()).to_dot()
    assert dot.count('[label="path(0, 2)"]') == 1
    assert dot.count('[label="rel twice() = path(0, 3), path(1, 3), path(0, 2)"]') == 1


@pytest.mark.parametrize(
    ("provenance", "tags", "weights"),
    [
        ("realtropical", (1000.0, 1.5, 700.0), [701.5, 1000.0]),
        ("realtropicalproofs", (1000.0, 1.5, 700.0), [701.5, 1000.0]),
        ("tropical", (1000, 1, 700), [701, 1000]),
        ("natural", (5, 2, 3), [6, 5]),
    ],
)
def test_costs_and_counts_are_weights_of_proofs(provenance: str, tags: tuple, weights: list):
    context = scallax.Context(provenance=provenance)
    context.add_program(f"type edge(x: i32, y: i32)\n{PATH}\nrel last(x) = edge(_, x), not edge(x, _)")
    context.add_facts("edge", [*zip(tags, [(0, 2), (0, 1), (1, 2)], strict=True), (None, (2, 3))])
    explanation = context.explain("path", (0, 3))
    assert [proof.weight for proof in explanation.proofs] == weights
    assert explanation.value == (sum(weights) if provenance == "natural" else weights[0])
    assert f"{tags[1]:g}::edge(0, 1)" in str(explanation)
    assert context.explain("path", (0, 3), k=1).proofs == explanation.proofs[:1]
    assert len(context.explain("last", 3).proofs) == 1
    assert context.explain("last", 2).proofs == ()


def test_any_string_is_printed_on_its_line_and_drawn(tmp_path: Path):
    context = scallax.Context(provenance="topkproofs")
    context.add_relation("s", (str,))
    strings = ["$$", "a$b$c", "two\nlines", "nul\x01", "<&>"]
    context.add_facts("s", [(0.5, (text,)) for text in strings])
    context.add_rule("t(x) = s(x)")
    for text in strings:
        explanation = context.explain("t", (text,))
        assert len(str(explanation).splitlines()) == 5
        xml.dom.minidom.parseString(str(explanation._repr_svg_()))
    context.explain("t", ("$$",)).draw(tmp_path / "PROOF.PNG")
    assert (tmp_path / "PROOF.PNG").exists()


def test_choices_are_named_by_what_is_written():
    context = scallax.Context(provenance="topkproofs")
    context.add_program("rel a = {0.3::1; 0.7::2}\nrel h(x) = x := top<1>(y: a(y))\nrel 0.2::{b(x); c(x)} = a(x)")
    for relation, value in (("h", 2), ("b", 1)):
        (proof,) = context.explain(relation, value).proofs
        assert {fact.relation for fact in proof.facts} == {"a", relation}
        assert all((fact.rule or "").startswith("<program") for fact in proof.facts if fact.relation == relation)


def test_a_proof_that_was_left_out_comes_back_when_one_is_a_part_of_others(monkeypatch):
    monkeypatch.setattr(proof_search, "_MIN_WIDTH", 2)
    # Node 0 has four proofs: facts 0 and 1, facts 0 and 2, fact 3 alone, which is behind these two, and fact 0, a part
    # of the first two.
    literal = literal_operand(np.arange(4))
    left, right = literal[[0, 0, 3, 0]], np.array([literal[1], literal[2], ONE, ONE])
    is_negated = np.zeros(4, bool)
    derivations = Derivations(1, np.zeros(4, np.int64), left, right, is_negated, is_negated)
    weights = np.array([0.9, 0.9, 0.8, 0.5])
    search = proof_search.Search(derivations, np.arange(4), weights, 1 - weights, np.full(4, -1), counts_facts=False)
    found = search.find(0, 2)
    assert [(sorted(proof.literals), proof.weight) for proof in found] == [([0], 0.9), ([3], 0.5)]
