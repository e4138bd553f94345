"""Saving and loading, as the guide's snippets do it; and every file and state dict that is refused."""

import copy
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch
from torch import nn

import torch_bridge
from scallax import CheckpointError
from tests.facts.test_specification import resealed

PROGRAM = "rel sum_2(a + b) = digit_a(a) and digit_b(b)"
DIGITS = {"digit_a": range(10), "digit_b": range(10)}

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def make_module(**options) -> torch_bridge.Module:
    defaults = {
        "provenance": "difftopkproofs",
        "k": 3,
        "program": PROGRAM,
        "input_mappings": DIGITS,
        "output_mapping": ("sum_2", range(19)),
    }
    return torch_bridge.Module(**{**defaults, **options})


class DigitAdder(nn.Module):
    """The guide's model on small images; the proofs are left out for speed."""

    def __init__(self, **options):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 10))
        self.adder = make_module(provenance="diffaddmultprob", **options)

    def forward(self, left, right):
        left, right = (torch.softmax(self.encoder(images), dim=1) for images in (left, right))
        return self.adder(digit_a=left, digit_b=right)


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.softmax(torch.randn(16, 10, generator=generator), 1) for name in DIGITS}


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 16, generator=generator), torch.randn(8, 16, generator=generator)


@pytest.fixture
def model() -> DigitAdder:
    torch.manual_seed(0)
    return DigitAdder()


def saved(obj: object) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(obj, file)
    file.seek(0)
    return file


def train(model: nn.Module, optimizer: torch.optim.Optimizer, images: tuple, epochs: range) -> float:
    loss = torch.tensor(0.0)
    for _ in epochs:
        optimizer.zero_grad()
        loss = nn.functional.nll_loss(torch.log(model(*images) + 1e-6), torch.arange(8))
        loss.backward()
        optimizer.step()
    return loss.item()


def test_a_module_is_saved_and_loaded_whole(tmp_path, inputs):
    model = make_module(train_k=5)
    torch.save(model, tmp_path / "my_model.pt")
    loaded_model = torch.load(tmp_path / "my_model.pt")
    assert loaded_model.specification == model.specification
    assert loaded_model.specification.to_json() == model.specification.to_json()
    assert torch.equal(loaded_model(**inputs), model(**inputs))
    assert torch.equal(loaded_model.eval()(**inputs), model.eval()(**inputs))


def test_a_module_is_loaded_in_a_fresh_process_bit_for_bit(tmp_path, inputs):
    model = make_module()
    torch.save(model, tmp_path / "my_model.pt")
    torch.save(inputs, tmp_path / "inputs.pt")
    code = """
import sys, torch, torch_bridge
model = torch.load(sys.argv[1] + "/my_model.pt")
torch.save(model(**torch.load(sys.argv[1] + "/inputs.pt")), sys.argv[1] + "/outputs.pt")
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], check=True)
    assert torch.equal(torch.load(tmp_path / "outputs.pt"), model(**inputs))


def test_the_mode_is_saved():
    assert not torch.load(saved(make_module().eval())).training


def test_a_program_from_a_file_is_saved_with_its_text(tmp_path, inputs):
    (tmp_path / "sum.scl").write_text(PROGRAM)
    model = make_module(program=None, file=tmp_path / "sum.scl")
    file = saved(model)
    (tmp_path / "sum.scl").unlink()
    assert torch.equal(torch.load(file)(**inputs), model(**inputs))


def test_a_module_with_every_kind_of_argument_is_saved():
    model = torch_bridge.Module(
        "rel seen(n) = look(n) and not hidden(n)",
        provenance="diffaddmultprob",
        rules=["both(a, b) = seen(a) and seen(b) and pair(a, b)"],
        relations=[("pair", (int, int)), ("hidden", int)],
        facts={"pair": [(1, 2)], "hidden": [(None, (3,)), (0.25, 1)]},
        non_probabilistic=["pair"],
        input_mappings={"look": torch_bridge.InputMapping(range(4), disjunctive=True, retain_threshold=0.1)},
        output_mappings={"both": [(1, 2)], "seen": None},
        retain_topk={"look": 3},
        iter_limit=3,
        early_discard=True,
        wmc_with_disjunctions=True,
    )
    loaded = torch.load(saved(model))
    assert loaded.specification == model.specification
    look = torch.full((2, 4), 0.25)
    assert torch.equal(loaded(look=look)["both"], model(look=look)["both"])
    assert loaded(look=look)["seen"][0] == model(look=look)["seen"][0]


def test_a_subclass_is_allowed_by_its_definition(inputs):
    model = Doubled(program=PROGRAM, input_mappings=DIGITS, output_mapping=("sum_2", range(19)))
    loaded = torch.load(saved(model))
    assert type(loaded) is Doubled
    assert torch.equal(loaded(**inputs), model(**inputs))


class Doubled(torch_bridge.Module):
    """A user's own kind of module."""

    def forward(self, **inputs):
        return 2 * super().forward(**inputs)


