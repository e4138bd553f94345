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
from scallax.facts.mappings import InputMapping, show_value
from scallax.reasoner.reasoner import Reasoner
from tests.nightly import with_rest_at_night
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
# Provenances that keep all proofs of so small a program, or compile it, with either executor.
KINDS = [("exact", 1, "numpy"), ("difftopkproofs", 10, "numpy"), ("diffexact", 1, "jax"), ("topkproofs", 10, "jax")]


def one_row(found: dict[str, Any]) -> list[float]:
    return [float(np.asarray(found[name])[0]) for name in OUTPUTS]


@pytest.mark.parametrize(("provenance", "k", "executor"), with_rest_at_night(KINDS, KINDS[:3]))
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
    return f"({', '.join(map(show_value, values))})"


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
    inputs: dict[str, Any] = {
        name: np.tile(p, (num_samples, 1)) for each in observed.known for name, p in each.inputs.items()
    }
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
                for place in range(len(choice.facts) if fact in each.inputs else 0):
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
        check(range(4), 2)


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(1, 20))
def test_values_and_gradients_of_many_programs(block: int):
    with jax.enable_x64(True):
        check(range(10 * block, 10 * block + 10), 4)


# Two alarms that share what sets them off.
HOUSES = """
type burglary(house: i32), earthquake(house: i32)
rel 0.9::both() rel 0.8::one() rel 0.1::other()
rel alarm(h) = burglary(h), earthquake(h), both()
rel alarm(h) = burglary(h), not earthquake(h), one()
rel alarm(h) = not burglary(h), earthquake(h), other()
"""
GIVEN: dict[str, Any] = {
    "burglary": np.array([[0.7, 0.6], [0.5, 0.4]]),
    "earthquake": np.array([[0.2, 0.1], [0.3, 0.6]]),
}
SEEN = {"alarm": np.array([[1.0, math.nan], [0.0, 0.3]])}


def houses(**options: Any) -> Reasoner:
    options = {"provenance": "exact", "output_mappings": dict.fromkeys((*GIVEN, "alarm"), range(2)), **options}
    mappings = dict.fromkeys(GIVEN, range(2))
    return Reasoner(HOUSES, input_mappings=mappings, evidence={"alarm": range(2)}, **options)


def as_facts(values: np.ndarray) -> list:
    return [[(p, (house,)) for house, p in enumerate(row)] for row in values.tolist()]


def test_facts_of_samples_are_answered_as_arrays_are():
    reasoner = houses(executor="numpy")
    expected = reasoner(**GIVEN, evidence=SEEN)
    logarithms = reasoner.log_evidence(**GIVEN, evidence=SEEN)
    facts: dict[str, Any] = {name: as_facts(values) for name, values in GIVEN.items()}
    for given in (facts, {**GIVEN, "burglary": facts["burglary"]}):
        found = reasoner(**given, evidence=SEEN)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(reasoner.log_evidence(**given, evidence=SEEN), logarithms, rtol=1e-6)
    # The outputs are as they are where nothing was observed.
    plain = Reasoner(HOUSES, provenance="exact", input_mappings=dict.fromkeys(GIVEN, range(2)), output_relation="alarm")
    np.testing.assert_allclose(reasoner(**facts)["alarm"], plain(**GIVEN)[1], rtol=1e-6)


def test_frameworks_agree():
    reasoner = houses()
    given: dict[str, Any] = {name: jnp.asarray(values, jnp.float32) for name, values in GIVEN.items()}
    expected = reasoner(**given, evidence=SEEN)
    logarithms, gradients = jax.value_and_grad(lambda given: reasoner.log_evidence(**given, evidence=SEEN).sum())(given)
    module = torch_bridge.Module.from_reasoner(reasoner)
    tensors: dict[str, Any] = {
        name: torch.tensor(values, dtype=torch.float32, requires_grad=True) for name, values in GIVEN.items()
    }
    found = module(**tensors, evidence={"alarm": torch.tensor(SEEN["alarm"], dtype=torch.float32)})
    of_facts: dict[str, Any] = {
        name: [[(p, (house,)) for house, p in enumerate(row)] for row in t] for name, t in tensors.items()
    }
    for each in (tensors, of_facts):
        total = module.log_evidence(**each, evidence=SEEN).sum()
        assert total.item() == pytest.approx(float(logarithms), rel=1e-6)
        total.backward()
    flax = nn.Reasoner(reasoner)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].detach(), values, rtol=1e-6)
        np.testing.assert_allclose(flax(**given, evidence=SEEN)[name], values, rtol=1e-6)
    for name, tensor in tensors.items():
        assert tensor.grad is not None
        np.testing.assert_allclose(tensor.grad, 2 * gradients[name], rtol=1e-5, atol=1e-6)
    assert float(flax.log_evidence(**given, evidence=SEEN).sum()) == pytest.approx(float(logarithms), rel=1e-6)


