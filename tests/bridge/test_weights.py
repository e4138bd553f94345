"""Weights between torch and Flax: equal answers, equal bits, and all differences in one error before any change."""

import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

import torch_bridge
from scallax import CheckpointError, InputError, checkpoint
from scallax import nn as scallax_nn
from scallax.checkpoint import flax_state
from torch_bridge import weights

PROGRAM = """
rel bias = {0.3::0, 0.6::1}
rel 0.7::answer(x) = seen(x), bias(x)
rel 0.2::answer(0) = seen(1)
"""
OPTIONS = {
    # Compiles faster than proofs.
    "provenance": "diffaddmultprob",
    "trainable": ["bias", "answer"],
    "input_mappings": {"seen": range(2)},
    "output_mapping": ("answer", range(2)),
}
# Flax keeps the statistics of BatchNorm in float32, as torch does only in a float32 model.
DTYPES = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64]


@pytest.fixture(autouse=True)
def _flax_promotes():
    """Flax and optax rely on promotions that are off in these tests."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


class TorchModel(torch.nn.Module):
    """Every kind of layer, below attributes, lists and sequences, and a reasoner."""

    def __init__(self, **options):
        super().__init__()
        nn = torch.nn
        self.embed = nn.Embedding(7, 4)
        self.text = nn.Sequential(nn.Conv1d(4, 6, 3, padding=1, groups=2), nn.BatchNorm1d(6), nn.GELU())
        self.image = nn.Sequential(
            nn.Conv2d(1, 4, (3, 2), padding=1, stride=2, bias=False),
            nn.BatchNorm2d(4, affine=False),
            nn.ReLU(),
            nn.Sequential(nn.Conv2d(4, 8, 3, dilation=2, groups=4), nn.ReLU()),
        )
        self.norm = nn.LayerNorm(30 + 8)
        self.blocks = nn.ModuleList([nn.Linear(38, 5), nn.Linear(5, 5, bias=False)])
        self.heads = nn.ModuleDict({"last": nn.Sequential(nn.LayerNorm(5, elementwise_affine=False), nn.Linear(5, 2))})
        self.reasoner = torch_bridge.Module(PROGRAM, **{**OPTIONS, **options})

    def forward(self, tokens, images):
        text = self.text(self.embed(tokens).transpose(1, 2))
        x = self.norm(torch.cat([text.flatten(1), self.image(images).flatten(1)], 1))
        for block in self.blocks:
            x = torch.relu(block(x))
        return self.reasoner(seen=torch.sigmoid(self.heads["last"](x)))


def exact_gelu(x):
    return nnx.gelu(x, approximate=False)


class FlaxModel(nnx.Module):
    """The same model, with the random state of a dropout."""

    def __init__(self, dtype=jnp.float32, seed=0, **options):
        # Made in float32, and cast at the end: initializers take long to compile.
        rngs = nnx.Rngs(seed)
        self.embed = nnx.Embed(7, 4, dtype=dtype, rngs=rngs)
        self.text = nnx.Sequential(
            nnx.Conv(4, 6, 3, padding=1, feature_group_count=2, rngs=rngs),
            nnx.BatchNorm(6, momentum=0.9, rngs=rngs),
            exact_gelu,
        )
        self.image = nnx.Sequential(
            nnx.Conv(1, 4, (3, 2), padding=1, strides=2, use_bias=False, rngs=rngs),
            nnx.BatchNorm(4, use_bias=False, use_scale=False, momentum=0.9, rngs=rngs),
            nnx.relu,
            nnx.Sequential(
                nnx.Conv(4, 8, (3, 3), padding="VALID", kernel_dilation=2, feature_group_count=4, rngs=rngs), nnx.relu
            ),
        )
        self.norm = nnx.LayerNorm(30 + 8, epsilon=1e-5, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(38, 5, rngs=rngs), nnx.Linear(5, 5, use_bias=False, rngs=rngs)])
        last = nnx.LayerNorm(5, use_bias=False, use_scale=False, epsilon=1e-5, rngs=rngs)
        self.heads = nnx.Dict(last=nnx.Sequential(last, nnx.Linear(5, 2, rngs=rngs)))
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.reasoner = scallax_nn.Reasoner(PROGRAM, **{**OPTIONS, **options})
        cast(self, dtype)

    def __call__(self, tokens, images):
        text = self.text(self.embed(tokens)).transpose(0, 2, 1)
        image = self.image(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        x = self.norm(jnp.concatenate([text.reshape(len(text), -1), image.reshape(len(image), -1)], 1))
        for block in self.blocks:
            x = nnx.relu(block(x))
        return self.reasoner(seen=nnx.sigmoid(self.heads["last"](x)))


def cast(model: nnx.Module, dtype) -> None:
    """All to one dtype, as torch's `.to(dtype)` does; for the statistics, the line of the module's documentation."""
    nnx.update(model, jax.tree.map(lambda x: x.astype(dtype), nnx.state(model, nnx.BatchStat)))
    nnx.update(model, jax.tree.map(lambda x: x.astype(dtype), nnx.state(model, nnx.Param)))


def scrambled(model: torch.nn.Module) -> torch.nn.Module:
    """The model with random values everywhere, variances positive."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape) + 0.5 if "var" in name else torch.randn(tensor.shape))
            elif name.endswith("num_batches_tracked"):
                tensor.fill_(5)
    return model


