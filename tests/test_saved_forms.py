"""Files that earlier versions wrote, in every form in which a user can save something, load and say the same.

`tests/golden/make_saved_forms.py` says what the forms are and how the archive was written.
"""

import importlib.util
import pickle
import pickletools
import pkgutil
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from flax import nnx

import torch_bridge
from scallax import checkpoint, nn
from tests.golden import make_saved_forms as forms

# Every class and function of the package that a saved file names, by the module it was in when the file was written.
# Each must be importable from there as long as such files are to load: leave an alias where something moves.
NAMED = (
    "scallax.answers:Options",
    "scallax.artifact:Artifact",
    "scallax.artifact:StoredGround",
    "scallax.attributes:ErrorAction",
    "scallax.attributes:MultipleActions",
    "scallax.attributes:RemoveItemAction",
    "scallax.collection:Collection",
    "scallax.context:Context",
    "scallax.draft:FactBatch",
    "scallax.errors:CheckpointError",
    "scallax.errors:Diagnostic",
    "scallax.errors:ForeignError",
    "scallax.errors:GroundingError",
    "scallax.errors:InputError",
    "scallax.errors:NameResolutionError",
    "scallax.errors:ParseError",
    "scallax.errors:ScallaxError",
    "scallax.errors:StratificationError",
    "scallax.errors:TypeInferenceError",
    "scallax.errors:UnboundVariableError",
    "scallax.errors:UnsupportedError",
    "scallax.grounding.layout:GroundProgram",
    "scallax.grounding.limits:Limits",
    "scallax.ir:Relation",
    "scallax.kernels.gates:Gates",
    "scallax.kernels.gates:Stage",
    "scallax.kernels.schedule:Schedule",
    "scallax.literals:Literal",
    "scallax.mappings:Entries",
    "scallax.mappings:InputMapping",
    "scallax.nn:LinenReasoner",
    "scallax.nn:Reasoner",
    "scallax.proofs:Explanation",
    "scallax.proofs:Proof",
    "scallax.proofs:ProofFact",
    "scallax.proofs:Step",
    "scallax.reasoner:_restore",
    "scallax.references:Reference",
    "scallax.sample_facts:FactList",
    "scallax.source:Source",
    "scallax.source:Span",
    "scallax.specification:Specification",
    "scallax.tables:CsvFile",
    "scallax.tables:Table",
    "scallax.tensors:SupportsArray",
    "scallax.tensors:TensorValue",
    "scallax.types:BatchedFacts",
    "scallax.types:BatchedTuples",
    "scallax.types:Facts",
    "scallax.types:GenericTypeParameter",
    "scallax.union:BatchGrounding",
    "scallax.union:BatchOutput",
    "scallax.union:CacheInfo",
    "scallax.values:ValueType",
    "torch_bridge.context:ScallopContext",
    "torch_bridge.io:CSVFileOptions",
    "torch_bridge.module:Module",
    "torch_bridge.module:_Logits",
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    with zipfile.ZipFile(forms.ARCHIVE) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(autouse=True)
def no_code_is_called(monkeypatch):
    """Functions of Python are called while a program is grounded: what is loaded was."""
    monkeypatch.setattr(forms, "is_closed", True)


def named_in(data: bytes) -> set[str]:
    """The classes and functions of the package that a pickle names, as `module:qualified name`."""
    found, texts, memory, last = set(), [], {}, None
    for operation, argument, _ in pickletools.genops(data):
        match operation.name:
            case "SHORT_BINUNICODE" | "BINUNICODE" | "BINUNICODE8":
                texts.append(argument)
            case "MEMOIZE" | "BINPUT" | "LONG_BINPUT":
                memory[len(memory) if argument is None else argument] = texts[-1] if last == "text" else None
            case "BINGET" | "LONG_BINGET" if memory.get(argument) is not None:
                texts.append(memory[argument])
            case "STACK_GLOBAL":
                found.add(":".join(texts[-2:]))
            case "GLOBAL":
                found.add(argument.replace(" ", ":"))
        last = "text" if operation.name.endswith(("UNICODE", "UNICODE8")) else operation.name
    return {name for name in found if name.startswith(("scallax", "torch_bridge"))}


def test_every_name_in_a_saved_file_is_where_it_was(saved: Path):
    found = set()
    for path in saved.iterdir():
        if path.suffix == ".pickle":
            found |= named_in(path.read_bytes())
        elif path.suffix == ".pt":
            with zipfile.ZipFile(path) as archive:
                (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
                found |= named_in(archive.read(name))
    assert sorted(found) == sorted(NAMED)
    lost = []
    for name in NAMED:
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError) as error:
            lost.append(f"{name}: files of users name it, and do not load without it ({error})")
    assert not lost, "\n".join(lost)


@pytest.mark.parametrize("name", forms.PICKLES)
def test_pickles_load(name: str, saved: Path, monkeypatch):
    if name.endswith("context"):
        monkeypatch.setattr(forms, "is_closed", False)
    form = forms.PICKLES[name]
    assert form.look(pickle.loads((saved / f"{name}.pickle").read_bytes())) == form.expected


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("name", forms.TORCH)
def test_files_of_torch_load(name: str, weights_only: bool, saved: Path):
    form = forms.TORCH[name]
    with torch.serialization.safe_globals([torch.nn.ModuleDict, torch.nn.Linear]):
        assert form.look(torch.load(saved / f"{name}.pt", weights_only=weights_only)) == form.expected


@pytest.mark.parametrize("name", ["foreign.safetensors", "foreign_orbax"])
def test_groundings_that_were_stored_are_not_made_again(name: str, saved: Path):
    loaded = checkpoint.load(saved / name, foreign=[forms.square, forms.near])
    assert forms.call_results(loaded) == [[0.25, 0.125]]


def test_groundings_are_stored_with_texts_terms_tensors_and_stages(saved: Path):
    module = torch_bridge.Module.from_reasoner(checkpoint.load(saved / "staged.safetensors"))
    assert forms.staged_results(module) == forms.STAGED_RESULTS
    assert "" in checkpoint.read(saved / "staged.safetensors").grounds


@pytest.mark.parametrize("name", ["flax.safetensors", "flax_orbax", "flax_run"])
def test_networks_of_flax_are_restored_with_their_optimizers(name: str, saved: Path):
    expected, expected_optimizer = forms.network_and_optimizer()
    model, optimizer = forms.fresh_network_and_optimizer()
    if name == "flax_run":
        artifact = checkpoint.Manager(saved / name).restore(model, optimizer=optimizer)
        assert artifact.metrics == {"loss": 0.5}
    else:
        artifact = checkpoint.restore(saved / name, model, optimizer=optimizer)
    assert artifact.extra == {"seed": 7}
    for found, wanted in ((model, expected), (optimizer, expected_optimizer)):
        pairs = zip(jax.tree.leaves(nnx.state(found)), jax.tree.leaves(nnx.state(wanted)), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_variables_of_linen_are_loaded(saved: Path):
    loaded = checkpoint.load(saved / "linen.safetensors")
    assert forms.parameters(loaded) == forms.LOGITS
    assert nn.LinenReasoner(**forms.TRAINED).apply({"params": loaded.parameters})[0] == [(0, 1), (1, 2)]


@pytest.mark.parametrize("name", ["torch.safetensors", "torch.pt", "torch_orbax"])
def test_modules_of_torch_load_from_every_form(name: str, saved: Path):
    assert forms.module_parameters(torch_bridge.load(saved / name)) == forms.LOGITS


def test_networks_of_torch_load_from_safetensors(saved: Path):
    assert forms.fits(forms.network)(torch_bridge.load(saved / "torch_network.safetensors")) == forms.TORCH_NETWORK


@pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", forms.GRAPHS)
def test_graphs_answer(name: str, saved: Path):
    load = forms.GRAPHS[name][1]
    assert load(saved / name)(torch.tensor(forms.EDGE)).tolist() == [[0.5, 0.125]]


def test_the_archive_holds_every_form(saved: Path):
    expected = {*forms.CHECKPOINTS, *forms.GRAPHS}
    expected |= {f"{form}.pickle" for form in forms.PICKLES} | {f"{form}.pt" for form in forms.TORCH}
    assert {path.name for path in saved.iterdir()} == expected


def test_the_entry_points_are_found():
    """An environment keeps the paths that it was installed with: they lead to what is declared now."""
    declared = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    installed = [
        *entry_points(group="console_scripts", name="scallax"),
        *entry_points(group="pygments.lexers", name="scallop"),
    ]
    main = pkgutil.resolve_name("scallax.__main__:main")
    lexer = pkgutil.resolve_name("scallax.highlighting:ScallopLexer")
    assert pkgutil.resolve_name(declared["scripts"]["scallax"]) is main
    assert pkgutil.resolve_name(declared["entry-points"]["pygments.lexers"]["scallop"]) is lexer
    assert [point.load() for point in installed] == [main, lexer]
    assert importlib.util.find_spec("scallax.__main__") is not None