def test_a_users_network_loads_after_one_line(tmp_path, model, images):
    torch.save(model, tmp_path / "digit_adder_final.pt")
    with pytest.raises(pickle.UnpicklingError, match="add_safe_globals"):
        torch.load(tmp_path / "digit_adder_final.pt")
    allowed = [DigitAdder, nn.Sequential, nn.Linear, nn.ReLU]
    with torch.serialization.safe_globals(allowed):
        loaded = torch.load(tmp_path / "digit_adder_final.pt")
    assert torch.equal(loaded.eval()(*images), model.eval()(*images))


def test_a_class_of_a_script_is_allowed_by_the_name_it_had_there(tmp_path, model, images, monkeypatch):
    path = tmp_path / "script.pt"
    with monkeypatch.context() as script:
        script.setattr(DigitAdder, "__module__", "__main__")
        script.setattr(sys.modules["__main__"], "DigitAdder", DigitAdder, raising=False)
        torch.save(model, path)
    with pytest.raises(CheckpointError) as caught:
        torch_bridge.load(path)
    assert '[(DigitAdder, "__main__.DigitAdder"), ...]' in str(caught.value)
    allowed = [(DigitAdder, "__main__.DigitAdder"), nn.Sequential, nn.Linear, nn.ReLU]
    with torch.serialization.safe_globals(allowed):
        assert torch.equal(torch_bridge.load(path).eval()(*images), model.eval()(*images))


def test_copies_and_pickles(inputs):
    model = make_module()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.specification == model.specification
        assert torch.equal(twin(**inputs), model(**inputs))


def test_the_file_holds_data_only(tmp_path):
    torch.save(make_module(), tmp_path / "my_model.pt")
    unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "my_model.pt")
    assert unsafe == []


class Forged(torch_bridge.Module):
    """Writes `text` in place of its own specification."""

    text: object = None

    def __getstate__(self):
        return {**super().__getstate__(), "specification": type(self).text}


def altered(**changes) -> str:
    """The text of `make_module()` with other fields, and digests that fit."""
    return resealed({**json.loads(make_module().specification.to_json()), **changes})


