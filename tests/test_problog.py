"""Random programs with tagged rules and random choices against ProbLog, which compiles them in its own way."""

import importlib
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


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(15))
@pytest.mark.parametrize("provenance", ["exact", "topkproofs"])
def test_random_programs_have_the_probabilities_of_problog(block: int, provenance: str):
    problog = pytest.importorskip("problog", reason="ProbLog is not installed")
    program_of_text = importlib.import_module("problog.program").PrologString
    for number in range(20 * block, 20 * block + 20):
        rng = np.random.default_rng([11, number])
        program = random_program(rng, number, aggregates=False)
        inputs = {name: rng.uniform(0.05, 0.95, len(tuples)) for name, tuples in program.independent.items()}
        for name, tuples in program.exclusive.items():
            inputs[name] = rng.dirichlet(np.ones(len(tuples) + 1))[:-1]
        answers = problog.get_evaluatable().create_from(program_of_text(as_problog(program, inputs))).evaluate()
        expected = {str(term).replace(" ", ""): p for term, p in answers.items()}
        mappings = {name: InputMapping(tuples) for name, tuples in program.independent.items()}
        mappings |= {name: InputMapping(tuples, disjunctive=True) for name, tuples in program.exclusive.items()}
        reasoner = Reasoner(
            program.text,
            provenance=provenance,
            k=200,
            wmc_with_disjunctions=True,
            input_mappings=mappings,
            output_mappings=dict.fromkeys(program.derived),
            executor="numpy",
        )
        given: dict[str, Any] = {name: p[None] for name, p in inputs.items()}
        for name, (tuples, values) in reasoner(**given).items():
            for t, p in zip(tuples, np.asarray(values)[0].tolist(), strict=True):
                assert p == pytest.approx(expected.get(_fact(name, t).replace(" ", ""), 0), abs=1e-6), (number, name, t)