def test_parameters_learn_from_evidence_alone():
    options: dict[str, Any] = {"provenance": "exact", "trainable": ["one"], "output_mappings": {}}
    reasoner = Reasoner(ALARM, evidence={"alarm": None}, **options)
    seen = np.array([1.0, 0.0, math.nan])
    for number, derivative in enumerate((1 / 0.58, -1 / 0.42, 0.0)):
        found = jax.grad(lambda p, row=seen[number]: reasoner.log_evidence(p, evidence={"alarm": [row]})[0])
        # By the logit of 0.8: a burglary alone has the probability 0.7 * 0.8.
        expected = 0.7 * 0.8 * 0.8 * 0.2 * derivative
        np.testing.assert_allclose(found(reasoner.parameters)["one.facts"], [expected], rtol=1e-5, atol=1e-7)


@pytest.mark.nightly
def test_graphs_of_torch_hold_evidence():
    module = torch_bridge.Module.from_reasoner(houses())
    tensors: dict[str, Any] = {name: torch.tensor(values, dtype=torch.float32) for name, values in GIVEN.items()}
    seen = {"alarm": torch.tensor(SEEN["alarm"], dtype=torch.float32)}
    expected = module(**tensors, evidence=seen)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**tensors, evidence=seen), expected)
    exported = torch.export.export(module, (), {**tensors, "evidence": seen})
    torch.testing.assert_close(exported.module()(**tensors, evidence=seen), expected)


@pytest.mark.parametrize("k", [1, 3])
def test_few_proofs_give_probabilities_of_at_most_one(k: int):
    found = houses(provenance="difftopkproofs", k=k, executor="numpy")(**GIVEN, evidence=SEEN)
    exact = houses(executor="numpy")(**GIVEN, evidence=SEEN)
    for name, values in found.items():
        assert ((values >= 0) & (values <= 1)).all(), name
    # A tuple that was observed to hold, holds; one that was observed not to, does not.
    assert [found["alarm"][0, 0], found["alarm"][1, 0]] == [exact["alarm"][0, 0], 0] == [1, 0]


def test_impossible_evidence_names_the_sample_or_gives_zero():
    given: dict[str, Any] = {**GIVEN, "burglary": np.array([[0.7, 0.6], [0.0, 0.0]]), "earthquake": np.zeros((2, 2))}
    seen = {"alarm": [[True, None], [None, True]]}
    facts: dict[str, Any] = {name: as_facts(values) for name, values in given.items()}
    for executor in ("numpy", "jax"):
        for inputs in (given, facts):
            with pytest.raises(InputError, match="observed in sample 1 has the probability 0"):
                houses(executor=executor)(**inputs, evidence=seen)
    module = torch_bridge.Module.from_reasoner(houses())
    with pytest.raises(InputError, match="observed in sample 1 has the probability 0"):
        module(**{name: torch.tensor(values, dtype=torch.float32) for name, values in given.items()}, evidence=seen)
    reasoner = houses(on_impossible="zero")
    found = reasoner(**given, evidence=seen)
    assert found["burglary"][1].tolist() == [0, 0]
    assert reasoner.log_evidence(**given, evidence=seen)[1] == -math.inf
    arrays: dict[str, Any] = {name: jnp.asarray(values, jnp.float32) for name, values in given.items()}
    # A function that is compiled cannot raise.
    for function in (reasoner, houses()):
        jitted = jax.jit(lambda arrays, function=function: function(**arrays, evidence=seen)["burglary"])(arrays)
        np.testing.assert_array_equal(jitted, found["burglary"])
    gradients = jax.grad(lambda arrays: sum(part.sum() for part in reasoner(**arrays, evidence=seen).values()))(arrays)
    of_logarithms = jax.grad(lambda arrays: reasoner.log_evidence(**arrays, evidence=seen).sum())(arrays)
    for name in GIVEN:
        assert jnp.isfinite(gradients[name]).all()
        assert not gradients[name][1].any()
        assert jnp.isfinite(of_logarithms[name]).all()