WRONG_PROGRAM = "rel sum_2(a + c) = digit_a(a) and digit_b(b)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the saved specification is no JSON: "),
        (None, "the saved module holds no specification"),
        (altered(format=2), "the saved specification has format version 2; this version of scallax reads version 1"),
        (
            altered(program="rel a(1)"),
            "the saved program does not match its SHA-256: it was changed after it was saved",
        ),
        (
            make_module().specification.to_json().replace('"k":3', '"k":4'),
            "the saved specification does not match its SHA-256: it was changed after it was saved",
        ),
        (
            altered(program=WRONG_PROGRAM, program_sha256=hashlib.sha256(WRONG_PROGRAM.encode()).hexdigest()),
            "the saved program does not compile: <program>:1:",
        ),
        (altered(provenance="magic"), "the saved program does not compile: there is no provenance `magic`"),
        (
            altered(column_types=[["digit_a", ["i8"]], ["digit_b", ["i32"]], ["sum_2", ["i32"]]]),
            "the saved program compiles to something else: column types of `digit_a`: was (i8), is (i32)",
        ),
    ],
)
def test_a_module_with_a_forged_specification_is_refused(text, message, monkeypatch):
    monkeypatch.setattr(Forged, "text", text)
    forged = Forged(program=PROGRAM, input_mappings=DIGITS, output_mapping=("sum_2", range(19)))
    with pytest.raises(CheckpointError) as caught:
        torch.load(saved(forged))
    assert str(caught.value).startswith(message)


class Bomb:
    def __reduce__(self):
        return print, ("executed",)


def test_loading_executes_nothing(monkeypatch, capsys):
    monkeypatch.setattr(Forged, "text", Bomb())
    forged = Forged(program=PROGRAM, input_mappings=DIGITS, output_mapping=("sum_2", range(19)))
    with pytest.raises(pickle.UnpicklingError, match="Unsupported global"):
        torch.load(saved(forged))
    assert capsys.readouterr().out == ""


def test_a_state_dict_is_saved_and_loaded(tmp_path, inputs):
    model = make_module()
    torch.save(model.state_dict(), tmp_path / "model_weights.pth")
    model = make_module()
    model.load_state_dict(torch.load(tmp_path / "model_weights.pth"))
    model.eval()
    assert model(**inputs).shape == (16, 19)


def test_the_state_dict_carries_the_specification(model):
    state = model.state_dict()
    assert list(state) == [
        "encoder.0.weight",
        "encoder.0.bias",
        "encoder.2.weight",
        "encoder.2.bias",
        "adder._extra_state",
    ]
    digits = state["adder._extra_state"]
    assert digits.dtype == torch.float32
    assert len(digits) % 2048 == 0
    levels = {1: "000", 2: "001", 4: "010", 8: "011", -1: "100", -2: "101", -4: "110", -8: "111"}
    bits = "".join(levels[digit] for digit in digits[128:].tolist())
    text = bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits), 8))
    assert json.loads(text) == json.loads(model.adder.specification.to_json())
    bits = f"{int.from_bytes(hashlib.sha256(text).digest()[:8], 'big'):064b}"
    assert digits[:128].tolist() == [value for bit in bits for value in (float(bit), 1 - float(bit))]


def test_another_program_is_refused_with_every_difference(inputs):
    model = make_module()
    before = model(**inputs)
    other = make_module(
        program="rel sum_2(a * b) = digit_a(a) and digit_b(b)",
        provenance="diffaddmultprob",
        k=5,
        input_mappings={"digit_a": range(10), "digit_b": range(9)},
        output_mapping=("sum_2", [0, 1]),
    )
    for strict in (True, False):
        with pytest.raises(RuntimeError) as caught:
            model.load_state_dict(other.state_dict(), strict=strict)
        assert str(caught.value) == (
            "Error(s) in loading state_dict for Module:\n"
            "\tthe module: the state dict was saved from another program "
            "(build the module with the saved arguments, or train it anew):\n"
            "\t\tprogram: line 1 was `rel sum_2(a * b) = digit_a(a) and digit_b(b)`, "
            "is `rel sum_2(a + b) = digit_a(a) and digit_b(b)`\n"
            "\t\tprovenance: was diffaddmultprob, is difftopkproofs\n"
            "\t\tk: was 5, is 3\n"
            "\t\tinput mapping of `digit_b`: was 9 entries [0, 1, 2, 3, ..., 8], is 10 entries [0, 1, 2, 3, ..., 9]\n"
            "\t\toutput mapping of `sum_2`: was 2 entries [0, 1], is 19 entries [0, 1, 2, 3, ..., 18]"
        )
    assert torch.equal(model(**inputs), before)
    assert model.specification == make_module().specification


