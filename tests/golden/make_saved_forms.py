"""Everything that a user can save, and the program that wrote `saved_forms.zip` beside it.

The archive holds files as an earlier version of the package wrote them: pickles name classes by their modules, so it
proves that a file outlives the moving and renaming of what is in it. `python -m tests.golden.make_saved_forms` adds
the forms that are not in it; what is in it is never written again. The functions and classes of a user's own
stand here, under the names that the pickles have for them: this file stays where it is.

Every number is a sum of powers of two: results are exact, and the same on every machine.
"""

import pickle
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch
from flax import nnx

import scallax
import torch_bridge
from scallax import checkpoint, nn
from scallax.checkpoint.artifact import Artifact
from scallax.language.tensors import TensorValue

ARCHIVE = Path(__file__).with_name("saved_forms.zip")

PATH = "rel path(a, c) = edge(a, c) or path(a, b) and edge(b, c)"
MAPPED: dict[str, Any] = {
    "program": PATH,
    "provenance": "addmultprob",
    "input_mappings": {"edge": [(0, 1), (1, 2)]},
    "output_mapping": ("path", [(0, 1), (0, 2)]),
}
LISTED: dict[str, Any] = {**MAPPED, "program": f"type edge(i32, i32)\n{PATH}", "input_mappings": {}}
TRAINED: dict[str, Any] = {
    "program": "rel edge = {0.5::(0, 1), 0.5::(1, 2)}\nrel 0.5::path(a, b) = edge(a, b)\nquery path",
    "provenance": "addmultprob",
    "trainable": ["edge", "path"],
}
# Its selections are by weight, so that its circuit has stages; its values are texts, terms and tensors.
STAGED: dict[str, Any] = {
    "program": """
        type shape = Circle(f32) | Square(i32)
        type seen(i32, shape, String, Tensor)
        rel best(s, t, x) = (i, s, t, x) := top<1>(i, s, t, x: seen(i, s, t, x))
        rel none(n) = n := count(s: best(s, _, _))
        query best
    """,
    "provenance": "addmultprob",
    "input_mappings": {
        "seen": [
            (0, "Circle(0.5)", "round é", np.array([0.5, 1.0], np.float32)),
            (1, "Square(3)", "angular", np.array([2.0], np.float32)),
        ]
    },
}
CHOOSING: dict[str, Any] = {
    **LISTED,
    "program": "type edge(i32, i32)\nrel best(a, b) = (a, b) := top<1>(a, b: edge(a, b))",
    "output_mapping": ("best", [(0, 1), (1, 2)]),
}
LIMITS = scallax.Limits(tuples=1000, rounds=100)
EDGE = [[0.5, 0.25]]


# Functions and classes of a user.


@scallax.foreign_function
def square(x: scallax.i32) -> scallax.i32:
    if is_closed:
        raise AssertionError("a function of Python was called: what it gave is stored")
    return x * x


@scallax.foreign_predicate
def near(x: int) -> scallax.Facts[float, tuple[int]]:
    yield 0.5, (x + 1,)


# While it is True no function of Python may be called.
is_closed = False
CALLING: dict[str, Any] = {
    "program": "rel out(x, $square(y)) = a(x), near(x, y)",
    "provenance": "addmultprob",
    "input_mappings": {"a": range(2)},
    "output_mapping": ("out", [(0, 1), (1, 4)]),
    "foreign": [square, near],
}


@dataclass(frozen=True)
class Cheapest(scallax.Provenance):
    """A user's algebra of arrays: costs add up along a path, and the cheapest is taken."""

    most: float

    def zero(self):
        return self.most

    def one(self):
        return 0.0

    def tag(self, probability, /):
        return probability

    def add(self, a, b, /):
        return jax.numpy.minimum(a, b)

    def mult(self, a, b, /):
        return a + b


class Routes:
    """A user's semiring of Python objects: the sets of roads that lead to a place."""

    def zero(self):
        return frozenset()

    def one(self):
        return frozenset([""])

    def add(self, a, b):
        return a | b

    def mult(self, a, b):
        return frozenset(left + right for left in a for right in b)

    def tagging_fn(self, road):
        return frozenset([road])


