"""Probabilities given evidence against all possible worlds, in programs and in calls."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_bridge
from scallax import Context, nn
from scallax.errors import InputError, UnsupportedError
from scallax.facts.mappings import InputMapping
from scallax.reasoner.reasoner import Reasoner
from tests.uncertain_programs import KnownProgram, known_program

ALARM = """
rel 0.7::burglary() rel 0.2::earthquake() rel 0.9::both() rel 0.8::one() rel 0.1::other()
rel alarm() = burglary(), earthquake(), both()
rel alarm() = burglary(), not earthquake(), one()
rel alarm() = not burglary(), earthquake(), other()
"""
OUTPUTS: dict[str, Any] = {"burglary": (), "earthquake": (), "alarm": ()}
# By what was observed of the alarm: the probability of a burglary, of an earthquake, and of the alarm.
RIGHT = {1.0: (0.989655, 0.227586, 1.0), 0.0: (0.3, 0.161905, 0.0), math.nan: (0.7, 0.2, 0.58)}
# What keeps all proofs of so small a program, or compiles it, with either executor.
KINDS = [("exact", 1, "numpy"), ("difftopkproofs", 10, "numpy"), ("diffexact", 1, "jax"), ("topkproofs", 10, "jax")]


def one_row(found: dict[str, Any]) -> list[float]:
    return [float(np.asarray(found[name])[0]) for name in OUTPUTS]


@pytest.mark.parametrize(("provenance", "k", "executor"), KINDS)
def test_an_alarm_tells_of_burglary_and_earthquake(provenance: str, k: int, executor: str):
    options: dict[str, Any] = {"provenance": provenance, "k": k, "executor": executor, "output_mappings": OUTPUTS}
    for line, expected in zip(("evidence alarm()", "evidence not alarm()", ""), RIGHT.values(), strict=True):
        np.testing.assert_allclose(one_row(Reasoner(ALARM + line, **options)()), expected, atol=1e-6)
    reasoner = Reasoner(ALARM, evidence={"alarm": None}, **options)
    found = reasoner(evidence={"alarm": list(RIGHT)})
    np.testing.assert_allclose(np.stack([found[name] for name in OUTPUTS], 1), list(RIGHT.values()), atol=1e-6)
    logarithms = np.asarray(reasoner.log_evidence(evidence={"alarm": list(RIGHT)}))
    np.testing.assert_allclose(logarithms, np.log([0.58, 0.42, 1.0]), atol=1e-6)


class Observed:
    """Random programs side by side, and what samples observe of some of their tuples."""

    def __init__(self, seeds: range, num_samples: int):
        self.rng = np.random.default_rng(seeds[0])
        self.known = [known_program(np.random.default_rng(seed), seed, np.float64) for seed in seeds]
        self.tuples: dict[str, list[tuple]] = {}
        self.owners: dict[str, KnownProgram] = {}
        self.always = [self._pick(each) for each in self.known[::2]]
        for each in self.known:
            for relation, values in (self._pick(each), self._pick(each)):
                if values not in self.tuples.setdefault(relation, []):
                    self.tuples[relation].append(values)
                self.owners[relation] = each
        self.lines = [f"evidence {relation}{shown(values)}" for relation, values in self.always]
        cases = np.array([0.0, 1.0, 0.3, math.nan])
        self.seen = {name: self.rng.choice(cases, (num_samples, len(found))) for name, found in self.tuples.items()}
        for name, rows in self.seen.items():
            for sample in range(num_samples):
                if self.likelihoods(self.owners[name], sample).sum() < 1e-6:
                    rows[sample] = math.nan

    def _pick(self, each: KnownProgram) -> tuple[str, tuple]:
        """A derived tuple that holds in some worlds, and not in all of them."""
        open_tuples = [
            (name, values)
            for name in each.program.derived
            for values, worlds in each.tuples[name].items()
            if 0.05 < each.worlds.probability(worlds) < 0.95
        ]
        if not open_tuples:
            (name, found), *_ = each.program.independent.items()
            return name, found[0]
        return open_tuples[int(self.rng.integers(len(open_tuples)))]

    def likelihoods(self, each: KnownProgram, sample: int, chosen: Callable | None = None) -> np.ndarray:
        """The probability of each world of a program together with what the sample observed."""
        found = (chosen or weights)(each)
        facts = each.worlds.facts()

        def holds(relation: str, values: tuple) -> np.ndarray:
            worlds = each.tuples.get(relation, {}).get(values, facts.get(relation, {}).get(values, 0))
            return in_worlds(each, worlds)

        for relation, values in self.always:
            if relation in each.tuples and relation in (*each.program.derived, *each.program.independent):
                found = found * holds(relation, values)
        for relation, tuples in self.tuples.items():
            if self.owners[relation] is each:
                for values, seen in zip(tuples, self.seen[relation][sample], strict=True):
                    if not math.isnan(seen):
                        found = found * np.where(holds(relation, values), seen, 1 - seen)
        return found

    def reasoner(self, **options: Any) -> Reasoner:
        mappings: dict[str, InputMapping] = {}
        for each in self.known:
            mappings |= {name: InputMapping(tuples) for name, tuples in each.program.independent.items()}
            mappings |= {
                name: InputMapping(tuples, disjunctive=True) for name, tuples in each.program.exclusive.items()
            }
        return Reasoner(
            "".join(each.program.text for each in self.known) + "\n".join(self.lines),
            provenance="diffexact",
            input_mappings=mappings,
            output_mappings=dict.fromkeys(name for each in self.known for name in each.program.derived),
            evidence=self.tuples,
            **options,
        )


def shown(values: tuple) -> str:
    return f"({', '.join(map(str, values))})"


def in_worlds(each: KnownProgram, worlds: int) -> np.ndarray:
    """Whether something holds, by world."""
    return np.array([bool(worlds >> number & 1) for number in range(len(each.worlds.chosen))])


def weights(each: KnownProgram, changed: tuple[int, int, float] | None = None) -> np.ndarray:
    """The probabilities of the worlds; one of a choice's facts may have another probability: choice, place, change."""
    found = np.ones(len(each.worlds.chosen))
    for number, choice in enumerate(each.worlds.choices):
        probabilities = np.array(choice.probabilities)
        if changed is not None and changed[0] == number:
            probabilities[changed[1]] += changed[2]
        found = found * np.append(probabilities, 1 - probabilities.sum())[each.worlds.chosen[:, number]]
    return found