def test_a_nested_module_names_itself(model):
    other = DigitAdder(k=7).state_dict()
    with pytest.raises(RuntimeError, match=r"module `adder`: .*\n\t\tk: was 7, is 3$"):
        model.load_state_dict(other)


def test_another_number_of_proofs_says_what_to_do():
    saved, module, wanted = make_module(k=1, test_k=2), make_module(k=1, test_k=5), make_module(k=5)
    advice = (
        r"\(build the model with test_k=2, as it was saved, and take `with_k\(5\)` after loading; `test_k=5`, given "
        r"before training, is for evaluation alone\):\n\t\ttest_k: was 2, is 5$"
    )
    with pytest.raises(RuntimeError, match=advice):
        module.load_state_dict(saved.state_dict())
    more = saved.with_k(5)
    assert more.specification == wanted.specification
    assert more.reasoner.in_mode(False).specification.k == more.reasoner.in_mode(True).specification.k == 5
    assert saved.reasoner.in_mode(False).specification.k == 2
    wanted.load_state_dict(more.state_dict())


def test_a_module_with_another_k_shares_parameters_and_nothing_else():
    module = torch_bridge.Module("rel a = {0.5::1, 0.25::2}\nrel b(x) = a(x)\nquery b", trainable=["a"]).eval()
    twin = module.with_k(1)
    assert [id(p) for p in twin.parameters()] == [id(p) for p in module.parameters()]
    assert not twin.training
    twin.train().register_forward_hook(lambda *_: None)
    assert not module.training
    assert not module._forward_hooks
    assert copy.deepcopy(twin).specification.k == 1


def test_the_state_dict_of_another_architecture_says_what_to_do(model):
    without = {name: value for name, value in model.state_dict().items() if not name.startswith("adder")}
    message = (
        r'Missing key\(s\) in state_dict: "adder._extra_state \(no program: the state dict was saved from another '
        r'architecture; build the model that was saved, or load with strict=False what fits\)"'
    )
    with pytest.raises(RuntimeError, match=message):
        model.load_state_dict(without)
    assert model.load_state_dict(without, strict=False).missing_keys == ["adder._extra_state"]


def test_unexpected_names_are_torchs_own_error(model):
    state = {**model.state_dict(), "adder.weight": torch.zeros(1), "decoder.weight": torch.zeros(1)}
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "decoder.weight", "adder.weight"'):
        model.load_state_dict(state)
    assert sorted(model.load_state_dict(state, strict=False).unexpected_keys) == ["adder.weight", "decoder.weight"]


@pytest.mark.parametrize(
    "state",
    [torch.zeros(3), torch.full((1024,), 255, dtype=torch.uint8), torch.full((1024,), 32, dtype=torch.uint8), "{}"],
)
def test_a_damaged_specification_in_a_state_dict_is_one_error(state):
    with pytest.raises(RuntimeError, match=r"the module: the saved specification is no (text|JSON)"):
        make_module().load_state_dict({"_extra_state": state})


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_map_location(device, assign, model, images):
    state = torch.load(saved(model.state_dict()), map_location=device)
    assert {value.device.type for value in state.values()} == {device}
    other = DigitAdder()
    if device == "meta" and assign:
        other.load_state_dict(state, assign=True)
        assert other.encoder[0].weight.device.type == "meta"
    elif device == "cpu":
        other.load_state_dict(state, assign=assign)
        assert torch.equal(other(*images), model(*images))


def test_a_model_made_on_the_meta_device_takes_a_state_dict(model, images):
    with torch.device("meta"):
        empty = DigitAdder()
    empty.load_state_dict(torch.load(saved(model.state_dict()), weights_only=True), assign=True)
    assert torch.equal(empty(*images), model(*images))