class Network(nnx.Module):
    """A user's Flax network with a reasoner in it."""

    def __init__(self):
        self.layer = nnx.Linear(2, 2, rngs=nnx.Rngs(0), kernel_init=_kernel)
        self.reasoner = nn.Reasoner(trained())

    def __call__(self, x):
        return self.layer(x), self.reasoner()[1]


class Edges(torch.nn.Module):
    """A user's model of torch around a module."""

    def __init__(self):
        super().__init__()
        self.path = module(MAPPED)

    def forward(self, probabilities):
        return self.path(edge=probabilities)


def _kernel(key: object, shape: tuple[int, ...], dtype: Any = np.float32, **_) -> jax.Array:
    return jax.numpy.arange(np.prod(shape), dtype=dtype).reshape(shape)


# How each form is made.


def reasoner(options: dict, **more: Any) -> scallax.Reasoner:
    return scallax.Reasoner(**options, **more)


def module(options: dict, **more: Any) -> torch_bridge.Module:
    return torch_bridge.Module(**options, **more)


def trained() -> scallax.Reasoner:
    """With logits that training may have given."""
    found = reasoner(TRAINED)
    return found.with_parameters(
        {name: np.full(np.shape(old), -30.0, np.float32) for name, old in found.parameters.items()}
    )


def trained_module() -> torch_bridge.Module:
    return torch_bridge.Module.from_reasoner(trained())


def fresh_network_and_optimizer() -> tuple[Network, nnx.Optimizer]:
    model = Network()
    return model, nnx.Optimizer(model, optax.sgd(0.5, momentum=0.5), wrt=nnx.Param)


def network_and_optimizer() -> tuple[Network, nnx.Optimizer]:
    """A network after one step of an optimizer."""
    model, optimizer = fresh_network_and_optimizer()
    optimizer.update(model, jax.tree.map(lambda values: values * 0 + 1, nnx.state(model, nnx.Param)))
    return model, optimizer


def linen_variables() -> Any:
    """The parameters of a Linen module."""
    variables = nn.LinenReasoner(**TRAINED).init(jax.random.key(0))
    return jax.tree.map(lambda logits: logits * 0 - 30, variables["params"])


def network() -> torch.nn.Module:
    """Torch's own classes around modules."""
    linear = torch.nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(2))
        linear.bias.fill_(0.5)
    return torch.nn.ModuleDict({"linear": linear, "path": module(MAPPED), "edges": trained_module()})


def with_edges(context: Any, tags: list) -> Any:
    context.add_relation("edge", (int, int))
    context.add_facts("edge", list(zip(tags, [(0, 1), (1, 2), (0, 2)], strict=False)))
    context.add_rule(PATH.removeprefix("rel "))
    return context


def context_of_all() -> scallax.Context:
    """A context that was told of everything that one can be told of."""
    made = with_edges(scallax.Context("addmultprob", limits=LIMITS, k=2), [0.5, 0.25])
    made.add_program("type shape = Circle(f32) | Square(i32)\nconst S = Square(3)\nrel shapes = {S, Circle(0.5)}")
    made.add_program('rel times(t"2020-01-01", d"3d")')
    made.add_relation("image", (int, scallax.Tensor))
    made.add_facts("image", [(0.5, (0, np.ones(2, np.float32)))], disjunctions=[[0]])
    made.add_relation("digit", int, input_mapping=scallax.InputMapping(range(3), retain_k=2))
    made.add_rule("twice(a) = edge(a, _)", tag=0.5)
    made.register_foreign_function(square)
    made.register_foreign_predicate(near)
    made.add_rule("far($square(b)) = edge(0, a), near(a, b)")
    made.set_non_probabilistic(["times"])
    made.set_iter_limit(5)
    return made


def torch_context() -> torch_bridge.Context:
    context = torch_bridge.Context("addmultprob", train_k=2, test_k=4)
    return with_edges(context, [torch.tensor(0.5), torch.tensor(0.25)])


def objects_context(kind: Callable[..., Any]) -> Any:
    return with_edges(kind(custom_provenance=Routes()), ["a", "b", "c"])


def ran_context(made: Any) -> Any:
    made.run()
    return made


