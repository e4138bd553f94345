"""Recorded answers of the reference implementation, and exact answers where the reference is wrong, case by case.

The cases lie in `tests/conformance/`, a file for each area. A case waits if this version does not evaluate its
provenance or a construct of its program; a case of `DIFFERENT` is answered differently on purpose. Many programs are
recorded with every provenance: each run answers a cross-section of these, `make nightly` all. The table of all areas is
printed after the tests.
"""

import contextlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torch_bridge
from scallax.circuits.compile import analyse_program
from scallax.errors import ScallaxError, Source, UnsupportedError
from scallax.facts.mappings import InputMapping
from scallax.provenance.traits import provenance_names
from scallax.reasoner.reasoner import Reasoner

CASES = Path(__file__).parent / "conformance"
AREAS = sorted(path.relative_to(CASES).as_posix() for path in CASES.rglob("*.json"))

# How many cases of each area are answered as recorded. A change may raise these, never lower them.
LEAST_PASSING = {
    "adt.json": 13,
    "aggregation.json": 56,
    "casts.json": 18,
    "demand.json": 7,
    "disputed/cases.json": 39,
    "errors.json": 63,
    "exclusive.json": 16,
    "expressions.json": 34,
    "facts.json": 19,
    "forward.json": 50,
    "functions.json": 19,
    "heads.json": 4,
    "negation.json": 12,
    "predicates.json": 11,
    "prob_aggregation.json": 75,
    "prob_negation.json": 39,
    "probability.json": 64,
    "queries.json": 5,
    "recursion.json": 18,
    "rule_tags.json": 11,
    "rules.json": 22,
    "semirings.json": 21,
    "tasks.json": 27,
    "types.json": 11,
    "values.json": 29,
}

# Answered differently on purpose: see `docs/differences.md`.
DIFFERENT = {
    "zero_and_one_probs__diffaddmultprob": "a fact of probability 0 has a derivative: its tuples are not discarded",
    "agg_count__diffnandmultprob": "a count is built up element by element, and noisy or does not distribute",
    "negation_and_count__diffnandmultprob": "a count is built up element by element, and noisy or does not distribute",
    "colouring_valid__diffaddmultprob": "what does not hold has a derivative: its tuples are not discarded",
    # Enumeration of the readings gives 0.019605 for 2.0 of the first sample, recorded is 0.001508.
    "hand_formula__diffaddmultprob": "a tuple that is found again in a later round counts with all its derivations",
    "forward_two_disjunctive_mappings": "recorded are exact values; default counting is a little below",
}

# Recorded in float64, computed here in float32.
TAG_TOLERANCE = 1e-5
VALUE_TOLERANCE = 1e-5


def assert_close(actual, wanted, **options) -> None:
    np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5, **options)


# Batches of equal size share compilations.
LEAST_ROWS = 16

# One in so many of a program's provenances and `k` is answered in every run.
STRIDE = 16


@dataclass(frozen=True)
class Expected:
    """One output tuple with its tag and its derivatives by the index of the fact, where recorded."""

    values: tuple
    tag: float
    gradient: dict[int, float] | None


@dataclass(frozen=True)
class Given:
    """The facts of a case: constants, and those with a gradient as inputs, with the index of each entry's fact."""

    facts: dict[str, list] = field(default_factory=dict)
    mappings: dict[str, InputMapping] = field(default_factory=dict)
    inputs: dict[str, np.ndarray] = field(default_factory=dict)
    indices: dict[str, list[int]] = field(default_factory=dict)


def read_cases(area: str) -> list[dict]:
    return json.loads((CASES / area).read_text())


def cross_section(cases: Sequence[dict]) -> list[dict]:
    """Every program, with the provenances whose turn it is; every provenance; and all that is answered differently."""
    programs: dict[str, list[dict]] = {}
    for case in cases:
        programs.setdefault(case["name"].partition("__")[0], []).append(case)
    chosen = [
        case for turn, alike in enumerate(programs.values()) for case in alike[turn % min(len(alike), STRIDE) :: STRIDE]
    ]
    names = {case["name"] for case in chosen} | DIFFERENT.keys()
    provenances = {case["provenance"] for case in cases if case["name"] in names}
    for case in cases:
        if case["provenance"] not in provenances:
            names.add(case["name"])
            provenances.add(case["provenance"])
    return [case for case in cases if case["name"] in names]


