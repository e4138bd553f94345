"""Random programs with tagged rules, choices and evidence against ProbLog, which compiles them in its own way."""

import importlib
import math
import re
from typing import Any

import numpy as np
import pytest

from scallax import Reasoner
from scallax.facts.mappings import InputMapping
from tests.uncertain_programs import UncertainProgram, random_program


def as_problog(program: UncertainProgram, inputs: dict[str, np.ndarray]) -> str:
    """The same program in ProbLog's language, with a query of each derived relation."""
    lines = []
    for name, tuples in program.independent.items():
        lines += [f"{p}::{_fact(name, t)}." for p, t in zip(inputs[name].tolist(), tuples, strict=True)]
    for name, tuples in program.exclusive.items():
        lines.append(
            "; ".join(f"{p}::{_fact(name, t)}" for p, t in zip(inputs[name].tolist(), tuples, strict=True)) + "."
        )
    for line in program.text.splitlines():
        if line.startswith("rel "):
            head, body = line.removeprefix("rel ").strip().split(" = ")
            body = body.replace("not ", "\\+ ").replace("!=", "\\=").replace("<=", "=<")
            text = f"{head.strip('{}')} :- {body}."
            lines.append(re.sub(r"\b[xyz]\b", lambda name: name.group().upper(), text))
    for name in program.derived:
        size = max(line.count(",") for line in re.findall(rf"\b{name}\([^)]*\)", program.text)) + 1
        wild = ", ".join("_" * size)
        # A relation without tuples is none that ProbLog knows.
        lines += [f"{name}({wild}) :- fail.", f"query({name}({wild}))."]
    return "\n".join(lines)


def _fact(name: str, values: tuple) -> str:
    return f"{name}({', '.join(map(str, values))})"


def answers_of(text: str) -> dict[str, float]:
    """ProbLog's probabilities by the text of a query's tuple."""
    problog = importlib.import_module("problog")
    program_of_text = importlib.import_module("problog.program").PrologString
    answers = problog.get_evaluatable().create_from(program_of_text(text)).evaluate()
    return {str(term).replace(" ", ""): p for term, p in answers.items()}


def drawn(number: int) -> tuple[UncertainProgram, dict[str, np.ndarray], np.random.Generator]:
    """A random program without aggregates, and probabilities of its facts."""
    rng = np.random.default_rng([11, number])
    program = random_program(rng, number, aggregates=False)
    inputs = {name: rng.uniform(0.05, 0.95, len(tuples)) for name, tuples in program.independent.items()}
    for name, tuples in program.exclusive.items():
        inputs[name] = rng.dirichlet(np.ones(len(tuples) + 1))[:-1]
    return program, inputs, rng


def reasoner_of(program: UncertainProgram, **options: Any) -> Reasoner:
    mappings = {name: InputMapping(tuples) for name, tuples in program.independent.items()}
    mappings |= {name: InputMapping(tuples, disjunctive=True) for name, tuples in program.exclusive.items()}
    return Reasoner(
        program.text,
        wmc_with_disjunctions=True,
        input_mappings=mappings,
        output_mappings=dict.fromkeys(program.derived),
        executor="numpy",
        **options,
    )


def check(found: dict[str, Any], expected: dict[str, float], number: int) -> None:
    for name, (tuples, values) in found.items():
        for t, p in zip(tuples, np.asarray(values)[0].tolist(), strict=True):
            assert p == pytest.approx(expected.get(_fact(name, t).replace(" ", ""), 0), abs=1e-6), (number, name, t)


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(15))
@pytest.mark.parametrize("provenance", ["exact", "topkproofs"])
def test_random_programs_have_the_probabilities_of_problog(block: int, provenance: str):
    for number in range(20 * block, 20 * block + 20):
        program, inputs, _ = drawn(number)
        expected = answers_of(as_problog(program, inputs))
        given: dict[str, Any] = {name: p[None] for name, p in inputs.items()}
        check(reasoner_of(program, provenance=provenance, k=200)(**given), expected, number)


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(15))
def test_random_programs_with_evidence_have_the_probabilities_of_problog(block: int):
    for number in range(20 * block, 20 * block + 20):
        program, inputs, rng = drawn(number)
        given: dict[str, Any] = {name: p[None] for name, p in inputs.items()}
        before = reasoner_of(program, provenance="exact")(**given)
        open_tuples = [
            (name, t)
            for name, (tuples, values) in before.items()
            for t, p in zip(tuples, np.asarray(values)[0].tolist(), strict=True)
            if 0.01 < p < 0.99
        ]
        seen: dict[str, dict[tuple, float]] = {}
        for place in rng.permutation(len(open_tuples))[:3].tolist():
            name, t = open_tuples[place]
            seen.setdefault(name, {})[t] = float(rng.integers(2))
        mapping = {name: list(of_name) for name, of_name in seen.items()}
        reasoner = reasoner_of(program, provenance="exact", evidence=mapping, on_impossible="zero")
        evidence = {name: np.array([list(of_name.values())], np.float32) for name, of_name in seen.items()}
        if seen and not reasoner.log_evidence(**given, evidence=evidence)[0] > math.log(1e-6):
            continue
        lines = [
            f"evidence({_fact(name, t)}, {str(bool(holds)).lower()})."
            for name, of_name in seen.items()
            for t, holds in of_name.items()
        ]
        expected = answers_of("\n".join([as_problog(program, inputs), *lines]))
        found = reasoner(**given, evidence=evidence) if seen else reasoner(**given)
        check(found, expected, number)