def saved_error(kind: type[scallax.ScallaxError]) -> scallax.ScallaxError:
    """An error of a kind, with the place and the hint of a problem in a program."""
    with pytest.raises(scallax.ScallaxError) as caught:
        scallax.Reasoner("rel a(1) rel b(x) = a(")
    return kind(*caught.value.diagnostics, "and a text")


def explanation() -> object:
    return reasoner(TRAINED).explain("path", (0, 1))


def debug_proofs() -> object:
    made = reasoner({**MAPPED, "provenance": "difftopkproofsdebug", "output_mapping": ("path", [(0, 2)])}, k=1)
    _, proofs = made(edge=np.array(EDGE, np.float32))
    return proofs


# How a form that was loaded is looked at: plain values, equal to the expected ones.


def results(loaded: Any) -> list:
    return np.asarray(loaded(edge=np.array(EDGE, np.float32))).tolist()


def module_results(loaded: Any) -> list:
    return loaded(edge=torch.tensor(EDGE)).tolist()


def sample_results(loaded: Any) -> list:
    facts = [[(0.5, (0, 1)), (0.25, (1, 2))], []]
    return np.asarray(loaded(edge=facts)).tolist()


def parameters(loaded: Any) -> dict:
    return {name: np.asarray(values).tolist() for name, values in loaded.parameters.items()}


def module_parameters(loaded: Any) -> dict:
    return {name: values.tolist() for name, values in loaded.state_dict().items() if not name.endswith("_extra_state")}


def call_results(loaded: Any) -> list:
    return np.asarray(loaded(a=np.array(EDGE, np.float32))).tolist()


def module_call_results(loaded: Any) -> list:
    return loaded(a=torch.tensor(EDGE)).tolist()


def ran(*relations: str) -> Callable[[Any], dict]:
    """The tuples of relations of a context that is run anew."""

    def look(loaded: Any) -> dict:
        loaded.run()
        return {name: listed(loaded.relation(name)) for name in relations}

    return look


def listed(relation: Any) -> list:
    return [tuple(part.tolist() if hasattr(part, "tolist") else part for part in answer) for answer in relation]


def name_and_answers(relation: Any) -> tuple:
    return relation.name, listed(relation)


def call_outputs(loaded: Any) -> tuple:
    tuples, values = loaded()
    return tuples, values.tolist()


def text_of(loaded: object) -> tuple[str, str]:
    return type(loaded).__name__, str(loaded)


def types() -> list:
    return [getattr(scallax, name) for name in TYPES]


def fields_of(*names: str) -> Callable[[Any], tuple]:
    return lambda loaded: tuple(getattr(loaded, name) for name in names)


def grounded_results(options: dict) -> Callable[[Any], list]:
    """The values of a batch that was grounded before."""
    tags = np.array([0.5, 0.25], np.float32)
    return lambda loaded: np.asarray(reasoner(options).evaluate_grounded(loaded, {"edge": tags})).tolist()


@dataclass(frozen=True)
class Form:
    """One thing to save: how it is made, and how it is looked at when it was loaded."""

    make: Callable[[], Any]
    look: Callable[[Any], object]
    expected: object


def staged_results(loaded: Any) -> object:
    tuples, values = loaded(seen=torch.tensor(EDGE))
    return [str(values) for values in tuples], values.tolist()


def fits(make: Callable[[], torch.nn.Module]) -> Callable[[Any], dict]:
    """The parameters that a state dict gives a module which is made anew."""

    def look(state_dict: dict) -> dict:
        made = make()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.zero_()
        made.load_state_dict(state_dict)
        return module_parameters(made)

    return look


def linen_results(loaded: Any) -> list:
    return np.asarray(loaded.apply({}, edge=np.array(EDGE, np.float32))).tolist()


def nnx_parameters(loaded: Any) -> dict:
    flat = nnx.to_flat_state(nnx.state(loaded, nnx.Param))
    return {".".join(map(str, path)): np.asarray(value[...]).tolist() for path, value in flat}