def make_torch(dtype=jnp.float32, **options) -> torch.nn.Module:
    return scrambled(TorchModel(**options)).to(getattr(torch, jnp.dtype(dtype).name))


def bits(tensors: dict) -> dict[str, tuple]:
    return {name: (t.dtype, tuple(t.shape), t.view(torch.uint8).tolist()) for name, t in flat(tensors).items()}


def flat(tensors: dict) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().contiguous().reshape(-1) for name, tensor in tensors.items()}


def values(model: nnx.Module) -> dict[str, np.ndarray]:
    return dict(flax_state.artifact_of(model).tensors)


answer = nnx.jit(lambda model, tokens, images: model(tokens, images))


@pytest.fixture
def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(7, size=(3, 5)).astype(np.int32)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).random((3, 1, 9, 9))


# Sums of up to 38 products, and two normalizations of few values, lose some of float32's 6e-8 and float64's 1e-16.
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-6), (jnp.float64, 1e-14)])
def test_both_models_give_the_same_answers(dtype, tolerance, tokens, images):
    model = make_torch(dtype).eval()
    images = images.astype(dtype)
    with torch.no_grad():
        expected = model(torch.tensor(tokens), torch.tensor(images)).numpy()
    with jax.enable_x64(dtype == jnp.float64):
        twin = FlaxModel(dtype)
        twin.eval()
        weights.to_flax(model, twin)
        answers = np.asarray(answer(twin, tokens, images))
    assert answers.dtype == expected.dtype == dtype
    assert expected.std() > 0.01
    np.testing.assert_allclose(answers, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_dictionary", [False, True])
def test_there_and_back_is_the_identity_bit_for_bit(dtype, is_dictionary):
    model = make_torch(dtype)
    with torch.no_grad():
        for i, value in enumerate([float("nan"), float("inf"), -0.0, 1e-40]):
            model.get_parameter("blocks.1.weight")[0, i] = value
    state = model.state_dict()
    with jax.enable_x64(dtype == jnp.float64):
        twin = FlaxModel(dtype)
        weights.to_flax(state if is_dictionary else model, twin)
        back = weights.to_torch(twin, state if is_dictionary else model)
        assert list(back) == list(state)
        assert bits(back) == bits(state)
        # And with a template of other values: only what Flax has not is the template's.
        template = make_torch(dtype)
        state_of_other = weights.to_torch(twin, template)
        template.load_state_dict(state_of_other)
        assert bits(template.state_dict()) == bits(state)
        third = FlaxModel(dtype, seed=1)
        weights.to_flax(template, third)
        for name, value in values(twin).items():
            if not name.startswith("dropout"):
                assert values(third)[name].tobytes() == value.tobytes(), name


def test_tensors_that_go_out_are_copies_and_flax_keeps_its_other_state():
    model, twin = make_torch(), FlaxModel(seed=3)
    before = values(twin)
    weights.to_flax(model, twin)
    after = values(twin)
    assert [name for name in before if (before[name] == after[name]).all()] == [
        "dropout.rngs.count",
        "dropout.rngs.key",
    ]
    state = weights.to_torch(twin, model)
    kept = bits(model.state_dict())
    for tensor in state.values():
        tensor.zero_()
    assert bits(model.state_dict()) == kept
    model.get_parameter("blocks.0.weight").data.zero_()
    assert values(twin)["blocks.0.kernel"].any()


def test_gradients_go_by_the_same_names_and_a_trained_model_goes_back(tokens, images):
    model, twin = make_torch().eval(), FlaxModel()
    weights.to_flax(model, twin)
    twin.eval()
    images = images.astype(np.float32)
    model(torch.tensor(tokens), torch.tensor(images)).sum().backward()
    gradients = nnx.clone(twin)
    nnx.update(gradients, nnx.jit(nnx.grad(lambda m: m(tokens, images).sum()))(twin))
    by_name = weights.to_torch(gradients, model)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        # The largest are of the order of 1; each is a sum over up to 150 places of an image.
        np.testing.assert_allclose(by_name[name], parameter.grad, rtol=1e-5, atol=1e-6, err_msg=name)
    step = jax.tree.map(lambda x, g: x - g, *(nnx.state(m, nnx.Param) for m in (twin, gradients)))
    nnx.update(twin, step)
    model.load_state_dict(weights.to_torch(twin, model), strict=True)
    with torch.no_grad():
        answers = model(torch.tensor(tokens), torch.tensor(images))
    # As in test_both_models_give_the_same_answers.
    np.testing.assert_allclose(answers, answer(twin, tokens, images), rtol=0, atol=1e-6)


LAYERS = {
    "linear": (lambda: torch.nn.Linear(3, 4), lambda r: nnx.Linear(3, 4, rngs=r), (2, 3)),
    "conv1d": (lambda: torch.nn.Conv1d(4, 6, 3), lambda r: nnx.Conv(4, 6, 3, padding="VALID", rngs=r), (2, 4, 7)),
    "conv3d": (
        lambda: torch.nn.Conv3d(2, 4, (1, 2, 3), groups=2),
        lambda r: nnx.Conv(2, 4, (1, 2, 3), padding="VALID", feature_group_count=2, rngs=r),
        (2, 2, 3, 4, 5),
    ),
    "batch_norm": (lambda: torch.nn.BatchNorm1d(3), lambda r: nnx.BatchNorm(3, rngs=r), (2, 3)),
    "layer_norm": (lambda: torch.nn.LayerNorm(3), lambda r: nnx.LayerNorm(3, epsilon=1e-5, rngs=r), (2, 3)),
    "without_bias": (
        lambda: torch.nn.LayerNorm(3, bias=False),
        lambda r: nnx.LayerNorm(3, epsilon=1e-5, use_bias=False, rngs=r),
        (2, 3),
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_alone_is_a_model(kind):
    make_torch_layer, make_flax_layer, shape = LAYERS[kind]
    layer, twin = scrambled(make_torch_layer()).eval(), make_flax_layer(nnx.Rngs(0))
    weights.to_flax(layer, twin)
    twin.eval()
    assert bits(weights.to_torch(twin, layer)) == bits(layer.state_dict())
    x = torch.randn(shape)
    answers = np.asarray(twin(jnp.asarray(np.moveaxis(x.numpy(), 1, -1))))
    # Sums of up to 12 products of order 1.
    np.testing.assert_allclose(np.moveaxis(answers, -1, 1), layer(x).detach(), rtol=0, atol=1e-6)


def test_training_follows_the_documented_conventions():
    """Batch statistics at momentum 0.1 and 0.9; the running variance differs by n / (n - 1)."""
    layer, twin = torch.nn.BatchNorm1d(3), nnx.BatchNorm(3, momentum=0.9, rngs=nnx.Rngs(0))
    weights.to_flax(layer, twin)
    x = torch.randn(8, 3)
    # Means of 8 values of order 1 in float32.
    np.testing.assert_allclose(twin(jnp.asarray(x.numpy())), layer(x).detach(), rtol=0, atol=2e-6)
    mean, variance = layer.get_buffer("running_mean"), layer.get_buffer("running_var")
    np.testing.assert_allclose(twin.mean[...], mean, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(twin.var[...] - 0.9, (variance - 0.9) * 7 / 8, rtol=1e-5)


def test_shared_layers_have_every_name():
    class Torch(torch.nn.Module):
        def __init__(self, is_shared):
            super().__init__()
            self.first = torch.nn.Linear(2, 2)
            self.second = self.first if is_shared else torch.nn.Linear(2, 2)

    class Flax(nnx.Module):
        def __init__(self, is_shared):
            rngs = nnx.Rngs(0)
            self.first = nnx.Linear(2, 2, rngs=rngs)
            self.second = self.first if is_shared else nnx.Linear(2, 2, rngs=rngs)

    shared, twin = Torch(True), Flax(True)
    weights.to_flax(shared, twin)
    assert bits(weights.to_torch(twin, shared)) == bits(shared.state_dict())
    before = values(twin)
    with pytest.raises(CheckpointError) as caught:
        weights.to_flax(Torch(False), twin)
    assert str(caught.value).split("\n\n") == [
        "Flax `first.bias` and `second.bias` are one variable, but torch `first.bias` and `second.bias` are not equal",
        "Flax `first.kernel` and `second.kernel` are one variable, "
        "but torch `first.weight` and `second.weight` are not equal",
    ]
    assert all((values(twin)[name] == value).all() for name, value in before.items())
    apart = Flax(False)
    apart.second.bias[...] = apart.first.bias[...]
    with pytest.raises(CheckpointError) as caught:
        weights.to_torch(apart, shared)
    assert str(caught.value) == (
        "torch `first.weight` and `second.weight` are one tensor, "
        "but Flax `first.kernel` and `second.kernel` are not equal"
    )


def test_a_module_may_refer_to_the_one_above_it():
    class Part(nnx.Module):
        def __init__(self, whole):
            self.whole = whole
            self.linear = nnx.Linear(2, 2, rngs=nnx.Rngs(0))

    class Whole(nnx.Module):
        def __init__(self):
            self.part = Part(self)

    source = {"part.linear.weight": torch.randn(2, 2), "part.linear.bias": torch.randn(2)}
    twin = Whole()
    weights.to_flax(source, twin)
    assert bits(weights.to_torch(twin, source)) == bits(source)


class OddTorch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2, bias=False))
        self.norm = torch.nn.GroupNorm(2, 4)
        self.attention = torch.nn.MultiheadAttention(4, 2, bias=False)
        self.half = torch.nn.Linear(2, 2).half()
        self.batch = torch.nn.BatchNorm1d(2)
        self.adder = torch_bridge.Module("rel 0.4::a(x) = b(x)", trainable=["a"], **PLAIN)


class OddFlax(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.encoder = nnx.Sequential(nnx.Linear(3, 5, rngs=rngs), nnx.relu, nnx.Linear(4, 2, rngs=rngs))
        self.norm = nnx.LayerNorm(4, rngs=rngs)
        self.attention = nnx.List([nnx.LinearGeneral(4, (2, 2), rngs=rngs)])
        self.half = nnx.Linear(2, 2, use_bias=False, rngs=rngs)
        self.batch = nnx.BatchNorm(2, use_bias=False, rngs=rngs)
        self.temperature = nnx.Param(jnp.ones(()))
        self.adder = scallax_nn.Reasoner("rel 0.5::a(x) = b(x)", trainable=["a"], **PLAIN)


PLAIN = {"input_mappings": {"b": range(2)}, "output_mapping": ("a", range(2))}
COMMON = [
    "Flax (the model), a OddFlax with `temperature` float32 []: its class or its variables are not known here; "
    "torch has nothing of that name",
]


def test_all_differences_are_one_error_before_any_change():
    model, twin = OddTorch(), OddFlax()
    twin_before, model_before = values(twin), bits(model.state_dict())
    expected = [
        *COMMON,
        "Flax `attention.0`, a LinearGeneral with `bias` float32 [2, 2], `kernel` float32 [4, 2, 2]: "
        "its class or its variables are not known here; torch has nothing of that name",
        "torch `encoder.0.bias`: float32 [4]; Flax `encoder.layers.0.bias`: float32 [5]",
        "torch `encoder.0.weight`: float32 [4, 3]; Flax `encoder.layers.0.kernel`: float32 [3, 5], "
        "in torch's order [5, 3]",
        "torch `encoder.2.bias`: none; Flax `encoder.layers.2.bias`: float32 [2]",
        "torch `half.weight`: float16 [2, 2]; Flax `half.kernel`: float32 [2, 2], in torch's order [2, 2]",
        "torch `norm` is a GroupNorm, Flax `norm` is a LayerNorm",
        "torch `attention.in_proj_weight` of a MultiheadAttention: float32 [12, 4]; Flax: none",
        "torch `attention.out_proj.weight` of a NonDynamicallyQuantizableLinear: float32 [4, 4]; Flax: none",
        "torch `half.bias` of a Linear: float16 [2]; Flax `half.bias`: none",
        "torch `batch.bias` of a BatchNorm1d: float32 [2]; Flax `batch.bias`: none",
    ]
    with pytest.raises(CheckpointError) as caught:
        weights.to_flax(model, twin)
    program = "the program of torch `adder` for Flax `adder`: program: line 1 was `rel 0.4::a(x) = b(x)`, is `"
    assert str(caught.value).split("\n\n") == [*expected, program + "rel 0.5::a(x) = b(x)`"]
    with pytest.raises(CheckpointError) as caught:
        weights.to_torch(twin, model)
    program = "the program of Flax `adder` for torch `adder`: program: line 1 was `rel 0.5::a(x) = b(x)`, is `"
    assert str(caught.value).split("\n\n") == [*expected, program + "rel 0.4::a(x) = b(x)`"]
    # A state dict has no classes: the GroupNorm's names are a LayerNorm's.
    with pytest.raises(CheckpointError) as caught:
        weights.to_flax(model.state_dict(), twin)
    problems = str(caught.value).split("\n\n")
    assert len(problems) == len(expected)
    assert "torch `attention.in_proj_weight`: float32 [12, 4]; Flax: none" in problems
    assert all((values(twin)[name] == value).all() for name, value in twin_before.items())
    assert bits(model.state_dict()) == model_before


def test_nothing_changes_for_the_last_of_many_layers():
    model, twin = make_torch(), FlaxModel()
    before = values(twin)
    state = model.state_dict()
    state["reasoner.bias.facts"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as caught:
        weights.to_flax(state, twin)
    assert str(caught.value) == "torch `reasoner.bias.facts`: float32 [3]; Flax `reasoner.bias.facts`: float32 [2]"
    assert all((values(twin)[name] == value).all() for name, value in before.items())


def test_layers_in_one_by_vmap_are_not_known():
    @nnx.vmap(in_axes=0, out_axes=0)
    def make(rngs):
        return nnx.Linear(3, 2, rngs=rngs)

    with pytest.raises(CheckpointError) as caught:
        # By its shape, this weight of a Conv1d would fit.
        weights.to_flax({"weight": torch.zeros(2, 3, 4), "bias": torch.zeros(4, 2)}, make(nnx.Rngs(0).split(4)))
    assert str(caught.value) == (
        "Flax (the model), a Linear with `bias` float32 [4, 2], `kernel` float32 [4, 3, 2]: its class or its variables "
        "are not known here; torch has `weight` float32 [2, 3, 4], `bias` float32 [4, 2]"
    )


def test_float64_needs_a_jax_that_has_it():
    model, twin = torch.nn.Linear(2, 3).double(), nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    with pytest.raises(CheckpointError) as caught:
        weights.to_flax(model, twin)
    assert str(caught.value).split("\n\n") == [
        "torch `bias`: float64 [3]; Flax `bias`: float32 [3]",
        "torch `weight`: float64 [3, 2]; Flax `kernel`: float32 [2, 3], in torch's order [3, 2]",
        "this JAX has float64 off, and makes float32 of it\n"
        'hint: call `jax.config.update("jax_enable_x64", True)`, then build the model with param_dtype=jnp.float64',
    ]
    # A model from a time when it was on takes all bits.
    with jax.enable_x64(True):
        wide = nnx.Linear(2, 3, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    weights.to_flax(model, wide)
    assert bits(weights.to_torch(wide, model)) == bits(model.state_dict())


def test_other_dtypes_are_not_carried():
    twin = nnx.Embed(2, 3, param_dtype=jnp.complex64, rngs=nnx.Rngs(0))
    with pytest.raises(CheckpointError) as caught:
        weights.to_flax({"weight": torch.zeros(2, 3, dtype=torch.complex64)}, twin)
    assert str(caught.value) == (
        "torch `weight`: complex64 [2, 3]; Flax `embedding`: only float16, bfloat16, float32, float64 are carried"
    )


def test_a_flax_model_of_numpy_arrays_is_given_weights_too():
    layer, twin = torch.nn.Linear(2, 3), nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    nnx.update(twin, jax.tree.map(np.asarray, nnx.state(twin)))
    weights.to_flax(layer, twin)
    assert bits(weights.to_torch(twin, layer)) == bits(layer.state_dict())


def test_statistics_that_flax_made_float32_are_explained():
    layer = nnx.BatchNorm(2, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    with pytest.raises(CheckpointError) as caught:
        weights.to_flax(torch.nn.BatchNorm1d(2).bfloat16(), layer)
    assert str(caught.value).split("\n\n") == [
        "torch `running_mean`: bfloat16 [2]; Flax `mean`: float32 [2]",
        "torch `running_var`: bfloat16 [2]; Flax `var`: float32 [2]",
        "Flax makes the statistics of BatchNorm float32, whatever its param_dtype is\n"
        "hint: cast them: nnx.update(model, jax.tree.map(lambda x: x.astype(dtype), nnx.state(model, nnx.BatchStat)))",
    ]


def test_programs_are_found_missing_and_damaged():
    model, twin = make_torch(), FlaxModel()
    state = model.state_dict()
    program = state.pop("reasoner._extra_state")
    with pytest.raises(CheckpointError) as caught:
        weights.to_flax({**state, "blocks._extra_state": program}, twin)
    assert str(caught.value).split("\n\n") == [
        "torch `reasoner._extra_state`: none; Flax `reasoner`: a program",
        "torch `blocks._extra_state`: float32 [4096]; Flax: none",
    ]
    damaged = program.clone()
    damaged[20] += 1
    with pytest.raises(CheckpointError, match=r"^torch `reasoner._extra_state`: the saved specification"):
        weights.to_flax({**state, "reasoner._extra_state": damaged}, twin)
    alone = model.get_submodule("reasoner")
    twin = scallax_nn.Reasoner(PROGRAM, **OPTIONS)
    weights.to_flax(alone, twin)
    assert bits(weights.to_torch(twin, alone)) == bits(alone.state_dict())


def test_a_checkpoint_of_flax_is_not_taken_for_one_of_torch(tmp_path):
    class Net(nnx.Module):
        def __init__(self):
            self.blocks = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
            self.reasoner = scallax_nn.Reasoner(PROGRAM, **OPTIONS)

    checkpoint.save(tmp_path / "flax.safetensors", Net())
    state = torch_bridge.load(tmp_path / "flax.safetensors")
    model = torch.nn.Module()
    model.blocks = torch.nn.Linear(2, 2)
    model.reasoner = torch_bridge.Module(PROGRAM, **OPTIONS)
    with pytest.raises(RuntimeError, match=r"of a Flax model.*`torch_bridge\.weights\.to_torch"):
        model.load_state_dict(state)
    # The reasoner's own part has the same names in both.
    model.reasoner.load_state_dict(
        {name.removeprefix("reasoner."): value for name, value in state.items() if "reas" in name}
    )


def test_what_is_no_model_is_one_error():
    twin = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=r"^a list is no torch model\nhint: give the module or its state dict"):
        weights.to_flax([], twin)  # pyright: ignore[reportArgumentType]: that is the test
    with pytest.raises(InputError, match=r"^a Linear is no NNX module\nhint: give a flax.nnx.Module"):
        weights.to_flax({}, torch.nn.Linear(2, 2))  # pyright: ignore[reportArgumentType]: that is the test
    abstract = nnx.eval_shape(lambda: nnx.Linear(2, 2, rngs=nnx.Rngs(0)))
    with pytest.raises(InputError, match=r"^the variables of the Flax model have no values\nhint: build it outside of"):
        weights.to_flax(torch.nn.Linear(2, 2), abstract)
    with pytest.raises(InputError, match=r"^the variables of the Flax model have no values"):
        nnx.jit(lambda twin: weights.to_flax(torch.nn.Linear(2, 2), twin))(twin)
    source = {
        "epoch": 3,
        "weight": torch.nn.Linear(2, 2, device="meta").weight,
        "bias": torch.nn.LazyLinear(2).bias,
        "more": torch.eye(2).to_sparse(),
    }
    with pytest.raises(CheckpointError) as caught:
        weights.to_flax(source, twin)
    assert str(caught.value).split("\n\n") == [
        "torch `epoch` is of type int, no tensor",
        "torch `weight` has no values yet",
        "torch `bias` has no values yet",
        "torch `more` is of layout torch.sparse_coo; only dense tensors are carried",
    ]


def test_torch_bridge_works_without_flax():
    code = """
        import sys
        import torch_bridge

        assert not any(name.split(".")[0] == "flax" for name in sys.modules)
        sys.modules["flax"] = None
        try:
            torch_bridge.weights.to_flax({}, None)
        except torch_bridge.ScallaxError as error:
            print(error)
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "Flax is not installed\nhint: pip install scallax[flax]\n", done.stderr
