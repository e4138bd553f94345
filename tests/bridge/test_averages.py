"""State dicts as programs treat them: averaged, cast, moved, sharded; the specification in them stays readable."""

import copy

import pytest
import safetensors.torch
import torch
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import torch_bridge
from scallax import CheckpointError
from scallax.facts.specification import Specification
from torch_bridge.digits import pack_specification, read_specification

PROGRAM = "rel edge = {0.5::(0, 1), 0.25::(1, 2)}\nrel 0.75::path(x, y) = edge(x, y)\nquery path"
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def make(**options) -> torch_bridge.Module:
    return torch_bridge.Module(PROGRAM, trainable=["edge", "path"], **options)


@pytest.fixture(scope="module")
def specification() -> Specification:
    return make().specification


@pytest.fixture(scope="module")
def digits(specification) -> torch.Tensor:
    return pack_specification(specification)


AVERAGES = [
    lambda a: 0.005 * a + 0.995 * a,
    lambda a: torch.stack([a] * 300).mean(0),
    lambda a: sum(a / 7 for _ in range(7)),
    # In bfloat16 a running sum is stuck at 256.
    lambda a: sum([a] * 500) / 500,
    lambda a: torch.lerp(a, a, 0.3),
    lambda a: a + 0.4 * (a - a),
    # Done to all floats: tests add numbers, evolution strategies and privacy add noise.
    lambda a: a + 1,
    lambda a: 3 * (a + 0.03 * torch.randn(a.shape, generator=torch.Generator().manual_seed(0)).to(a.dtype)),
    # Weights that do not add up to 1 in half precision.
    lambda a: torch.tensor(0.998, dtype=a.dtype) * a + torch.tensor(0.002, dtype=a.dtype) * a,
]


@pytest.mark.parametrize("dtype", FLOATS)
def test_averages_of_one_specification_are_the_specification(dtype, digits, specification):
    for average in [lambda a: a, *AVERAGES]:
        assert read_specification(average(digits.to(dtype))) == specification
        assert read_specification(average(digits).to(dtype)) == specification


@pytest.mark.parametrize("dtype", FLOATS)
def test_moving_averages_do_not_drift(dtype, digits, specification):
    value = digits.to(dtype)
    decays = torch.cat([torch.arange(1, 100) / 100, 1 - 10.0 ** -torch.arange(2, 6)])[:, None]
    for weight in (decays.to(dtype), decays):
        moving = value.expand(len(decays), -1)
        for _ in range(50):
            moving = (weight * moving + (1 - weight) * value).to(dtype)
        for row in moving[:: len(decays) // 4]:
            assert read_specification(row) == specification
        # Nothing moves any more: not one digit in thousands of steps.
        assert torch.equal((weight * moving + (1 - weight) * value).to(dtype), moving)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("weight", [0.5, 0.005, 0.995, 1e-4, -0.5])
def test_averages_of_different_specifications_are_an_error(dtype, weight, digits, specification):
    # They differ in one letter of the text.
    other = pack_specification(make(k=4).specification)
    assert other.shape == digits.shape
    average = weight * digits.to(dtype) + (1 - weight) * other.to(dtype)
    with pytest.raises(CheckpointError, match=r"is an average of different ones\nhint: average state dicts of modules"):
        read_specification(average)


def test_bytes_of_earlier_versions_are_read(specification):
    text = specification.to_json().encode()
    packed = torch.tensor(list(text.ljust(1024)), dtype=torch.uint8)
    for state in (packed, packed.double(), packed.bfloat16(), 0.005 * packed + 0.995 * packed):
        assert read_specification(state) == specification


DAMAGES = [
    lambda a: a - a,
    lambda a: -a,
    lambda a: a * torch.nan,
    lambda a: a * 1e-40,
    lambda a: a + 0.5 * torch.randn(a.shape, generator=torch.Generator().manual_seed(0)),
    lambda a: a[:-1],
    lambda a: a.flip(0),
    lambda a: torch.cat([1 - a[:1], a[1:]]),
    lambda a: torch.cat([1 - a[:2], a[2:]]),
    lambda a: torch.cat([a[:-1], 2 * a[-1:]]),
    lambda a: a.long(),
    lambda a: a[None],
    lambda a: a[:0],
    lambda a: a.to(torch.complex64),
    lambda a: torch.ones_like(a),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_digits_are_one_error(damage, digits):
    with pytest.raises(CheckpointError, match="the saved specification"):
        read_specification(damage(digits))


def network(seed: int) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), make())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.rand(parameter.shape)
    return model


def assert_averaged(model: torch.nn.Module, first: dict, second: dict, weight: float, **tolerance) -> None:
    for name, parameter in model.named_parameters():
        expected = weight * first[name] + (1 - weight) * second[name]
        torch.testing.assert_close(parameter.detach(), expected.to(parameter.dtype), **tolerance)


def test_a_target_network_follows():
    online, target = network(0), network(1)
    first, second = online.state_dict(), {k: v.clone() for k, v in target.state_dict().items()}
    target.load_state_dict({key: 0.005 * first[key] + 0.995 * second[key] for key in second})
    assert_averaged(target, first, second, 0.005)
    half = {key: (value.half() + second[key].half()) / 2 for key, value in first.items()}
    target.load_state_dict(half)
    assert_averaged(target, first, second, 0.5, rtol=2e-3, atol=2e-3)
    mean = {key: torch.stack([first[key], second[key]]).mean(0).double() for key in first}
    assert target.load_state_dict(mean, strict=False).missing_keys == []
    assert {parameter.dtype for parameter in target.parameters()} == {torch.float32}
    other = torch.nn.Sequential(torch.nn.Linear(2, 2), make(k=4)).state_dict()
    with pytest.raises(RuntimeError, match="module `1`: the saved specification is an average of different ones"):
        target.load_state_dict({key: 0.5 * first[key] + 0.5 * other[key] for key in first})


def test_whole_models_are_cast_copied_and_averaged(tmp_path):
    model = network(0)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for cast in (lambda m: m.half(), lambda m: m.bfloat16(), lambda m: m.double(), lambda m: m.to(torch.float32)):
        twin = cast(copy.deepcopy(model))
        network(1).load_state_dict(twin.state_dict())
        twin.load_state_dict(state)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    averaged.update_parameters(model)
    averaged.update_parameters(network(1))
    assert_averaged(averaged.module, state, network(1).state_dict(), 0.9)
    AveragedModel(network(2)).load_state_dict(averaged.state_dict())
    torch.save({key: value.bfloat16() for key, value in state.items()}, tmp_path / "model.pt")
    network(1).load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    torch_bridge.convert(tmp_path / "model.pt", tmp_path / "model.safetensors")
    network(1).load_state_dict(torch_bridge.load(tmp_path / "model.safetensors"))
    network(1).load_state_dict(safetensors.torch.load(safetensors.torch.save(state)))


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_distributed_checkpoints_of_averages(tmp_path):
    first, second = network(0).state_dict(), network(1).state_dict()
    average = {key: 0.25 * first[key] + 0.75 * second[key] for key in first}
    save(average, checkpoint_id=tmp_path / "model")
    loaded = network(2)
    state = loaded.state_dict()
    load(state, checkpoint_id=tmp_path / "model")
    loaded.load_state_dict(state)
    assert_averaged(loaded, first, second, 0.25)


def test_a_state_dict_is_its_own():
    module = make()
    module.state_dict()["_extra_state"].zero_()
    assert read_specification(module.state_dict()["_extra_state"]) == module.specification
    module.reasoner = module.reasoner.with_k(7)
    assert read_specification(module.state_dict()["_extra_state"]).k == 7