def test_a_whole_module_takes_every_map_location(inputs):
    model = make_module()
    for place in ("cpu", torch.device("cpu"), "meta"):
        assert torch.equal(torch.load(saved(model), map_location=place)(**inputs), model(**inputs))


def test_resuming_from_a_checkpoint_gives_the_weights_of_an_uninterrupted_run(tmp_path, images):
    def start():
        torch.manual_seed(0)
        model = DigitAdder()
        return model, torch.optim.Adam(model.parameters(), lr=1e-2)

    whole, optimizer = start()
    train(whole, optimizer, images, range(1, 5))

    model, optimizer = start()
    for epoch in (1, 2):
        loss = train(model, optimizer, images, range(epoch, epoch + 1))
        checkpoint = {
            "epoch": epoch,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "loss": loss,
            "config": {"k": 3, "provenance": "difftopkproofs", "learning_rate": 1e-2},
        }
        torch.save(checkpoint, tmp_path / f"checkpoint_epoch_{epoch}.pth")

    torch.manual_seed(5)
    model = DigitAdder()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    checkpoint = torch.load(tmp_path / "checkpoint_epoch_2.pth")
    model.load_state_dict(checkpoint["model_state_dict"])
    optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
    model.train()
    train(model, optimizer, images, range(checkpoint["epoch"] + 1, 5))
    for ours, theirs in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


# The page's troubleshooting: what helps when the package is not imported, and when results differ after loading.


