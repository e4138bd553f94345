"""Heads whose alternatives have probabilities: one random choice for each tuple of the body, in every part."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scallax import Context, Reasoner, checkpoint, nn
from scallax.circuits.compile import analyse_program
from scallax.errors import GroundingError, InputError, Source, UnsupportedError
from scallax.facts.mappings import InputMapping
from scallax.syntax.parser import parse
from scallax.syntax.printer import print_program
from tests.nightly import with_rest_at_night
from tests.uncertain_programs import known_program
from tests.worlds import Choice, PossibleWorlds, datalog_in_worlds

# Provenances that know exclusion, with enough proofs to keep all.
EXCLUSIVE = [("exact", 3), ("topkproofs", 3), ("topkproofs", 16), ("topbottomkclauses", 8), ("samplekproofs", 8)]

BALLS = """
rel ball = {1, 2}
rel {0.3::red(x); 0.7::blue(x)} = ball(x)
rel reds() = red(1) and red(2)
rel both() = red(1) and blue(1)
rel some(x) = red(x) or blue(x)
rel none() = not red(1) and not blue(1)
"""


def answers(program: str, provenance: str, k: int = 3, **options) -> dict[str, dict[tuple, float]]:
    context = Context(provenance, k=k, **options)
    context.add_program(program)
    context.run()
    return {name: {tuple(t): float(tag) for tag, t in context.relation(name)} for name in context.relations()}


@pytest.mark.parametrize("options", [{}, {"wmc_with_disjunctions": True}])
@pytest.mark.parametrize(("provenance", "k"), EXCLUSIVE)
def test_one_choice_for_each_tuple_of_the_body(provenance: str, k: int, options: dict):
    found = answers(BALLS, provenance, k, **options)
    assert found["red"] == pytest.approx({(1,): 0.3, (2,): 0.3})
    assert found["reds"] == pytest.approx({(): 0.09})
    assert found["both"].get((), 0) == 0
    assert found["some"] == pytest.approx({(1,): 1.0, (2,): 1.0})
    assert found["none"] == pytest.approx({(): 0.0}, abs=1e-7)


@pytest.mark.parametrize(("provenance", "k"), EXCLUSIVE)
def test_what_the_alternatives_leave_of_one_is_none_of_them(provenance: str, k: int):
    found = answers(
        "rel ball = {0.5::1}\nrel {0.3::red(x); 0.6::blue(x)} = ball(x)\n"
        "rel none(x) = ball(x), not red(x), not blue(x)",
        provenance,
        k,
    )
    assert (found["red"][1,], found["none"][1,]) == pytest.approx((0.15, 0.05))


@pytest.mark.parametrize(("provenance", "k"), EXCLUSIVE)
def test_variables_are_probabilities(provenance: str, k: int):
    found = answers(
        "rel c = {(1, 0.3, 0.6), (2, 0.25, 0.5)}\nrel {p::a(x); q::b(x); 1.0 - p - q::d(x)} = c(x, p, q)\n"
        "rel some(x) = a(x) or b(x)\nrel {p / 2.0::half(x)} = c(x, p, _)",
        provenance,
        k,
    )
    assert found["a"] == pytest.approx({(1,): 0.3, (2,): 0.25})
    assert found["some"] == pytest.approx({(1,): 0.9, (2,): 0.75})
    assert found["d"] == pytest.approx({(1,): 0.1, (2,): 0.25})
    assert found["half"] == pytest.approx({(1,): 0.15, (2,): 0.125})


@pytest.mark.parametrize(("provenance", "k"), EXCLUSIVE)
def test_facts_of_several_relations_exclude_each_other(provenance: str, k: int):
    found = answers(
        "rel {0.3::red(1); 0.6::blue(1)}\nrel both() = red(1), blue(1)\nrel some() = red(_) or blue(_)", provenance, k
    )
    assert found["both"].get((), 0) == 0
    assert found["some"] == pytest.approx({(): 0.9})


@pytest.mark.parametrize(("provenance", "k"), EXCLUSIVE)
def test_a_tuple_of_several_bodies_and_a_tag_of_the_whole_rule(provenance: str, k: int):
    # Both bodies have the tuple 1, which makes one choice; the tag is one event for each tuple.
    found = answers(
        "rel b = {1}\nrel c = {1}\nrel {0.3::red(x); 0.7::blue(x)} = b(x) or c(x)\nrel both() = red(1), blue(1)\n"
        "rel 0.5::{0.25::up(x); 0.75::down(x)} = b(x)\nrel moves() = up(1) or down(1)",
        provenance,
        k,
    )
    assert found["red"][1,] == pytest.approx(0.3)
    assert found["both"].get((), 0) == 0
    assert (found["up"][1,], found["moves"][()]) == pytest.approx((0.125, 0.5))


@pytest.mark.parametrize("wmc_with_disjunctions", [False, True])
def test_other_groups_count_as_before(wmc_with_disjunctions: bool):
    program = (
        "rel e = {0.5::1; 0.5::2}\nrel some() = e(1) or e(2)\nrel v = {0.5::1}\nrel {on(x); off(x)} = v(x)\n"
        "rel either(x) = on(x) or off(x)\n"
    )
    choice = "rel {0.3::red(x); 0.7::blue(x)} = e(x)\nrel color(x) = red(x) or blue(x)"
    options = {"wmc_with_disjunctions": wmc_with_disjunctions}
    alone, beside = (answers(text, "topkproofs", 8, **options) for text in (program, program + choice))
    assert {name: beside[name] for name in alone} == alone
    assert beside["color"] == pytest.approx({(1,): 0.5, (2,): 0.5})


@pytest.mark.parametrize("provenance", ["addmultprob", "minmaxprob", "diffnandmultprob"])
def test_without_exclusion_alternatives_are_independent(provenance: str):
    assert answers(BALLS, provenance)["both"][()] > 0
    facts = BALLS.replace(
        "rel {0.3::red(x); 0.7::blue(x)} = ball(x)", "rel red = {0.3::1, 0.3::2}\nrel blue = {0.7::1, 0.7::2}"
    )
    assert answers(BALLS, provenance) == answers(facts, provenance)


@pytest.mark.parametrize("number", with_rest_at_night(range(150), range(3)))
def test_proofs_count_as_the_worlds_do(number: int):
    known = known_program(np.random.default_rng([7, number]), number, np.float32)
    text, inputs = known.program.text, dict(known.inputs)
    for name, tuples in known.program.exclusive.items():
        # Facts that exclude each other are a random choice without a body.
        heads = [f"{p}::{name}({values[0]})" for p, values in zip(inputs.pop(name).tolist(), tuples, strict=True)]
        text += f"rel {{{'; '.join(heads)}}}\n"
    reasoner = Reasoner(
        text,
        provenance="difftopkproofs",
        k=64,
        input_mappings={name: InputMapping(tuples) for name, tuples in known.program.independent.items()},
        output_mappings=dict.fromkeys(known.program.derived),
        executor="numpy",
    )
    given: dict[str, Any] = {name: values[None] for name, values in inputs.items()}
    found = reasoner(**given)
    for name, (tuples, values) in found.items():
        expected = [known.worlds.probability(known.tuples[name].get(tuple(t), 0)) for t in tuples]
        # 16 roundings of half an epsilon each, in a sum of 64.
        np.testing.assert_allclose(np.asarray(values)[0], expected, rtol=1e-6, atol=2e-6)


# A choice for each ball, by what is known of it; what is drawn below follows from colors and from weights.
DRAWN = """
type ball(i32), heavy(i32), glass(i32)
rel {0.2::red(x); 0.5::blue(x)} = ball(x)
rel {0.6::drops(x)} = red(x), heavy(x)
rel out(x) = (drops(x) or blue(x)), not glass(x)
rel out(x) = glass(x), not red(x), not blue(x)
"""
# The same with a relation for what is chosen.
EXPLICIT = """
type ball(i32), heavy(i32), glass(i32), color(i32, i32), fall(i32)
rel red(x) = ball(x), color(0, x)
rel blue(x) = ball(x), color(1, x)
rel drops(x) = red(x), heavy(x), fall(x)
rel out(x) = (drops(x) or blue(x)), not glass(x)
rel out(x) = glass(x), not red(x), not blue(x)
"""


def drawn_worlds(p: np.ndarray) -> tuple[PossibleWorlds, dict[str, dict]]:
    """The worlds of the facts with probabilities `[3, 2]` and of the choices, and what holds in them."""
    given = [(name, (x,)) for name in ("ball", "heavy", "glass") for x in range(2)]
    choices = [Choice((fact,), (float(q),)) for fact, q in zip(given, p.reshape(-1), strict=True)]
    for x in range(2):
        choices.append(Choice((("color", (0, x)), ("color", (1, x))), tuple(np.array([0.2, 0.5], np.float32).tolist())))
        choices.append(Choice((("fall", (x,)),), (float(np.float32(0.6)),)))
    worlds = PossibleWorlds(choices)
    return worlds, datalog_in_worlds(analyse_program([Source(EXPLICIT)]), worlds.facts(), worlds.everywhere)


@pytest.mark.parametrize(
    ("provenance", "k"),
    with_rest_at_night([("diffexact", 1), ("difftopkproofs", 5), ("difftopkproofs", 12)], {("diffexact", 1)}),
)
def test_values_and_gradients_of_a_batch_are_those_of_the_worlds(provenance: str, k: int):
    reasoner = Reasoner(
        DRAWN,
        provenance=provenance,
        k=k,
        input_mappings={name: [0, 1] for name in ("ball", "heavy", "glass")},
        output_mapping=("out", [0, 1]),
    )
    p = np.random.default_rng(0).uniform(0.1, 0.9, (3, 3, 2)).astype(np.float32)

    def outputs(p):
        return reasoner(ball=p[:, 0], heavy=p[:, 1], glass=p[:, 2])

    values, pull = jax.vjp(outputs, jnp.asarray(p))
    slopes = [pull(jnp.zeros((3, 2)).at[:, output].set(1.0))[0] for output in range(2)]
    for sample in range(3):
        worlds, tuples = drawn_worlds(p[sample])
        found = [tuples["out"][0,], tuples["out"][1,]]
        np.testing.assert_allclose(values[sample], [worlds.probability(where) for where in found], rtol=2e-6)
        for output, where in enumerate(found):
            expected = np.concatenate(worlds.derivatives(where)[:6]).reshape(3, 2)
            np.testing.assert_allclose(slopes[output][sample], expected, atol=3e-6)


@pytest.mark.parametrize("k", with_rest_at_night([3, 12], {3}))
def test_what_is_left_of_one_has_its_gradient(k: int):
    reasoner = Reasoner(
        "type ball(i32)\nrel {0.2::red(x); 0.5::blue(x)} = ball(x)\nrel none(x) = ball(x), not red(x), not blue(x)",
        provenance="difftopkproofs",
        k=k,
        input_mappings={"ball": [0]},
        output_mapping=("none", (0,)),
    )
    value, gradient = jax.value_and_grad(lambda p: reasoner(ball=p)[0])(jnp.asarray([[0.5]]))
    assert (value, gradient[0, 0]) == pytest.approx((0.15, 0.3))


@pytest.mark.parametrize(("provenance", "k"), [("diffexact", 1), ("difftopkproofs", 5)])
def test_samples_with_facts_of_their_own_draw_for_themselves(provenance: str, k: int):
    reasoner = Reasoner(
        DRAWN,
        provenance=provenance,
        k=k,
        input_mappings={"heavy": [0, 1], "glass": [0, 1]},
        output_mapping=("out", [0, 1]),
        executor="numpy",
    )
    p = np.random.default_rng(1).uniform(0.1, 0.9, (2, 3, 2)).astype(np.float32)
    balls: list[Any] = [[(float(p[0, 0, 0]), (0,))], [(float(q), (x,)) for x, q in enumerate(p[1, 0])]]
    found = reasoner(ball=balls, heavy=p[:, 1], glass=p[:, 2])
    p[0, 0, 1] = 0  # the first sample has no second ball
    for sample in range(2):
        worlds, tuples = drawn_worlds(p[sample])
        expected = [worlds.probability(tuples["out"].get((x,), 0)) for x in range(2)]
        np.testing.assert_allclose(found[sample], expected, rtol=2e-6)


TRAINED = """
type ball(i32)
rel {0.2::red(x); 0.5::blue(x)} = ball(x)
rel out(x) = red(x) or blue(x)
rel pair() = red(0), blue(1)
"""


def test_alternatives_are_trained_by_one_softmax():
    # Either relation names the choice.
    options: dict[str, Any] = {"provenance": "difftopkproofs", "k": 1, "input_mappings": {"ball": [0, 1]}}
    options["trainable"] = ["blue"]
    reasoner = Reasoner(TRAINED, output_mapping=("pair", ()), **options)
    logits = {"red.choices.0": jnp.asarray([0.5, -0.25, 1.0])}
    assert reasoner.parameters.keys() == logits.keys()
    np.testing.assert_allclose(jax.nn.softmax(reasoner.parameters["red.choices.0"]), [0.2, 0.5, 0.3], rtol=1e-6)
    p = jnp.asarray([[0.5, 0.25]])

    def pair(logits):
        return reasoner.apply(logits, ball=p)[0]

    def expected(logits):
        red, blue, _ = jax.nn.softmax(logits["red.choices.0"])
        return 0.5 * red * 0.25 * blue

    values = jax.value_and_grad(pair)(logits), jax.value_and_grad(expected)(logits)
    np.testing.assert_allclose(values[0][0], values[1][0], rtol=1e-6)
    np.testing.assert_allclose(values[0][1]["red.choices.0"], values[1][1]["red.choices.0"], rtol=1e-5)
    flax = nn.Reasoner(TRAINED, output_mapping=("pair", ()), **options)
    np.testing.assert_array_equal(flax.parameters["red.choices.0"], reasoner.parameters["red.choices.0"])


def test_training_finds_the_frequencies_of_what_was_seen():
    reasoner = Reasoner(
        "rel {0.25::red(); 0.25::blue()}\nrel gray() = not red(), not blue()",
        provenance="diffexact",
        trainable=["red"],
        output_mappings={"red": (), "blue": (), "gray": ()},
    )
    seen = jnp.asarray([0.6, 0.3, 0.1])

    def loss(logits):
        found = reasoner.apply(logits)
        return -(seen * jnp.log(jnp.stack([found[name][0] for name in ("red", "blue", "gray")]))).sum()

    logits = {name: jnp.asarray(array) for name, array in reasoner.parameters.items()}
    step = jax.jit(jax.grad(loss))
    for _ in range(200):
        logits = jax.tree.map(lambda value, slope: value - slope, logits, step(logits))
    np.testing.assert_allclose(jax.nn.softmax(logits["red.choices.0"]), seen, atol=1e-4)


def test_probabilities_of_variables_are_not_trained():
    with pytest.raises(InputError, match="depends on variables"):
        Reasoner("type c(i32, f32)\nrel {p::a(x); 0.1::b(x)} = c(x, p)", trainable=["a"], output_mapping=("a", [1]))


def test_sums_over_one_name_the_rule_and_the_tuple():
    with pytest.raises(UnsupportedError, match=r"add up to 1\.1, more than 1"):
        Context("exact").add_program("rel {0.3::a(x); 0.8::b(x)} = c(x)\nrel c = {1}")
    rule = "rel {p::a(x); q::b(x)} = c(x, p, q)\n"
    for provenance in ("exact", "topkproofs", "addmultprob"):
        context = Context(provenance)
        context.add_program(f"{rule}rel c = {{(1, 0.5, 0.5), (7, 0.25, 0.875)}}")
        with pytest.raises(GroundingError, match=r":1:1: .*`[ab]` add up to 1\.125.* for x = 7, p = 0\.25, q = 0\.875"):
            context.run()
    # Sums that are over 1 by rounding alone are none.
    assert answers(f"{rule}rel c = {{(1, 0.1, 0.9), (2, 0.7, 0.3)}}", "exact")["a"] == pytest.approx(
        {(1,): 0.1, (2,): 0.7}
    )


@pytest.mark.parametrize(
    "text",
    [
        "rel {0.3::red(x); 0.7::blue(x)} = ball(x)",
        "rel 0.5::{p::red(x); (1.0 - p)::blue(x)} = ball(x, p) and not heavy(x)",
        "rel {0.25::red(1); 0.5::blue(2)}",
        "rel {0.25::red(x)} = ball(x)",
    ],
)
def test_printed_heads_parse_to_the_same_tree(text: str):
    program = parse(Source(text))
    assert parse(Source(print_program(program))) == program


def test_demand_asks_for_the_same_choices():
    program = (
        "rel step = {(0, 1), (1, 2), (0, 2), (2, 3), (4, 5), (5, 4)}\n"
        "rel {0.4::left(x, y); 0.5::right(x, y)} = step(x, y)\n"
        "rel path(x, y) = left(x, y)\nrel path(x, z) = left(x, y), path(y, z)\nquery path(0, x)"
    )
    whole = answers(program.replace("query path(0, x)", "query path"), "topkproofs")["path"]
    context = Context("topkproofs")
    context.add_program(program)
    context.run()
    asked = {tuple(values)[-1]: float(p) for p, values in context.relation("path(0, x)")}
    assert asked == {y: p for (x, y), p in whole.items() if x == 0}


def test_an_explanation_names_the_rule_of_a_choice():
    reasoner = Reasoner(BALLS, provenance="exact", output_mapping=("reds", ()))
    text = str(reasoner.explain("reds", ()))
    assert "0.3" in text
    assert "the choice of the rule" in text


def test_a_saved_program_has_its_choices(tmp_path):
    options: dict[str, Any] = {"provenance": "difftopkproofs", "input_mappings": {"ball": [0, 1]}, "trainable": ["red"]}
    reasoner = Reasoner(TRAINED, output_mapping=("out", [0, 1]), k=7, executor="numpy", **options)
    p = np.array([[0.5, 0.25]], np.float32)
    checkpoint.save(tmp_path / "saved.safetensors", reasoner)
    np.testing.assert_array_equal(checkpoint.load(tmp_path / "saved.safetensors")(ball=p), reasoner(ball=p))
    stored = Reasoner.from_stored(reasoner.specification, reasoner.compiled_program.serialized())
    np.testing.assert_array_equal(stored(ball=p), reasoner(ball=p))
    np.testing.assert_allclose(stored(ball=p), [[0.35, 0.175]], rtol=1e-6)