def test_evidence_of_small_probability_has_finite_gradients():
    reasoner = houses()
    given: dict[str, Any] = {name: jnp.full((1, 2), 1e-30) for name in GIVEN}
    seen = {"alarm": [[1.0, math.nan]]}
    burglary = reasoner(**given, evidence=seen)["burglary"][0, 0]
    # One of the two, with the same probability, set it off: with 0.8 to 0.1.
    assert burglary == pytest.approx(8 / 9, rel=1e-6)
    gradients = jax.grad(lambda given: reasoner(**given, evidence=seen)["burglary"][0, 0])(given)
    assert gradients["burglary"][0, 0] == pytest.approx(8 / 81 * 1e30, rel=1e-5)


def test_a_constraint_holds_in_every_sample():
    program = "type edge(i32, i32) rel path(x, y) = edge(x, y) or path(x, z) and edge(z, y) evidence path(0, 2)"
    edges = [(0, 1), (1, 2), (0, 2)]
    reasoner = Reasoner(
        program, provenance="exact", input_mappings={"edge": edges}, output_mapping=("edge", edges), executor="numpy"
    )
    found = reasoner(edge=np.array([[0.5, 0.5, 0.5], [0.2, 1.0, 0.0]]))
    # Five of eight worlds connect 0 with 2; without the third edge it takes both of the others.
    np.testing.assert_allclose(found, [[0.6, 0.6, 0.8], [1, 1, 0]], atol=1e-6)


def test_a_context_is_given_evidence():
    context = Context("exact")
    context.add_program(ALARM)
    context.run()
    before = context.clone()
    context.add_item("evidence alarm()")
    context.run()
    ((given, _),) = context.relation("burglary")
    assert given == pytest.approx(RIGHT[1.0][0], abs=1e-6)
    before.run()
    assert next(iter(before.relation("burglary")))[0] == pytest.approx(0.7)
    context.add_item("evidence not both()")
    context.run()
    # Each of one() and other() is seen or not: 0.7 * 0.8 * 0.8 against 0.3 * 0.2 * 0.1.
    assert next(iter(context.relation("burglary")))[0] == pytest.approx(0.448 / 0.454, rel=1e-5)


def test_explanations_name_the_evidence():
    reasoner = Reasoner(
        ALARM + "evidence alarm()", provenance="exact", output_relation="burglary", evidence={"both": None}
    )
    text = str(reasoner.explain("burglary", (), {"evidence": {"both": [0.0]}}))
    assert text.startswith("burglary(): 0.986784, given alarm(), not both()")


@pytest.mark.parametrize("provenance", ["unit", "minmaxprob", "diffaddmultprob", "proofs"])
def test_other_provenances_refuse_evidence(provenance: str):
    with pytest.raises(UnsupportedError, match=f"`{provenance}` has no probabilities given evidence"):
        Reasoner("rel a(1) evidence a(1)", provenance=provenance, output_relation="a")


def test_what_is_wrong_with_evidence_is_told():
    reasoner = houses(executor="numpy")
    for evidence, message in (
        ({"alarms": SEEN["alarm"]}, "`evidence` names `alarms`"),
        ({"alarm": [[1], [0, 1]]}, "`evidence` of `alarm` is no array"),
        ({"alarm": np.zeros((2, 3))}, "`evidence of alarm` has shape"),
        ({"alarm": np.full((2, 2), np.inf)}, "`evidence of alarm` is inf in sample 0"),
    ):
        with pytest.raises(InputError, match=message):
            reasoner(**GIVEN, evidence=evidence)
    with pytest.raises(InputError, match="there is no evidence"):
        Reasoner(ALARM, provenance="exact", output_relation="alarm").log_evidence()


def test_a_relation_may_be_named_evidence():
    program = "type evidence(i32) rel found(x) = evidence(x) evidence evidence(1) query evidence query found"
    reasoner = Reasoner(program, provenance="exact", input_mappings={"evidence": range(2)}, executor="numpy")
    found = reasoner(evidence=np.array([[0.5, 0.25]]))
    assert found["evidence"][1].tolist() == [[0.5, 1.0]]