def test_a_file_loads_once_the_package_is_imported(tmp_path):
    torch.save(make_module(), tmp_path / "model.pt")
    code = """
import pickle, sys, torch
try:
    torch.load(sys.argv[1])
except pickle.UnpicklingError as error:
    print("torch_bridge.module.Module" in str(error))
import torch_bridge
print(type(torch.load(sys.argv[1])).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "model.pt")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\nModule\n"


def test_the_mode_decides_which_k_answers_after_loading(inputs):
    model = make_module(train_k=1, test_k=5).eval()
    loaded = torch.load(saved(model)).train()
    assert not torch.equal(loaded(**inputs), model(**inputs))
    loaded.eval()
    with torch.no_grad():
        assert torch.equal(loaded(**inputs), model(**inputs))


# Files of our own writer.


def test_our_files_are_read_by_us_and_by_torch(tmp_path, model, images):
    checkpoint = {"epoch": 3, "model": model.state_dict(), "none": torch.zeros(0)}
    torch_bridge.save(tmp_path / "checkpoint.pth", checkpoint)
    for load in (torch_bridge.load, torch.load):
        loaded = load(tmp_path / "checkpoint.pth")
        assert loaded["epoch"] == 3
        other = DigitAdder()
        other.load_state_dict(loaded["model"])
        assert torch.equal(other(*images), model(*images))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pth"]


def test_our_files_take_modules_and_map_locations(tmp_path, inputs):
    model = make_module()
    torch_bridge.save(tmp_path / "model.pt", model)
    assert torch.equal(torch_bridge.load(tmp_path / "model.pt")(**inputs), model(**inputs))
    torch_bridge.save(tmp_path / "model.pt", {"weight": torch.ones(2)}, overwrite=True)
    assert torch_bridge.load(tmp_path / "model.pt", map_location="meta")["weight"].device.type == "meta"


def test_a_failed_save_leaves_the_old_file(tmp_path):
    torch_bridge.save(tmp_path / "a.pt", {"epoch": 1})
    with pytest.raises(AttributeError, match="pickle"):
        torch_bridge.save(tmp_path / "a.pt", {"epoch": 2, "hook": lambda: None}, overwrite=True)
    with pytest.raises(CheckpointError, match=r"`.*a.pt` exists; give overwrite=True to replace it$"):
        torch_bridge.save(tmp_path / "a.pt", {"epoch": 2})
    assert torch_bridge.load(tmp_path / "a.pt") == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_any_flipped_bit_of_a_record_is_found(tmp_path):
    path = tmp_path / "a.pt"
    torch_bridge.save(path, {"weight": torch.arange(1000.0)})
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        starts = {info.filename: info.header_offset for info in archive.infolist()}
    place = data.index(torch.arange(1000.0).numpy().tobytes()) + 400
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    assert "archive/data/0" in starts
    with pytest.raises(CheckpointError, match=r"is damaged: the record `archive/data/0` does not match its SHA-256$"):
        torch_bridge.load(path)


def test_a_flipped_bit_anywhere_is_an_error_or_without_effect(tmp_path):
    path = tmp_path / "a.pt"
    weight = torch.arange(50.0)
    torch_bridge.save(path, {"weight": weight})
    data = path.read_bytes()
    refused = 0
    for place in torch.randint(len(data) * 8, (300,), generator=torch.Generator().manual_seed(0)).tolist():
        path.write_bytes(data[: place // 8] + bytes([data[place // 8] ^ 1 << place % 8]) + data[place // 8 + 1 :])
        try:
            assert torch.equal(torch_bridge.load(path)["weight"], weight)
        except CheckpointError:
            refused += 1
    # Names and lengths that only one of the archive's two directories has are without effect.
    assert refused > 150


@pytest.mark.parametrize("length", [0, 100, 1000])
def test_a_file_that_was_cut_off_is_refused(length, tmp_path):
    path = tmp_path / "a.pt"
    torch_bridge.save(path, {"weight": torch.arange(1000.0)})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="is no checkpoint file, or is damaged: "):
        torch_bridge.load(path)


def test_a_replaced_and_an_added_record_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    torch_bridge.save(path, {"weight": torch.zeros(3)})
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    del records["archive/data/0"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, record in {**records, "archive/data/7": b"1"}.items():
            archive.writestr(name, record)
    with pytest.raises(CheckpointError) as caught:
        torch_bridge.load(path)
    assert str(caught.value) == (
        f"`{path}` lacks the record `archive/data/0`\n\n`{path}` has the unknown record `archive/data/7`"
    )


def test_a_file_of_plain_torch_is_read_by_the_checksums_of_its_archive(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"weight": torch.arange(1000.0)}, path)
    assert torch.equal(torch_bridge.load(path)["weight"], torch.arange(1000.0))
    data = path.read_bytes()
    place = data.index(torch.arange(1000.0).numpy().tobytes()) + 400
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    assert not torch.equal(torch.load(path)["weight"], torch.arange(1000.0))
    with pytest.raises(CheckpointError, match=r"is damaged: the record `a/data/0` does not match its checksum$"):
        torch_bridge.load(path)


def test_what_may_run_code_is_refused_and_named(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    torch.save({"weight": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(CheckpointError, match=r"holds what torch does not load: `(posix|nt)\.system`\nhint: if you"):
        torch_bridge.load(tmp_path / "trap.pt")
    (tmp_path / "trap.pkl").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="no checkpoint file"):
        torch_bridge.load(tmp_path / "trap.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.gpu
@needs_cuda
def test_the_guides_cuda_forms(tmp_path, model, images):
    model = model.cuda()
    on_device = tuple(image.cuda() for image in images)
    expected = model(*on_device)
    torch.save(model, tmp_path / "model_gpu.pt")
    with torch.serialization.safe_globals([DigitAdder, nn.Sequential, nn.Linear, nn.ReLU]):
        loaded = torch.load(tmp_path / "model_gpu.pt", map_location=torch.device("cpu"))
        torch.testing.assert_close(loaded(*images), expected.cpu())
        torch.save(loaded, tmp_path / "model_cpu.pt")
        again = torch.load(tmp_path / "model_cpu.pt").to("cuda")
        torch.testing.assert_close(again(*on_device), expected)
        again = torch.load(tmp_path / "model_cpu.pt", map_location="cuda:0")
        torch.testing.assert_close(again(*on_device), expected)
