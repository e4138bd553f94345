"""Trainable tags: parameters stand for the written probabilities, and train; what has none is one error."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_bridge
from scallax import CheckpointError, InputError, Reasoner
from tests.compilations import counted_compilations

PROGRAM = """
rel edge = {0.3::(0, 1), 0.6::(1, 2)}
rel color = {0.2::(0, "r"); 0.35::(0, "g")}
rel 0.7::path(x, y) = edge(x, y) or back(y, x)
rel 0.45::path(x, z) = path(x, y), edge(y, z)
rel out(x, y, c) = path(x, y), color(0, c)
"""
OPTIONS: dict[str, Any] = {
    "provenance": "difftopkproofs",
    "k": 3,
    "input_mappings": {"back": [(1, 0), (2, 1), (2, 0)]},
    "output_mapping": ("out", [(0, 1, "r"), (0, 2, "g")]),
}


def options(**changes: Any) -> dict[str, Any]:
    return {**OPTIONS, **changes}


TRAINABLE = ["path", "edge", "color"]
NAMES = ["color.facts", "edge.facts", "path.rules.0", "path.rules.1"]
PROVENANCES = ["diffminmaxprob", "diffaddmultprob", "difftopkproofs"]


@pytest.fixture(scope="module")
def reasoner() -> Reasoner:
    return Reasoner(PROGRAM, trainable=TRAINABLE, **OPTIONS)


@pytest.fixture
def back() -> np.ndarray:
    return np.array([[0.1, 0.2, 0.35], [0.5, 0.65, 0.75]], np.float32)


def moved(reasoner: Reasoner) -> dict[str, jax.Array]:
    """Logits that are not the written ones."""
    rng = np.random.default_rng(0)
    return {
        name: jnp.asarray(logits + rng.normal(size=logits.shape), jnp.float32)
        for name, logits in reasoner.parameters.items()
    }


def written(reasoner: Reasoner, parameters: dict) -> str:
    """The program with the probabilities of the logits written into it."""
    numbers = {name: np.asarray(p).reshape(-1) for name, p in reasoner.probabilities(parameters).items()}
    (red, green), (first, second) = numbers["color.facts"], numbers["edge.facts"]
    rules = [numbers[f"path.rules.{i}"][0] for i in range(2)]
    text = PROGRAM
    for old, new in zip(
        ["0.3:", "0.6:", "0.2:", "0.35:", "0.7:", "0.45:"], [first, second, red, green, *rules], strict=True
    ):
        text = text.replace(old, f"{new:.9f}:")
    return text


def test_parameters_stand_for_the_written_numbers(reasoner):
    assert list(reasoner.parameters) == NAMES
    assert [logits.shape for logits in reasoner.parameters.values()] == [(3,), (2,), (), ()]
    assert all(logits.dtype == np.float32 for logits in reasoner.parameters.values())
    p = reasoner.probabilities()
    np.testing.assert_allclose(p["color.facts"], [0.2, 0.35], rtol=1e-6)
    np.testing.assert_allclose(p["edge.facts"], [0.3, 0.6], rtol=1e-6)
    np.testing.assert_allclose([p["path.rules.0"], p["path.rules.1"]], [0.7, 0.45], rtol=1e-6)


@pytest.mark.parametrize("provenance", PROVENANCES)
def test_a_trainable_program_answers_like_the_written_one(provenance, back):
    options = {**OPTIONS, "provenance": provenance}
    trained = Reasoner(PROGRAM, trainable=TRAINABLE, **options)
    np.testing.assert_allclose(trained(back=back), Reasoner(PROGRAM, **options)(back=back), rtol=1e-5)
    parameters = moved(trained)
    expected = Reasoner(written(trained, parameters), **options)(back=back)
    np.testing.assert_allclose(trained.apply(parameters, back=back), expected, rtol=1e-5)
    np.testing.assert_array_equal(trained.with_parameters(parameters)(back=back), trained.apply(parameters, back=back))


def test_logits_of_an_exclusive_set_exclude_each_other():
    options = {"provenance": "difftopkproofs", "output_mapping": ("both", [()])}
    program = "rel a = {0.4::0; 0.6::1}  rel both() = a(0), a(1)  rel both() = a(0), a(2)  rel a(2)"
    with pytest.raises(InputError, match="no probability"):
        Reasoner(program, trainable=["a"], **options)
    both = Reasoner("rel a = {0.4::0; 0.6::1}  rel both() = a(0), a(1)", trainable=["a"], **options)
    assert both.parameters["a.facts"].shape == (2,)
    assert float(both.apply({"a.facts": np.ones(2, np.float32)})[0, 0]) == 0


@pytest.mark.parametrize("provenance", PROVENANCES)
def test_gradients_are_finite_differences(provenance, back):
    with jax.enable_x64(True):
        reasoner = Reasoner(PROGRAM, trainable=TRAINABLE, **options(provenance=provenance))
        weights = np.array([[1.0, -0.5], [0.25, 2.0]])
        parameters = {name: jnp.asarray(logits, jnp.float64) for name, logits in moved(reasoner).items()}
        inputs = jnp.asarray(back, jnp.float64)

        def loss(parameters):
            return (reasoner.apply(parameters, back=inputs) * weights).sum()

        gradients = jax.grad(loss)(parameters)
        for name, gradient in gradients.items():
            for place in np.ndindex(gradient.shape):
                step = jnp.zeros(gradient.shape).at[place].set(1e-5)
                up, down = (loss({**parameters, name: parameters[name] + sign * step}) for sign in (1, -1))
                # The error of a central difference is of the order of the step's square.
                assert gradient[place] == pytest.approx(float(up - down) / 2e-5, abs=1e-8)


def test_torch_has_the_same_values_gradients_and_names(reasoner, back):
    module = torch_bridge.Module(PROGRAM, trainable=TRAINABLE, **OPTIONS)
    assert [name for name, _ in module.named_parameters()] == NAMES
    assert list(module.state_dict()) == ["_extra_state", *NAMES]
    weights = np.array([[1.0, -0.5], [0.25, 2.0]], np.float32)
    values = module(back=torch.tensor(back))
    np.testing.assert_array_equal(values.detach().numpy(), reasoner(back=back))
    (values * torch.tensor(weights)).sum().backward()
    expected = jax.grad(lambda p: (reasoner.apply(p, back=back) * weights).sum())(reasoner.parameters)
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad, expected[name], rtol=1e-6)
    for name, p in module.probabilities().items():
        np.testing.assert_array_equal(p.detach().numpy(), reasoner.probabilities()[name])


def test_gradcheck_in_float64(back):
    module = torch_bridge.Module(PROGRAM, trainable=TRAINABLE, **OPTIONS).double()
    names = [name for name, _ in module.named_parameters()]

    def call(inputs, *parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), kwargs={"back": inputs})

    inputs = torch.tensor(back, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(call, (inputs, *module.parameters()))


def test_torch_maps_over_parameters_and_over_inputs(back):
    module = torch_bridge.Module(PROGRAM, trainable=TRAINABLE, **OPTIONS)
    inputs = torch.tensor(back)
    ensemble = {name: torch.stack([p.detach() + i for i in range(3)]) for name, p in module.named_parameters()}

    def call(parameters, inputs):
        return torch.func.functional_call(module, parameters, kwargs={"back": inputs})

    def loss(parameters, inputs):
        return (call(parameters, inputs) ** 2).sum()

    members = [{name: p[i] for name, p in ensemble.items()} for i in range(3)]
    torch.testing.assert_close(
        torch.func.vmap(call, in_dims=(0, None))(ensemble, inputs), torch.stack([call(m, inputs) for m in members])
    )
    mapped = torch.func.vmap(torch.func.grad(loss), in_dims=(0, None))(ensemble, inputs)
    for i, member in enumerate(members):
        for name, gradient in torch.func.grad(loss)(member, inputs).items():
            torch.testing.assert_close(mapped[name][i], gradient)
    # The gradient of each sample, from parameters that all samples share.
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(members[1], inputs[:, None])
    for name, gradient in torch.func.grad(loss)(members[1], inputs).items():
        torch.testing.assert_close(each[name].sum(0), gradient)


def test_jax_maps_over_parameters_and_jits(reasoner, back):
    parameters = [moved(reasoner), reasoner.parameters]
    stacked = {name: jnp.stack([p[name] for p in parameters]) for name in NAMES}
    mapped = jax.vmap(lambda p: reasoner.apply(p, back=back))(stacked)
    each = reasoner.apply({name: values[jnp.array([1, 0])] for name, values in stacked.items()}, back=back)
    for i, p in enumerate(parameters):
        expected = jax.jit(reasoner.apply)(p, back=back)
        np.testing.assert_allclose(mapped[i], expected, rtol=1e-6)
        np.testing.assert_allclose(each[1 - i], expected[1 - i], rtol=1e-6)


def test_new_values_compile_nothing(reasoner, back):
    parameters = moved(reasoner)
    more = {name: logits + 1 for name, logits in parameters.items()}
    step = jax.jit(jax.value_and_grad(lambda p: reasoner.apply(p, back=back).sum()))
    step(parameters)
    reasoner(back=back)
    with counted_compilations() as compiled:
        step(more)
        reasoner.with_parameters(parameters)(back=back)
    assert not compiled


def test_extreme_logits_have_finite_gradients(reasoner, back):
    for size in (-200.0, 200.0):
        parameters = {name: jnp.full(logits.shape, size) for name, logits in reasoner.parameters.items()}
        gradients = jax.grad(lambda p: reasoner.apply(p, back=back).sum())(parameters)
        assert all(np.isfinite(gradient).all() for gradient in gradients.values())


def test_written_certainties_are_clipped():
    p = Reasoner(
        "rel a = {1.0::0, 0.0::1, true::2}  rel b(x) = a(x)", trainable=["a"], output_mapping=("b", range(3))
    ).probabilities()["a.facts"]
    # One float32 rounding of 1 - 1e-6 is 6e-8.
    np.testing.assert_allclose(p, [1 - 1e-6, 1e-6, 1 - 1e-6], rtol=1e-6, atol=6e-8)


def test_facts_from_python_come_after_those_of_the_program():
    reasoner = Reasoner(
        "rel a = {0.1::(0)}  rel b(x) = a(x)",
        facts={"a": [(0.2, (1,)), (0.3, (2,))]},
        trainable=["a"],
        output_mapping=("b", range(3)),
    )
    np.testing.assert_allclose(reasoner.probabilities()["a.facts"], [0.1, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_allclose(reasoner()[0], [0.1, 0.2, 0.3], rtol=1e-6)


def test_training_recovers_the_weight_of_a_rule():
    """The rule holds in 80 of 100 samples: the likeliest weight is 0.8."""
    module = torch_bridge.Module(
        "rel 0.5::wet(x) = rain(x)", trainable=["wet"], input_mappings={"rain": [0]}, output_mapping=("wet", [0])
    )
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    holds = torch.tensor([1.0] * 80 + [0.0] * 20)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy(module(rain=torch.ones(100, 1))[:, 0], holds).backward()
        optimizer.step()
    # Adam's last steps are below 1e-3.
    assert module.probabilities()["wet.rules.0"].item() == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize(
    ("program", "trainable", "message"),
    [
        (
            "rel a = {0.5::0, 1}",
            ["a"],
            "<program>:1:18: the fact `a(1)` of the trainable relation `a` has no probability",
        ),
        (
            "rel p(0.5)  rel n::q(n) = p(n)",
            ["q"],
            "<program>:1:17: the tag of this rule of the trainable relation `q` depends on variables\n"
            "  rel p(0.5)  rel n::q(n) = p(n)\n                  ^\n"
            "hint: a trainable tag is one number: write a constant",
        ),
        ("rel a = {0}  rel b(x) = a(x)", ["b"], "`b` has no tagged fact and no tagged rule to train"),
        ("rel a = {0.5::0}", ["aa"], "`trainable`: the program has no relation `aa`\nhint: did you mean `a`?"),
        ("rel a = {0.5::0}", "a", "`trainable` must be a list of strings"),
    ],
)
def test_what_cannot_be_trained_is_one_error(program, trainable, message):
    relation = "q" if "q(" in program else "b" if "b(" in program else "a"
    with pytest.raises(InputError) as caught:
        Reasoner(program, trainable=trainable, output_relation=relation)
    assert message in str(caught.value)


def test_all_facts_without_probability_are_reported_together():
    with pytest.raises(InputError) as caught:
        Reasoner("rel a = {0, 1}  rel b = {2}", trainable=["a", "b"], output_relation="a")
    assert len(caught.value.diagnostics) == 3


def test_a_discrete_provenance_has_nothing_to_train():
    with pytest.raises(InputError, match=r"^`trainable`: `bool` has no probabilities to train\nhint: choose"):
        Reasoner("rel a = {0.5::0}", provenance="bool", trainable=["a"], output_relation="a")


def test_wrong_parameters_are_one_error_with_all_problems(reasoner, back):
    with pytest.raises(InputError) as caught:
        reasoner.apply({"edge.facts": np.zeros(2, np.float32), "edge.fact": 0}, back=back)
    assert str(caught.value).split("\n\n") == [
        "no logits for the parameter `color.facts`",
        "no logits for the parameter `path.rules.0`",
        "no logits for the parameter `path.rules.1`",
        "`edge.fact` is no parameter\nhint: did you mean `edge.facts`?",
    ]
    wrong = {
        "color.facts": np.zeros(2, np.float32),
        "edge.facts": np.zeros(2, np.int32),
        "path.rules.0": 0.5,
        "path.rules.1": np.float32("nan"),
    }
    with pytest.raises(InputError) as caught:
        reasoner.with_parameters(wrong)
    assert str(caught.value).split("\n\n") == [
        "the parameter `color.facts` has shape (2,); its logits have shape (3,)",
        "the parameter `edge.facts` is of dtype int32; logits are floats",
        "the parameter `path.rules.0` is a float; give an array of shape ()",
        "the parameter `path.rules.1` has a logit that is not finite",
    ]


def test_a_state_dict_is_loaded_whole_or_not_at_all():
    module = torch_bridge.Module(PROGRAM, trainable=TRAINABLE, **OPTIONS)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 1
    wrong = {**state, "color.facts": torch.zeros(4), "edge.facts": torch.zeros(2, dtype=torch.float64)}
    before = [p.clone() for p in module.parameters()]
    with pytest.raises(RuntimeError) as caught:
        module.load_state_dict(wrong)
    assert "the parameter `color.facts` was of shape (4,), is (3,)" in str(caught.value)
    assert "edge.facts" not in str(caught.value)
    other = torch_bridge.Module(PROGRAM.replace("0.7", "0.8"), trainable=TRAINABLE, **OPTIONS)
    with pytest.raises(RuntimeError, match="another program"):
        module.load_state_dict(other.state_dict())
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True))
    module.load_state_dict({**state, "edge.facts": state["edge.facts"].double()})
    assert torch.equal(module.get_parameter("edge.facts"), state["edge.facts"])


def test_missing_and_unexpected_names_are_torchs_own_errors():
    module = torch_bridge.Module(PROGRAM, trainable=TRAINABLE, **OPTIONS)
    state = module.state_dict()
    del state["path.rules.0"]
    state["edge.more"] = torch.zeros(1)
    with pytest.raises(RuntimeError) as caught:
        module.load_state_dict(state)
    assert 'Missing key(s) in state_dict: "path.rules.0"' in str(caught.value)
    assert 'Unexpected key(s) in state_dict: "edge.more"' in str(caught.value)
    result = module.load_state_dict(state, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == (["path.rules.0"], ["edge.more"])


def test_a_whole_module_keeps_its_trained_values(tmp_path, back):
    module = torch_bridge.Module(PROGRAM, trainable=TRAINABLE, **OPTIONS)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter -= 0.5
    torch.save(module, tmp_path / "module.pt")
    loaded = torch.load(tmp_path / "module.pt")
    assert torch.equal(loaded(back=torch.tensor(back)), module(back=torch.tensor(back)))
    for one, other in zip(loaded.named_parameters(), module.named_parameters(), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])


def test_a_relation_may_be_named_like_a_method_of_modules():
    module = torch_bridge.Module("rel forward = {0.5::0}", trainable=["forward"], output_mapping=("forward", [0]))
    assert [name for name, _ in module.named_parameters()] == ["forward.facts"]
    assert module().item() == 0.5
    module.load_state_dict(module.state_dict())


@pytest.mark.parametrize("change", ["more", "fewer", "no program"])
def test_a_state_dict_with_other_names_changes_nothing(change):
    module = torch_bridge.Module(PROGRAM, trainable=TRAINABLE, **OPTIONS)
    state = {name: value + 1 if value.is_floating_point() else value for name, value in module.state_dict().items()}
    if change == "more":
        state["zz"] = torch.zeros(1)
    else:
        del state["color.facts" if change == "fewer" else "_extra_state"]
    state["edge.facts"] = torch.zeros(3)
    before = [p.clone() for p in module.parameters()]
    with pytest.raises(RuntimeError) as caught:
        module.load_state_dict(state)
    named = {"more": 'Unexpected key(s) in state_dict: "zz"', "fewer": '"color.facts"', "no program": "(no program:"}
    assert named[change] in str(caught.value)
    assert "the parameter `edge.facts` was of shape (3,), is (2,)" in str(caught.value)
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True))


def test_a_larger_model_takes_all_of_a_state_dict_or_nothing():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch_bridge.Module(PROGRAM, trainable=TRAINABLE, **OPTIONS))
    other = torch.nn.Sequential(
        torch.nn.Linear(2, 2), torch_bridge.Module(PROGRAM, trainable=TRAINABLE, **options(k=4))
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match="k: was 4, is 3"):
        torch_bridge.load_state_dict(model, other.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    torch_bridge.load_state_dict(model, {**before, "0.bias": torch.ones(2)})
    assert torch.equal(model.state_dict()["0.bias"], torch.ones(2))