SAMPLES = {"edge": [[(0, 1), (1, 2)], []]}
PATHS = [(0.5, (0, 1)), (0.125, (0, 2)), (0.25, (1, 2))]
LOGITS = {"edge.facts": [-30.0, -30.0], "path.rules.0": -30.0}
REPORT = (
    "<program>:1:22: the `(` is never closed\n  rel a(1) rel b(x) = a(\n                       ^\n"
    "hint: the item ends at <program>:1:23; a `)` is missing before it\n\nand a text"
)
NETWORK = {
    "layer.bias": [0.0, 0.0],
    "layer.kernel": [[0.0, 1.0], [2.0, 3.0]],
    **{f"reasoner.{name}": values for name, values in LOGITS.items()},
}
DIGEST = "58a17b2c46574baf82a12a65612b7d4de631efe698de343882bcddbaa0b553c8"
EXPLANATION = (
    "Explanation",
    "path(0, 1): 0.25\n\nproof of weight 0.25\n  path(0, 1)    by the rule at <program>:2:1\n"
    "    0.5::edge(0, 1)\n    0.5::path(0, 1), the choice of the rule at <program>:2:1",
)
ALL = {
    "path": PATHS,
    "shapes": [(1.0, ("Circle(0.5)",)), (1.0, ("Square(3)",))],
    "times": [(1.0, ("2020-01-01 00:00:00 UTC", "PT259200S"))],
    "image": [(0.5, (0, TensorValue(np.ones(2, np.float32))))],
    # The tag of the rule, and that of the predicate, are a half.
    "twice": [(0.25, (0,)), (0.125, (1,))],
    "far": [(0.25, (4,))],
}
OBJECTS = [(frozenset({"a"}), (0, 1)), (frozenset({"ab", "c"}), (0, 2)), (frozenset({"b"}), (1, 2))]
OUTPUTS = ([(0, 1), (0, 2), (1, 2)], [[0.5, 0.125, 0.25]])
ERRORS = (
    *(scallax.ParseError, scallax.NameResolutionError, scallax.TypeInferenceError, scallax.UnboundVariableError),
    *(scallax.StratificationError, scallax.UnsupportedError, scallax.GroundingError, scallax.ForeignError),
    *(scallax.InputError, scallax.CheckpointError, scallax.ScallaxError),
)
TYPES = ("i32", "String", "Tensor", "Any", "Number", "Facts", "BatchedTuples", "BatchedFacts", "DateTime", "Duration")

# The likelier one of the two is the best.
STAGED_RESULTS = (
    [
        "('Circle(0.5)', 'round é', tensor([0.5, 1. ], float32))",
        "('Square(3)', 'angular', tensor([2.], float32))",
    ],
    [[0.5, 0.0]],
)
TORCH_NETWORK = {
    "linear.weight": [[1.0, 0.0], [0.0, 1.0]],
    "linear.bias": [0.5, 0.5],
    **{f"edges.{name}": values for name, values in LOGITS.items()},
}