def check_cases(area: str, cases: Sequence[dict], left_out: int, record_property) -> None:
    """All cases are answered as recorded, and as many as ever, if those left out are."""
    outcomes: Counter[str] = Counter(night=left_out)
    failures = []
    for case in cases:
        try:
            outcome = answer(case)
        except AssertionError as error:
            outcome = "fail"
            failures.append(f"{case['name']} ({case['provenance']}): {error}")
        except ScallaxError as error:
            outcome = "fail"
            failures.append(f"{case['name']} ({case['provenance']}): {type(error).__name__}: {error}")
        outcomes[outcome] += 1
    record_property("conformance", (area, dict(outcomes)))
    assert not failures, "\n\n".join(failures)
    assert outcomes["pass"] >= LEAST_PASSING.get(area, 0) - left_out, f"{outcomes['pass']} pass"


# An output mapping may list tuples that nothing derives: their recorded tag is 0.
@pytest.mark.filterwarnings("ignore:no rule can derive")
@pytest.mark.parametrize("area", AREAS)
def test_area(area: str, record_property):
    cases = read_cases(area)
    chosen = cross_section(cases)
    check_cases(area, chosen, len(cases) - len(chosen), record_property)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:no rule can derive")
@pytest.mark.parametrize(
    "area", [area for area in AREAS if len(cross_section(read_cases(area))) < len(read_cases(area))]
)
def test_whole_area(area: str, record_property):
    check_cases(area, read_cases(area), 0, record_property)


@pytest.mark.filterwarnings("ignore:no rule can derive")
@pytest.mark.parametrize("area", AREAS)
def test_whole_area_at_once(area: str):
    """NumPy compiles nothing: all programs that are run are answered in every run."""
    for case in read_cases(area):
        answers = case.get("expected", case.get("true_expected", {})).values()
        is_known = case["name"] not in DIFFERENT and case["provenance"] in provenance_names()
        if case["kind"] == "run" and is_known and not any(isinstance(answer, str) for answer in answers):
            with contextlib.suppress(UnsupportedError):
                check_run(case, "numpy")


@pytest.mark.parametrize("area", AREAS)
def test_a_cross_section_has_every_program_and_provenance(area: str):
    cases = read_cases(area)
    chosen = cross_section(cases)
    for kind in (lambda case: case["provenance"], lambda case: case["name"].partition("__")[0]):
        assert set(map(kind, chosen)) == set(map(kind, cases))
    assert not {case["name"] for case in cases} & DIFFERENT.keys() - {case["name"] for case in chosen}


def answer(case: dict) -> str:
    """`pass`, `wait` or `differ`; an error where the answer is wrong."""
    if case["name"] in DIFFERENT:
        return "differ"
    if case["provenance"] not in provenance_names():
        return "wait"
    checks = {"run": check_run, "forward": check_forward, "error": check_error}
    answers = case.get("true_expected", {}).values()
    is_refused = any(isinstance(answer, str) for answer in answers)
    try:
        check_error(case) if is_refused else checks[case["kind"]](case)
    except UnsupportedError:
        return "wait"
    return "pass"


def check_run(case: dict, executor: str = "jax") -> None:
    """The tuples of every query, their tags and, where JAX computes, their gradients are those recorded."""
    expected = {name: read_expected(rows) for name, rows in case.get("expected", case.get("true_expected")).items()}
    given = read_facts(case)
    reasoner = Reasoner(
        case["program"],
        output_mappings=dict.fromkeys(case["queries"]),
        facts=given.facts,
        input_mappings=given.mappings,
        executor=executor,
        **read_options(case),
    )
    rows = 1
    if given.inputs and executor == "jax":
        rows = max(LEAST_ROWS, 1 << (sum(len(o.tuples) for o in reasoner.compiled_program.outputs) - 1).bit_length())
    arrays = reasoner.evaluator.layout.order(
        {name: np.broadcast_to(values, (rows, *values.shape)) for name, values in given.inputs.items()}
    )
    gradients = None
    if executor == "numpy":
        values = reasoner.evaluator.evaluate(arrays)
    else:
        values, residuals = reasoner.evaluator.forward(arrays)
    if given.inputs and executor == "jax" and not reasoner.evaluator.provenance.traits.is_discrete:
        # Row i of the batch gives the gradient of output i.
        cotangent = np.eye(rows, values.shape[1], dtype=np.float32)
        pulled, _ = reasoner.evaluator.pull_back(arrays, residuals, cotangent)
        gradients = {
            index: np.asarray(gradient).reshape(rows, -1)[:, entry]
            for name, gradient in zip(reasoner.evaluator.layout.mappings, pulled, strict=True)
            for entry, index in enumerate(given.indices[name])
        }
    row = np.asarray(values)[0]
    for output in reasoner.compiled_program.outputs:
        found = list(enumerate(output.tuples, start=output.start))
        for wanted in expected[output.relation]:
            place = find(wanted, found, row, output.relation)
            if place is not None and wanted.gradient is not None and gradients is not None:
                check_gradient(wanted, {index: column[place] for index, column in gradients.items()})
        extra = {values: float(row[place]) for place, values in found if abs(row[place]) > TAG_TOLERANCE}
        assert not extra, f"`{output.relation}` has the extra tuples {extra}"


