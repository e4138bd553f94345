"""Most probable worlds and draws against all possible worlds."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torch_bridge
from scallax import Context, Reasoner, nn
from scallax.__main__ import main
from scallax.circuits.knowledge.worlds import SearchLimitError, compile_condition, decide
from scallax.errors import InputError, UnsupportedError
from scallax.facts.mappings import InputMapping
from scallax.grounding.derivations import ONE, Derivations, Literals
from scallax.reasoner.worlds import World
from tests.uncertain_programs import KnownProgram, known_program

ALARM = """
rel 0.1::burglary()
rel 0.2::quake()
rel alarm() = burglary() or quake()
rel person = {"mary", "john"}
rel 0.9::calls(x) = alarm(), person(x)
rel {0.3::red(x); 0.5::blue(x)} = person(x)
"""


def alarm(**options) -> Reasoner:
    return Reasoner(ALARM, provenance="exact", output_mappings=dict.fromkeys(["calls", "red", "blue"]), **options)


def truth(world: World) -> dict[str, bool]:
    return {f"{fact.relation}{fact.values}": not fact.is_negated for fact in world.facts}


def test_the_most_probable_world_is_that_of_hand_counting():
    (world,) = alarm().most_probable(holds={"calls": ["mary"]}, fails={"calls": ["john"]})
    assert world.log_probability == pytest.approx(math.log(0.9 * 0.2 * 0.9 * 0.1 * 0.5 * 0.5))
    held = [name for name, holds in truth(world).items() if holds]
    assert sorted(held) == ["blue('john',)", "blue('mary',)", "calls('mary',)", "quake()"]
    # None of the two colors is less likely than blue, but not than red.
    (world,) = alarm().most_probable(fails={"blue": ["mary", "john"]})
    assert world.log_probability == pytest.approx(math.log(0.9 * 0.8 * 0.9 * 0.9 * 0.3 * 0.3))


def test_a_choice_is_decided_whatever_the_others_are():
    # Alone, both are less likely than not; as causes of what is heard, the quake is likelier than not.
    (world,) = alarm().most_probable(holds={"calls": "mary"}, decide=["burglary"])
    assert truth(world) == {"burglary()": False}
    assert world.log_probability == pytest.approx(math.log(0.9 * 0.2 * 0.9))
    (world,) = alarm().most_probable(holds={"calls": "mary"}, decide=["burglary", "quake", "red"])
    assert world.log_probability == pytest.approx(math.log(0.9 * 0.2 * 0.9 * 0.5 * 0.5))


def asked_reasoner(known: KnownProgram) -> Reasoner:
    mappings = {name: InputMapping(tuples) for name, tuples in known.program.independent.items()}
    mappings |= {name: InputMapping(tuples, disjunctive=True) for name, tuples in known.program.exclusive.items()}
    outputs = dict.fromkeys(known.program.derived)
    return Reasoner(known.program.text, provenance="difftopkproofs", input_mappings=mappings, output_mappings=outputs)


def random_queries(number: int):
    """A random program, its reasoner and inputs, and some tuples that must hold, or fail, with the worlds of that."""
    rng = np.random.default_rng([5, number])
    known = known_program(rng, number, np.float64)
    probabilities = np.array([known.worlds.probability(1 << w) for w in range(len(known.worlds.chosen))])
    tuples = [(name, t) for name in known.program.derived for t in known.tuples[name]]
    reasoner, inputs = asked_reasoner(known), {name: p[None] for name, p in known.inputs.items()}
    for place in rng.permutation(len(tuples))[:4].tolist():
        name, values = tuples[place]
        worlds = known.tuples[name][values]
        for asked, where in (("holds", worlds), ("fails", known.worlds.everywhere & ~worlds)):
            is_held = np.array([where >> w & 1 for w in range(len(probabilities))], bool)
            if probabilities[is_held].sum() > 0:
                query: dict[str, Any] = {asked: {name: [values]}}
                yield known, reasoner, inputs, query, np.where(is_held, probabilities, 0)


def fact_worlds(known: KnownProgram) -> dict[str, np.ndarray]:
    """The worlds in which each input fact holds, by its text."""
    found = {}
    for number, choice in enumerate(known.worlds.choices):
        for place, (name, values) in enumerate(choice.facts):
            if name in known.inputs:
                found[f"{name}{values}"] = known.worlds.chosen[:, number] == place
    return found


NUMBERS = [*range(3), *(pytest.param(number, marks=pytest.mark.nightly) for number in range(3, 60))]


@pytest.mark.parametrize("number", NUMBERS)
def test_most_probable_worlds_are_the_best_of_all(number: int):
    for known, reasoner, inputs, query, weights in random_queries(number):
        (world,) = reasoner.most_probable(inputs, **query)
        assert world.log_probability == pytest.approx(math.log(weights.max()), abs=1e-6)
        # Its facts are those of a world as probable.
        has = np.ones(len(weights), bool)
        for name, where in fact_worlds(known).items():
            has &= where == truth(world)[name]
        assert weights[has].max() == pytest.approx(weights.max())


@pytest.mark.parametrize("number", NUMBERS)
def test_decided_facts_are_most_probable_whatever_the_others_are(number: int):
    for known, reasoner, inputs, query, weights in random_queries(number):
        decided = [f"f_{number}", f"c_{number}"]
        (world,) = reasoner.most_probable(inputs, decide=decided, **query)
        where = [worlds for name, worlds in fact_worlds(known).items() if name.split("(")[0] in decided]
        _, groups = np.unique(np.stack(where), axis=1, return_inverse=True)
        sums = np.bincount(groups.reshape(-1), weights=weights)
        assert world.log_probability == pytest.approx(math.log(sums.max()), abs=1e-6)


@pytest.mark.parametrize("number", NUMBERS)
def test_draws_are_as_frequent_as_probable(number: int):
    count = 2000
    for known, reasoner, inputs, query, weights in random_queries(number):
        (draws,) = reasoner.sample(inputs, count, key=3, **query)
        assert draws.log_given == pytest.approx(math.log(weights.sum()), abs=1e-6)
        names = {f"{fact.relation}{fact.values}": place for place, fact in enumerate(draws.facts)}
        for name, where in fact_worlds(known).items():
            p = weights[where].sum() / weights.sum()
            # Five standard deviations of a frequency: one of a million is further away.
            bound = 5 * math.sqrt(max(p * (1 - p), 0) / count) + 1e-9
            assert abs(draws.frequencies()[names[name]] - p) <= bound, name


def test_draws_are_of_the_key_and_of_each_sample():
    reasoner = Reasoner(
        "rel b(x) = a(x)", provenance="exact", input_mappings={"a": [0, 1]}, output_mapping=("b", [0, 1])
    )
    inputs = {"a": np.array([[0.5, 0.25], [0.0, 1.0]], np.float32)}
    first, again, other = (reasoner.sample(inputs, 50, key=key) for key in (1, 1, 2))
    np.testing.assert_array_equal(first[0].truth, again[0].truth)
    assert (first[0].truth != other[0].truth).any()
    np.testing.assert_array_equal(first[1].truth, np.tile([False, True], (50, 1)))
    assert [truth(world) for world in reasoner.most_probable(inputs)][1] == {"a(0,)": False, "a(1,)": True}


def test_samples_have_facts_of_their_own():
    reasoner = Reasoner("type a(i32)\nrel b() = a(0) or a(1)", provenance="exact", output_mapping=("b", ()))
    worlds = reasoner.most_probable({"a": [[(0.4, (0,)), (0.3, (1,))], [(0.9, (1,))]]}, holds={"b": ()})
    assert list(map(truth, worlds)) == [{"a(0,)": True, "a(1,)": False}, {"a(1,)": True}]
    assert [world.log_probability for world in worlds] == pytest.approx([math.log(0.4 * 0.7), math.log(0.9)])


def test_trained_logits_are_the_probabilities():
    reasoner = Reasoner(
        "rel {0.2::red(); 0.5::blue()}\nrel seen() = red() or blue()",
        provenance="diffexact",
        trainable=["red"],
        output_mappings={"seen": (), "red": ()},
    ).with_parameters({"red.choices.0": np.log([0.6, 0.3, 0.1]).astype(np.float32)})
    (world,) = reasoner.most_probable(holds={"seen": ()})
    assert truth(world) == {"red()": True, "blue()": False}
    assert world.log_probability == pytest.approx(math.log(0.6), abs=1e-6)


def test_what_cannot_be_answered_is_one_error():
    with pytest.raises(InputError, match="can never hold"):
        alarm().most_probable(holds={"calls": "bob"})
    reasoner = Reasoner("rel b() = a(0)", provenance="exact", input_mappings={"a": [0]}, output_mapping=("b", ()))
    with pytest.raises(InputError, match="probability 0 in sample 1"):
        reasoner.sample({"a": np.array([[0.5], [0.0]])}, 3, holds={"b": ()})
    with pytest.raises(UnsupportedError, match="no probabilities of worlds"):
        Reasoner("rel a = {1}", provenance="natural", output_mapping=("a", [1])).most_probable()


def test_a_search_for_decisions_has_a_limit():
    count = 12
    condition = compile_condition(
        Derivations(1, np.zeros(1, np.int64), np.array([ONE]), np.array([ONE]), np.zeros(1, bool), np.zeros(1, bool)),
        Literals(np.full(count, 0.5), *(np.full(count, -1) for _ in range(3))),
        ONE,
    )
    outcomes, logarithm = decide(condition, np.full(count, 0.5), range(count), limit=2 * 64 * count)
    assert len(outcomes) == count
    assert logarithm == pytest.approx(count * math.log(0.5))
    with pytest.raises(SearchLimitError):
        decide(condition, np.full(count, 0.5), range(count), limit=count)


def test_a_context_has_worlds_of_its_facts():
    context = Context("topkproofs")
    context.add_program(ALARM)
    context.add_facts("quake", [(0.95, ())])
    world = context.most_probable(holds={"calls": "mary"}, fails={"burglary": ()})
    assert truth(world)["quake()"]
    draws = context.sample(100, key=1, holds={"burglary": ()})
    assert draws.frequencies()[[fact.relation for fact in draws.facts].index("burglary")] == 1
    with pytest.raises(UnsupportedError, match="no probabilities of worlds"):
        Context("unit").most_probable()


def test_worlds_are_given_evidence():
    heard = alarm(evidence={"calls": ["mary", "john"]})
    seen = {"evidence": {"calls": np.array([[1.0, 0.0], [np.nan, 0.25]])}}
    first, second = heard.most_probable(seen)
    (query,) = alarm().most_probable(holds={"calls": "mary"}, fails={"calls": "john"})
    assert first == query
    # John was seen to call with 0.25: no cause of it is likelier than none.
    assert second.log_probability == pytest.approx(math.log(0.9 * 0.8 * 0.9 * 0.9 * 0.5 * 0.5 * 0.75))
    count = 4000
    for sample, draws in enumerate(heard.sample(seen, count, key=5)):
        names = [fact.relation for fact in draws.facts]
        p = 0.28 * (0.9 * 0.1 if sample == 0 else 0.9 * 0.25 + 0.1 * 0.75) + (0.0 if sample == 0 else 0.72 * 0.75)
        assert draws.log_given == pytest.approx(math.log(p), abs=1e-6)
        burglary = 0.1 / 0.28 if sample == 0 else 0.1 * 0.3 / p
        bound = 5 * math.sqrt(burglary * (1 - burglary) / count)
        assert abs(draws.frequencies()[names.index("burglary")] - burglary) < bound
    written = Reasoner(f'{ALARM}evidence calls("mary")\n', provenance="exact", output_mapping=("calls", ("john",)))
    (world,) = written.most_probable(decide=["burglary", "quake"])
    assert truth(world) == {"burglary()": False, "quake()": True}
    assert world.log_probability == pytest.approx(math.log(0.9 * 0.2 * 0.9))


def test_the_command_line_prints_worlds(tmp_path: Path, capsys):
    file = tmp_path / "alarm.scl"
    file.write_text(
        "rel 0.1::burglary()\nrel 0.2::quake()\nrel alarm() = burglary() or quake()\nevidence alarm()\nquery alarm\n"
    )
    assert main(["run", str(file), "--most-probable"]) == 0
    expected = ["log probability -1.7148", "  not 0.1::burglary()", "  0.2::quake()"]
    assert capsys.readouterr().out.splitlines() == expected
    assert main(["run", str(file), "--sample", "2000", "--seed", "1"]) == 0
    first, *facts = capsys.readouterr().out.splitlines()
    assert first == "2,000 worlds"
    # Five standard deviations: 5 * sqrt(0.357 * 0.643 / 2000).
    assert [float(line.split()[0]) for line in facts] == pytest.approx([0.1 / 0.28, 0.2 / 0.28], abs=0.054)


def test_modules_have_the_worlds_of_their_reasoner():
    program = "rel out() = a(0) or b(1)"
    arguments: dict[str, Any] = {
        "provenance": "exact",
        "input_mappings": {"a": [0], "b": [1]},
        "output_mapping": ("out", ()),
    }
    inputs = {"a": np.array([[0.3], [0.9]], np.float32), "b": np.array([[0.4], [0.2]], np.float32)}
    reasoner = Reasoner(program, **arguments)
    worlds = reasoner.most_probable(inputs, holds={"out": ()})
    draws = reasoner.sample(inputs, 3, 7, holds={"out": ()})
    tensors = {name: torch.tensor(values) for name, values in inputs.items()}
    modules: list[Any] = [torch_bridge.Module(program, **arguments), nn.Reasoner(program, **arguments)]
    for module, given in zip(modules, (tensors, inputs), strict=True):
        assert list(map(str, module.most_probable(given, holds={"out": ()}))) == list(map(str, worlds))
        assert list(map(str, module.sample(given, 3, 7, holds={"out": ()}))) == list(map(str, draws))
    linen: Any = nn.LinenReasoner(program, **arguments)
    found = linen.apply({}, inputs, holds={"out": ()}, method="most_probable")
    assert list(map(str, found)) == list(map(str, worlds))
    found = linen.apply({}, inputs, 3, 7, holds={"out": ()}, method="sample")
    assert list(map(str, found)) == list(map(str, draws))