PICKLES: dict[str, Form] = {
    "reasoner": Form(partial(reasoner, MAPPED, limits=LIMITS), results, [[0.5, 0.125]]),
    "reasoner_listed": Form(partial(reasoner, LISTED), sample_results, [[0.5, 0.125], [0.0, 0.0]]),
    "reasoner_trained": Form(trained, parameters, LOGITS),
    "reasoner_foreign": Form(partial(reasoner, CALLING), call_results, [[0.25, 0.125]]),
    "reasoner_custom": Form(partial(reasoner, {**MAPPED, "provenance": Cheapest(8.0)}), results, [[0.5, 0.75]]),
    "nnx": Form(lambda: nn.Reasoner(trained()), nnx_parameters, LOGITS),
    "nnx_network": Form(Network, nnx_parameters, NETWORK),
    "linen": Form(lambda: nn.LinenReasoner(**MAPPED), linen_results, [[0.5, 0.125]]),
    "specification": Form(lambda: reasoner(STAGED).specification, lambda s: s.digest, DIGEST),
    "mapping": Form(
        lambda: scallax.InputMapping({0: range(2), 1: ["x"]}, disjunctive_dim=0, retain_threshold=0.25, retain_k=1),
        fields_of("kind", "shape", "tuples", "disjunctive", "disjunctive_dim", "retain_threshold", "retain_k"),
        ("dict", (2, 1), ((0, "x"), (1, "x")), True, 0, 0.25, 1),
    ),
    "limits": Form(lambda: LIMITS, fields_of("tuples", "rounds", "seconds"), (1000, 100, None)),
    "fact_list": Form(
        lambda: scallax.FactList([(0, 1)], np.array([0.5])), lambda f: (f.tuples, f.tags.tolist()), ([(0, 1)], [0.5])
    ),
    "table": Form(lambda: scallax.Table("a.csv", tag="p"), fields_of("source", "tag", "table"), ("a.csv", "p", None)),
    "csv_file": Form(
        lambda: scallax.CsvFile("a.csv", keys="id"), fields_of("path", "keys", "has_header"), ("a.csv", ("id",), True)
    ),
    "csv_options": Form(
        lambda: torch_bridge.io.CSVFileOptions("a.csv", fields=["x"]), fields_of("path", "fields"), ("a.csv", ["x"])
    ),
    "grounding": Form(lambda: reasoner(LISTED).ground(SAMPLES), grounded_results(LISTED), [[0.5, 0.125], [0.0, 0.0]]),
    "grounding_named": Form(
        lambda: reasoner({**LISTED, "provenance": "difftopkproofsdebug"}).ground(SAMPLES),
        lambda g: [str(name) for name in g.names],
        ["edge(0, 1)", "edge(1, 2)"],
    ),
    "grounding_staged": Form(
        lambda: reasoner(CHOOSING).ground(SAMPLES), grounded_results(CHOOSING), [[0.5, 0.0], [0.0, 0.0]]
    ),
    "explanation": Form(explanation, text_of, EXPLANATION),
    "proofs": Form(
        debug_proofs,
        lambda proofs: [[[str(fact) for fact in proof] for proof in one] for one in proofs[0]],
        [[["edge(0, 1)", "edge(1, 2)"]]],
    ),
    "context": Form(context_of_all, ran("path", "shapes", "times", "image", "twice", "far"), ALL),
    "context_of_objects": Form(partial(objects_context, scallax.Context), ran("path"), {"path": OBJECTS}),
    "torch_context": Form(torch_context, ran("path"), {"path": PATHS}),
    "torch_context_of_objects": Form(partial(objects_context, torch_bridge.Context), ran("path"), {"path": OBJECTS}),
    "relation": Form(lambda: ran_context(context_of_all()).relation("path"), name_and_answers, ("path", PATHS)),
    "answers": Form(lambda: listed(ran_context(context_of_all()).relation("times")), list, ALL["times"]),
    "torch_relation": Form(lambda: ran_context(torch_context()).relation("path"), name_and_answers, ("path", PATHS)),
    "forward_function": Form(lambda: torch_context().forward_function("path"), call_outputs, OUTPUTS),
    "module": Form(partial(module, MAPPED), module_results, [[0.5, 0.125]]),
    "tensor": Form(lambda: TensorValue(np.ones(2, np.float32)), str, "tensor([1., 1.], float32)"),
    "cache_info": Form(lambda: reasoner(LISTED).cache_info(), lambda info: info.hits, 0),
    "types": Form(types, lambda found: found == types(), True),
    "type_parameter": Form(lambda: scallax.Generic(scallax.Number), lambda g: type(g).__name__, "GenericTypeParameter"),
    "actions": Form(
        lambda: torch_bridge.MultipleActions([torch_bridge.RemoveItemAction(), torch_bridge.ErrorAction("no")]),
        lambda a: [type(each).__name__ for each in a.actions],
        ["RemoveItemAction", "ErrorAction"],
    ),
    "artifact": Form(
        lambda: Artifact({"": trained().specification}, {n: np.asarray(v) for n, v in trained().parameters.items()}),
        lambda loaded: {name: values.tolist() for name, values in loaded.tensors.items()},
        LOGITS,
    ),
    **{f"error_{kind.__name__}": Form(partial(saved_error, kind), text_of, (kind.__name__, REPORT)) for kind in ERRORS},
}