def find(wanted: Expected, found: list[tuple[int, tuple]], tags: np.ndarray, relation: str) -> int | None:
    """The place of a tuple that was wanted, which is removed from `found`; None for an absent tuple of tag 0."""
    near = [(place, values) for place, values in found if is_close(wanted.values, values)]
    if not near and abs(wanted.tag) <= TAG_TOLERANCE:
        return None
    assert near, f"`{relation}` lacks {wanted.values} of tag {wanted.tag}; it has {[values for _, values in found]}"
    place = near[0][0]
    found.remove(near[0])
    assert tags[place] == pytest.approx(wanted.tag, abs=TAG_TOLERANCE, rel=TAG_TOLERANCE), (
        f"`{relation}{wanted.values}` has tag {tags[place]}, not {wanted.tag}"
    )
    return place


def check_gradient(wanted: Expected, gradient: dict[int, float]) -> None:
    assert wanted.gradient is not None
    for index, actual in gradient.items():
        assert actual == pytest.approx(wanted.gradient.get(index, 0.0), abs=1e-5, rel=1e-4), (
            f"{wanted.values}: derivatives are {gradient}, not {wanted.gradient}"
        )


def check_forward(case: dict) -> None:
    """The values of a module's call, and the gradient of a linear functional of them, are those recorded."""
    form = case["forward"]
    expected = case["expected"] if "expected" in case else case["true_expected"]
    constructor = {
        name: value
        for name, value in form.items()
        if name not in ("inputs", "input_mappings", "output_mapping", "output_mappings", "mode", "disjunctions")
    }
    for name, mappings in form.items():
        if name in ("input_mappings", "output_mappings"):
            constructor[name] = {relation: read_mapping(mapping) for relation, mapping in mappings.items()}
        elif name == "output_mapping":
            constructor[name] = read_mapping(mappings)
    module = torch_bridge.Module(case["program"], **constructor, **read_options(case))
    module.train(form.get("mode") != "eval")
    calls = {"disjunctions": form["disjunctions"]} if "disjunctions" in form else {}
    untagged = form.get("non_probabilistic", ())
    leaves: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    for name, value in form["inputs"].items():
        if "tensor" in value:
            inputs[name] = leaves[name] = torch.tensor(value["tensor"], requires_grad=True)
        elif name in untagged:
            inputs[name] = [[read_tuple(values) for values in sample] for sample in value["facts"]]
        else:
            # Every tag is a leaf of its own.
            leaves[name] = [[torch.tensor(tag, requires_grad=True) for tag, _ in sample] for sample in value["facts"]]
            inputs[name] = [
                [(tag, read_tuple(values)) for tag, (_, values) in zip(tags, sample, strict=True)]
                for tags, sample in zip(leaves[name], value["facts"], strict=True)
            ]
    results = module(**inputs, **calls)
    results = results if isinstance(results, dict) else {"": results}
    functional = torch.zeros(())
    for name, wanted in expected["outputs"].items():
        result = results[name]
        assert list(result.shape) == wanted["shape"]
        assert_close(result.detach().numpy(), wanted["values"])
        if "weights" in wanted:
            functional = functional + (result * torch.tensor(wanted["weights"])).sum()
    if "gradients" in expected:
        assert_close(functional.item(), expected["functional"])
        functional.backward()
        for name, gradient in expected["gradients"].items():
            for leaf, wanted in (
                [(leaves[name], gradient)] if "tensor" in form["inputs"][name] else pair(leaves[name], gradient)
            ):
                actual = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
                assert_close(actual.numpy(), wanted, err_msg=f"gradient of {name}")