def check(seeds: range, num_samples: int) -> None:
    """Values, gradients through the quotient and logarithms are those of the worlds, in float64."""
    observed = Observed(seeds, num_samples)
    reasoner = observed.reasoner()
    inputs = {name: np.tile(p, (num_samples, 1)) for each in observed.known for name, p in each.inputs.items()}
    results = reasoner(**inputs, evidence=observed.seen)
    logarithms = np.zeros(num_samples)
    cotangents = {name: observed.rng.uniform(0.5, 1.5, np.shape(part)) for name, (_, part) in results.items()}

    def total(given: dict[str, Any]) -> Any:
        found = reasoner(**given, evidence=observed.seen)
        return sum((part * cotangents[name]).sum() for name, (_, part) in found.items())

    gradients = jax.grad(total)({name: jnp.asarray(p) for name, p in inputs.items()})
    of_logarithms = jax.grad(lambda given: reasoner.log_evidence(**given, evidence=observed.seen).sum())(
        {name: jnp.asarray(p) for name, p in inputs.items()}
    )
    for each in observed.known:
        own = [name for name in each.program.derived if name in results]
        holds = {
            name: np.array([in_worlds(each, each.tuples[name].get(values, 0)) for values in results[name][0]])
            for name in own
        }
        for sample in range(num_samples):
            likelihoods = observed.likelihoods(each, sample)
            logarithms[sample] += math.log(likelihoods.sum())
            for name in own:
                expected = holds[name].reshape(-1, len(likelihoods)) @ likelihoods / likelihoods.sum()
                np.testing.assert_allclose(np.asarray(results[name][1])[sample], expected, rtol=1e-9, atol=1e-12)
            start = dict.fromkeys(each.inputs, 0)
            for number, choice in enumerate(each.worlds.choices):
                fact = choice.facts[0][0]
                for place in range(len(choice.facts) if fact in start else 0):
                    # Differences over 2e-5 in float64: their error is below 1e-8 of the third derivatives.
                    sums, logs = [], []
                    for change in (1e-5, -1e-5):
                        changed = (number, place, change)
                        near = observed.likelihoods(each, sample, lambda each, changed=changed: weights(each, changed))
                        logs.append(math.log(near.sum()))
                        parts = [cotangents[n][sample] @ (holds[n].reshape(-1, len(near)) @ near) for n in own]
                        sums.append(sum(parts) / near.sum())
                    where = sample, start[fact] + place
                    for actual, (above, below) in ((gradients, sums), (of_logarithms, logs)):
                        expected = (above - below) / 2e-5
                        assert abs(float(actual[fact][where]) - expected) <= 1e-4 * max(1, abs(expected)), fact
                start[fact] = start.get(fact, 0) + len(choice.facts)
    np.testing.assert_allclose(np.asarray(reasoner.log_evidence(**inputs, evidence=observed.seen)), logarithms)


def test_values_and_gradients_are_those_of_the_worlds():
    with jax.enable_x64(True):
        check(range(6), 3)


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(1, 20))
def test_values_and_gradients_of_many_programs(block: int):
    with jax.enable_x64(True):
        check(range(10 * block, 10 * block + 10), 4)