# Whole modules, and what else `torch.save` takes. All of it is loaded by `weights_only=True`, too.
TORCH: dict[str, Form] = {
    "mapped": Form(partial(module, MAPPED, train_k=2, test_k=4), module_results, [[0.5, 0.125]]),
    "listed": Form(partial(module, LISTED), sample_results, [[0.5, 0.125], [0.0, 0.0]]),
    "trained": Form(trained_module, module_parameters, LOGITS),
    "foreign": Form(partial(module, CALLING), module_call_results, [[0.25, 0.125]]),
    "staged": Form(partial(module, STAGED), staged_results, STAGED_RESULTS),
    "limited": Form(partial(module, MAPPED, limits=LIMITS), lambda m: m.reasoner.limits == LIMITS, True),
    "sparse": Form(partial(module, MAPPED, sparse_output=True), lambda m: m.sparse_output, True),
    "forward_function": Form(lambda: torch_context().forward_function("path"), call_outputs, OUTPUTS),
    "network": Form(network, module_parameters, TORCH_NETWORK),
    "state_dict": Form(lambda: trained_module().state_dict(), fits(trained_module), LOGITS),
    "network_state_dict": Form(lambda: network().state_dict(), fits(network), TORCH_NETWORK),
}


def _save_pickle(form: Form, path: Path) -> None:
    path.write_bytes(pickle.dumps(form.make(), protocol=4))


def _save_torch(form: Form, path: Path) -> None:
    torch.save(form.make(), path)


def _save_exported(path: Path) -> None:
    sizes = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(Edges(), (torch.tensor(EDGE * 3),), dynamic_shapes=sizes), path)


def _trace() -> Any:
    return torch.jit.trace(Edges(), torch.tensor(EDGE * 3))


def _save_run(path: Path) -> None:
    model, optimizer = network_and_optimizer()
    with checkpoint.Manager(path) as manager:
        manager.save(3, model, optimizer=optimizer, metrics={"loss": 0.5}, extra={"seed": 7})


def _save_flax(path: Path, ground: bool = False) -> None:
    model, optimizer = network_and_optimizer()
    checkpoint.save(path, model, optimizer=optimizer, extra={"seed": 7}, ground=ground)


# Files and directories of the package's own, by their names.
CHECKPOINTS: dict[str, Callable[[Path], None]] = {
    "staged.safetensors": lambda path: checkpoint.save(path, reasoner(STAGED), ground=True),
    "foreign.safetensors": lambda path: checkpoint.save(path, reasoner(CALLING), ground=True),
    "foreign_orbax": lambda path: checkpoint.save(path, reasoner(CALLING), ground=True),
    "flax.safetensors": partial(_save_flax, ground=True),
    "flax_orbax": _save_flax,
    "flax_run": _save_run,
    "linen.safetensors": lambda path: checkpoint.save(path, reasoner(TRAINED).with_parameters(linen_variables())),
    "torch.safetensors": lambda path: torch_bridge.save(path, trained_module()),
    "torch_network.safetensors": lambda path: torch_bridge.save(path, network()),
    "torch.pt": lambda path: torch_bridge.save(path, trained_module()),
    "torch_orbax": lambda path: torch_bridge.convert(path.with_name("torch.pt"), path),
}


# Graphs that hold a program, of a model whose one argument is a batch.
GRAPHS: dict[str, tuple[Callable[[Path], None], Callable[[Path], Callable]]] = {
    "exported.pt2": (_save_exported, lambda path: torch.export.load(path).module()),
    "traced.ts": (lambda path: _trace().save(path), lambda path: torch.jit.load(path)),
}


def write() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if ARCHIVE.exists():
            with zipfile.ZipFile(ARCHIVE) as archive:
                archive.extractall(folder)
        saves: dict[str, Callable[[Path], object]] = {
            **{f"{form}.pickle": partial(_save_pickle, saved) for form, saved in PICKLES.items()},
            **{f"{form}.pt": partial(_save_torch, saved) for form, saved in TORCH.items()},
            **CHECKPOINTS,
            **{form: save for form, (save, _) in GRAPHS.items()},
        }
        for form, save in saves.items():
            if not (folder / form).exists():
                save(folder / form)
        with zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                # Without the time, which says nothing.
                entry = zipfile.ZipInfo(str(path.relative_to(folder)))
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    # Not from here: the pickles would name the classes of this module by `__main__`.
    from tests.golden import make_saved_forms

    make_saved_forms.write()