def pair(leaves: list[list[torch.Tensor]], gradients: list[list[float]]) -> list[tuple[torch.Tensor, float]]:
    """The tag of each fact with its derivative."""
    rows = zip(leaves, gradients, strict=True)
    return [(leaf, gradient) for row in rows for leaf, gradient in zip(*row, strict=True)]


def check_error(case: dict) -> None:
    """The program, or its facts, is refused."""
    try:
        program = analyse_program([Source(case["program"])])
        relations = [relation.name for relation in program.relations if not relation.hidden]
        facts = {name: [read_tuple(values) for _, values in rows] for name, rows in case.get("facts", {}).items()}
        Reasoner(case["program"], provenance="unit", facts=facts, output_mappings=dict.fromkeys(relations))
    except UnsupportedError:
        raise
    except ScallaxError:
        return
    assert case.get("advisory"), f"it is accepted, but {case.get('reason', 'is wrong')}:\n{case['program']}"


def read_options(case: dict) -> dict[str, Any]:
    options = {
        name: value
        for name, value in case["options"].items()
        if name in ("wmc_with_disjunctions", "iter_limit", "early_discard")
    }
    # Recorded are answers in which a proof that contains another takes a place.
    return {
        "provenance": case["provenance"],
        "absorb": False,
        **({} if case["k"] is None else {"k": case["k"]}),
        **options,
    }


def read_facts(case: dict) -> Given:
    """Tagged facts of differentiable provenances, and exclusive ones, are inputs; all others are constants."""
    given = Given()
    start = 0
    for relation, rows in case.get("facts", {}).items():
        tuples = [(tag, read_tuple(values)) for tag, values in rows]
        groups = case.get("disjunctions", {}).get(relation)
        is_input = [tag is not None for tag, _ in tuples]
        if case["provenance"] in ("unit", "proofs"):
            given.facts[relation] = [values for _, values in tuples]
        elif groups is None and not case["provenance"].startswith("diff"):
            given.facts[relation] = tuples
        else:
            if not all(is_input):
                given.facts[relation] = [tuples[i] for i in range(len(tuples)) if not is_input[i]]
            order = np.array(groups if groups is not None else [i for i in range(len(tuples)) if is_input[i]])
            assert order.size == sum(is_input), "exclusive groups that do not cover the relation"
            entries = [[tuples[i][1] for i in group] for group in order] if groups else [tuples[i][1] for i in order]
            given.mappings[relation] = InputMapping(entries, disjunctive_dim=1 if groups else None)
            given.inputs[relation] = np.array([tuples[i][0] for i in order.ravel()], np.float32).reshape(order.shape)
            given.indices[relation] = [start + int(i) for i in order.ravel()]
        start += len(rows)
    return given


def read_expected(rows: Sequence[Mapping]) -> list[Expected]:
    return [
        Expected(
            read_tuple(row["tuple"]),
            1.0 if row["tag"] is None else float(row["tag"]),
            {int(index): value for index, value in row["grad"].items()} if "grad" in row else None,
        )
        for row in rows
    ]


def read_tuple(values: Sequence) -> tuple:
    return tuple(map(read_value, values))


def read_value(value: object):
    match value:
        case {"float": number}:
            return float(number)
        case {"entity": text} | {"char": text} | {"datetime": text} | {"duration": text}:
            return text
        case dict():
            raise UnsupportedError(f"no value of the kind {next(iter(value))}")
        case _:
            return value


def read_mapping(mapping: object):
    match mapping:
        case {"tuple": values}:
            return read_tuple(values)
        case {"range": [start, stop]}:
            return range(start, stop)
        case {"dict": axes}:
            return {int(axis): read_mapping(values) for axis, values in axes.items()}
        case {"mapping": inner, **options}:
            return InputMapping(read_mapping(inner), **options)
        case list():
            return [read_mapping(entry) for entry in mapping]
        case _:
            return read_value(mapping)


def is_close(wanted: tuple, actual: tuple) -> bool:
    return len(wanted) == len(actual) and all(map(is_close_value, wanted, actual))


def is_close_value(wanted, actual) -> bool:
    if isinstance(wanted, float) and isinstance(actual, float):
        both_nan = math.isnan(wanted) and math.isnan(actual)
        return both_nan or math.isclose(wanted, actual, rel_tol=VALUE_TOLERANCE, abs_tol=1e-12)
    return type(wanted) is type(actual) and wanted == actual
