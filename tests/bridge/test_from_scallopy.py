"""Programs written for the reference's package, with nothing changed but the import."""

import math
import pickle
import re
import textwrap
from argparse import ArgumentParser
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch

import torch_bridge as scallopy
from torch_bridge import plugins

PROVENANCES = ["unit", "minmaxprob", "topkproofs", "diffaddmultprob"]


def test_edges_and_paths():
    ctx = scallopy.ScallopContext()
    ctx.add_relation("edge", (int, int))
    ctx.add_facts("edge", [(0, 1), (1, 2)])
    ctx.add_rule("path(a, c) = edge(a, c) or path(a, b) and edge(b, c)")
    ctx.run()
    assert list(ctx.relation("path")) == [(0, 1), (0, 2), (1, 2)]


def test_probabilistic_facts_and_a_branch_of_the_context():
    ctx = scallopy.ScallopContext(provenance="minmaxprob")
    ctx.add_relation("edge", (int, int))
    ctx.add_facts("edge", [(0.3, (0, 1)), (0.9, (1, 2))])
    branch = ctx.clone()
    branch.add_facts("edge", [(0.5, (2, 3))])
    for context, count in ((ctx, 2), (branch, 3)):
        context.add_rule("path(a, c) = edge(a, c) or path(a, b) and edge(b, c)")
        context.run()
        assert len([pair for _, pair in context.relation("path")]) == count * (count + 1) // 2
    assert list(ctx.relation("path")) == [(0.3, (0, 1)), (0.3, (0, 2)), (0.9, (1, 2))]


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    a = torch.tensor([0.2, 0.3, 0.5], requires_grad=True)
    b = torch.tensor([0.1, 0.7, 0.2], requires_grad=True)
    return a, b


def sum_of(a: torch.Tensor, b: torch.Tensor) -> scallopy.ScallopContext:
    ctx = scallopy.ScallopContext(provenance="difftopkproofs", k=3)
    ctx.add_relation("digit_1", int)
    ctx.add_relation("digit_2", int)
    ctx.add_facts("digit_1", [(a[i], (i,)) for i in range(3)])
    ctx.add_facts("digit_2", [(b[i], (i,)) for i in range(3)])
    ctx.add_rule("sum_2(x + y) = digit_1(x) and digit_2(y)")
    ctx.run()
    return ctx


def test_tags_are_torch_scalars_with_gradients():
    a, b = digits()
    ctx = sum_of(a, b)
    for tag, (total,) in ctx.relation("sum_2"):
        a.grad = b.grad = None
        # One tuple after the other, as the reference allows.
        tag.backward()
        grads = a.grad, b.grad
        a.grad = b.grad = None
        pairs = [(x, total - x) for x in range(3) if 0 <= total - x < 3]
        # The facts of a world in which the sum holds: enumerated over all 2^6 worlds.
        expected = _enumerated(a, b, pairs)
        expected.backward()
        torch.testing.assert_close(tag, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(grads, (a.grad, b.grad), rtol=1e-5, atol=1e-6)


def _enumerated(a: torch.Tensor, b: torch.Tensor, pairs: list[tuple[int, int]]) -> torch.Tensor:
    total = torch.zeros(())
    tags = torch.cat([a, b])
    for world in range(2**6):
        holds = [bool(world >> i & 1) for i in range(6)]
        if any(holds[x] and holds[3 + y] for x, y in pairs):
            total = total + torch.stack([tags[i] if holds[i] else 1 - tags[i] for i in range(6)]).prod()
    return total


def test_one_node_of_autograd_stands_for_a_run():
    tags = [tag for tag, _ in sum_of(*digits()).relation("sum_2")]
    nodes = {tag.grad_fn.next_functions[0][0] for tag in tags if tag.grad_fn is not None}
    assert len(nodes) == 1


def test_tags_of_any_kind_count_beside_torch_scalars():
    ctx = scallopy.Context(provenance="diffaddmultprob")
    ctx.add_relation("p", int)
    tag = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    ctx.add_facts("p", [(tag, (0,)), (0.25, (1,)), (None, (2,)), (np.float32(0.5), (3,)), (torch.tensor(1), (4,))])
    ctx.run()
    found = {values[0]: t for t, values in ctx.relation("p")}
    assert [found[i].item() for i in range(5)] == [0.5, 0.25, 1.0, 0.5, 1.0]
    assert found[0].dtype is torch.float64
    torch.stack(list(found.values())).sum().backward()
    assert tag.grad.tolist() == [1.0]


def test_python_numbers_give_torch_scalars_under_differentiable_provenances():
    ctx = scallopy.Context(provenance="diffminmaxprob")
    ctx.add_relation("p", int)
    ctx.add_facts("p", [(0.25, (1,))])
    ctx.run()
    ((tag, values),) = ctx.relation("p")
    assert isinstance(tag, torch.Tensor)
    assert (tag.item(), values) == (0.25, (1,))


def test_mutually_exclusive_facts():
    ctx = scallopy.Context(provenance="difftopkproofs")
    ctx.add_relation("digit", int)
    a = torch.tensor([0.3, 0.7], requires_grad=True)
    ctx.add_facts("digit", [(a[0], (0,)), (a[1], (1,))], disjunctions=[[0, 1]])
    ctx.add_rule("both() = digit(0) and digit(1)")
    ctx.run()
    assert [tag.item() for tag, _ in ctx.relation("both")] == [0.0]


def test_rule_tags_with_and_without_a_group():
    for tag in (0.5, (0.5, None), torch.tensor(0.5), (torch.tensor(0.5), None)):
        ctx = scallopy.Context(provenance="difftopkproofs")
        ctx.add_relation("p", int)
        ctx.add_facts("p", [(None, (1,)), (None, (2,))])
        ctx.add_rule("q(x) = p(x)", tag=tag)
        ctx.add_rule("both() = q(1) and q(2)")
        ctx.run()
        assert float(ctx.relation("both")[0][0]) == 0.5


@pytest.mark.parametrize("target", PROVENANCES)
def test_clones_under_other_provenances(target):
    ctx = scallopy.ScallopContext(provenance="unit")
    ctx.add_relation("p", int)
    ctx.add_facts("p", [(1,), (2,)])
    clone = ctx.clone(provenance=target, k=2)
    clone.run()
    tuples = list(clone.relation("p"))
    assert [t if target == "unit" else t[1] for t in tuples] == [(1,), (2,)]
    assert target == "unit" or all(float(tag) == 1.0 for tag, _ in tuples)


def mnist_sum(**options) -> scallopy.Module:
    ctx = scallopy.ScallopContext(provenance="difftopkproofs", train_k=3, test_k=2)
    ctx.add_relation("digit_1", int, input_mapping=list(range(10)))
    ctx.add_relation("digit_2", int, input_mapping=list(range(10)))
    ctx.add_rule("sum_2(a + b) = digit_1(a) and digit_2(b)")
    return ctx.forward_function("sum_2", output_mapping=list(range(19)), **options)


def test_a_forward_function_trains():
    module = mnist_sum(dispatch="serial", jit=False)
    weights = torch.zeros(2, 10, requires_grad=True)
    target = torch.nn.functional.one_hot(torch.tensor([7, 3, 16]), 19).float()
    losses = []
    for _ in range(3):
        a, b = (torch.softmax(weights[i], 0).expand(3, 10) for i in range(2))
        loss = torch.nn.functional.binary_cross_entropy(module(digit_1=a, digit_2=b), target)
        losses.append(loss.item())
        (gradient,) = torch.autograd.grad(loss, weights)
        weights = (weights - 5 * gradient).detach().requires_grad_()
    assert losses[2] < losses[0]
    assert module.specification.train_k == 3


FORWARD = [scallopy.Module, scallopy.ForwardFunction, scallopy.ScallopForwardFunction]


@pytest.mark.parametrize("module", FORWARD)
def test_modules_take_the_arguments_of_the_reference(module):
    m = module(
        program="rel twice(a + a) = digit(a)\nrel first(a) = digit(a), limit(l), a < l",
        relations=[("limit", int)],
        facts={"limit": [(None, (1,))]},
        provenance="diffminmaxprob",
        input_mappings={"digit": range(3)},
        output_mappings={"twice": [0, 2, 4], "first": None},
        k=3,
        early_discard=False,
        dispatch="single",
        jit=False,
        jit_name="",
        jit_recompile=False,
        sparse_jacobian=True,
        monitors=[],
    )
    x = torch.tensor([[0.1, 0.2, 0.3]])
    found = m(digit=x)
    torch.testing.assert_close(found["twice"], x)
    tuples, values = found["first"]
    assert (tuples, values.tolist()) == ([(0,)], [[pytest.approx(0.1)]])


def test_positions_of_arguments_are_those_of_the_reference(tmp_path: Path):
    (tmp_path / "double.scl").write_text("type digit(i32)\nrel twice(a + a) = digit(a)")
    m = scallopy.ScallopForwardFunction(
        str(tmp_path / "double.scl"),
        None,
        None,
        None,
        None,
        "diffaddmultprob",
        None,
        None,
        {"digit": range(2)},
        "twice",
    )
    assert m(digit=torch.ones(1, 2))[0] == [(0,), (2,)]
    with pytest.raises(scallopy.ScallaxError, match=r"is the name of a file(.|\n)*`file=`"):
        scallopy.Module("double.scl")


def test_facts_from_csv_files(tmp_path: Path):
    (tmp_path / "edge.csv").write_text("p\tfrom\tto\n0.5\t0\t1\n1.0\t1\t2\n")
    options = scallopy.io.CSVFileOptions(str(tmp_path / "edge.csv"), has_header=True, has_probability=True)
    ctx = scallopy.ScallopContext(provenance="minmaxprob")
    ctx.add_relation("edge", (int, int), load_csv=options.with_deliminator("\t"))
    ctx.add_relation("to", int, load_csv=options.with_deliminator("\t").with_fields(["to"]))
    ctx.run()
    assert list(ctx.relation("edge")) == [(0.5, (0, 1)), (1.0, (1, 2))]
    assert list(ctx.relation("to")) == [(0.5, (1,)), (1.0, (2,))]


def test_keywords_that_are_none_are_told_what_to_do():
    ctx = scallopy.ScallopContext()
    for make in (scallopy.Module, scallopy.ForwardFunction, scallopy.Context, ctx.forward_function):
        with pytest.raises(scallopy.ScallaxError, match="takes no argument `retain_graph`\nhint: leave it out"):
            make(retain_graph=True)  # pyright: ignore[reportCallIssue]
    with pytest.raises(scallopy.ScallaxError, match="takes no argument `outputs_mapping`\nhint: did you mean `output_"):
        scallopy.Module(outputs_mapping=None)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("options", "types", "facts"),
    [
        ({"fields": ["b", "id"]}, (str, int), [("x", 7)]),
        ({"fields": "id"}, int, [(7,)]),
        ({"keys": ["id"]}, (int, str, str), [(7, "a", "y"), (7, "b", "x")]),
        ({"keys": "id", "fields": "b"}, (int, str, str), [(7, "b", "x")]),
    ],
)
def test_named_columns_of_csv_files_imply_a_header(tmp_path: Path, options: dict, types: object, facts: list):
    (tmp_path / "data.csv").write_text("id,a,b\n7,y,x\n")
    ctx = scallopy.ScallopContext()
    ctx.add_relation("r", types, load_csv=scallopy.io.CSVFileOptions(tmp_path / "data.csv", **options))
    ctx.run()
    assert list(ctx.relation("r")) == facts


def test_programs_items_and_files(tmp_path: Path):
    (tmp_path / "lib.scl").write_text("rel far(x) = path(0, x), x > 1")
    ctx = scallopy.ScallopContext()
    ctx.import_file(str(tmp_path / "lib.scl"))
    ctx.add_program("rel edge = {(0, 1), (1, 2)}\nrel path(a, c) = edge(a, c) or path(a, b) and edge(b, c)")
    assert ctx.add_item("query far") == ["far"]
    ctx.compile()
    ctx.run()
    assert list(ctx.relation("far")) == [(2,)]
    assert sorted(ctx.relations()) == ["edge", "far", "path"]
    assert ctx.relation_is_computed("far")
    assert ctx.has_relation("path")
    assert ctx.num_relations() == 3


def test_debug_output(capsys):
    ctx = scallopy.ScallopContext()
    ctx.add_program("rel a = {1}")
    ctx.compile()
    assert capsys.readouterr().out == ""
    ctx.set_debug_front()
    ctx.set_debug_back(True)
    ctx.compile()
    assert capsys.readouterr().out == "rel a = {(1)}\ntype a(i32)\na(1)\n"


def test_a_pickled_context_runs_again():
    a, b = digits()
    ctx = sum_of(a, b)
    ctx.set_debug_front()
    restored = pickle.loads(pickle.dumps(ctx))
    restored.run()
    for (tag, values), (other, others) in zip(ctx.relation("sum_2"), restored.relation("sum_2"), strict=True):
        assert (tag.item(), values) == (other.item(), others)


def test_input_mappings_of_the_context():
    ctx = scallopy.ScallopContext(provenance="difftopkproofs")
    ctx.add_relation("digit", int)
    ctx.set_input_mapping("digit", scallopy.Map(range(4)), retain_k=3)
    assert ctx.has_input_mapping("digit")
    ctx.set_sample_topk_facts("digit", 1)
    m = ctx.forward_function("digit", range(4))
    assert m(digit=torch.tensor([[0.1, 0.2, 0.4, 0.3]])).tolist() == [[0.0, 0.0, pytest.approx(0.4), 0.0]]


def test_input_mappings():
    mapping = scallopy.InputMapping([[(0, "a"), (0, "b")], [(1, "a"), (1, "b")]], disjunctive_dim=1)
    assert (mapping.shape, mapping.dimension, mapping.is_singleton) == ((2, 2), 2, False)
    assert mapping[1, 0] == (1, "a")
    assert [mapping[index] for index in mapping.all_indices()] == mapping.all_tuples()
    with pytest.raises(IndexError, match="has no entry"):
        mapping[2, 0]
    copy = scallopy.Map(mapping, retain_k=1)
    assert (copy.disjunctive_dim, copy.retain_k, copy.tuples) == (1, 1, mapping.tuples)


DOCUMENT = Path(__file__).parents[2] / "docs" / "from_scallopy.md"


def test_the_page_on_moving_over_runs_as_it_is():
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", DOCUMENT.read_text(), re.MULTILINE)
    (program,) = [textwrap.dedent(block) for block in blocks if "ctx.run()" in block]
    scope: dict = {}
    exec(program, scope)
    torch.testing.assert_close(scope["a"].grad, torch.tensor([0.1501, 0.6384, 0.07584]), rtol=0, atol=1e-4)


def test_what_a_context_tells_of_its_provenance():
    found = {
        name: (ctx.requires_tag(), ctx.supports_disjunctions())
        for name in ("unit", "minmaxprob", "topkproofs", "difftopkproofs")
        for ctx in [scallopy.ScallopContext(provenance=name)]
    }
    assert found == {
        "unit": (False, False),
        "minmaxprob": (True, False),
        "topkproofs": (True, True),
        "difftopkproofs": (True, True),
    }


def test_a_fork_is_a_copy():
    ctx = scallopy.ScallopContext(provenance="minmaxprob")
    ctx.add_relation("p", int)
    fork = scallopy.ScallopContext(fork_from=ctx)
    fork.add_facts("p", [(0.5, (1,))])
    fork.run()
    ctx.run()
    assert (len(ctx.relation("p")), list(fork.relation("p"))) == (0, [(0.5, (1,))])


@scallopy.ff
def add_all(*numbers: int) -> scallopy.i32:
    return sum(numbers)


@scallopy.foreign_predicate
def primes(limit: int) -> scallopy.Facts[float, tuple[int]]:
    for number in range(2, limit):
        if all(number % divisor for divisor in range(2, number)):
            yield 0.5, (number,)


def with_functions(provenance: str = "addmultprob") -> scallopy.ScallopContext:
    ctx = scallopy.ScallopContext(provenance=provenance)
    ctx.register_foreign_function(add_all)
    ctx.register_foreign_predicate(primes)
    ctx.add_relation("limit", scallopy.i32)
    ctx.add_facts("limit", [(None, (6,))])
    ctx.add_rule("sum($add_all(n, m, p)) = limit(n), primes(n, m), primes(n, p), m < p")
    return ctx


def test_foreign_functions_and_predicates():
    ctx = with_functions()
    ctx.run()
    assert list(ctx.relation("sum")) == [(0.25, (11,)), (0.25, (13,)), (0.25, (14,))]
    restored = pickle.loads(pickle.dumps(ctx))
    restored.run()
    assert restored.relation("sum") == ctx.relation("sum")
    assert ctx.forward_function("sum", [11, 12])().tolist() == [[0.25, 0.0]]


def test_predicates_of_batches_with_tensors_for_tags():
    sizes = []

    @scallopy.foreign_predicate(batched=True, batch_size=3)
    def near(pairs: scallopy.BatchedTuples[float, float]) -> scallopy.BatchedFacts[float, ()]:  # pyright: ignore
        sizes.append(len(pairs))
        left, right = torch.tensor(pairs).T
        return [[(tag, ())] if tag > 0.3 else [] for tag in (-(left - right).abs()).exp()]

    ctx = scallopy.ScallopContext(provenance="minmaxprob")
    ctx.register_foreign_predicate(near)
    ctx.add_program(
        "rel pair = {(0.0, -2.0), (0.0, 0.0), (1.0, 0.0), (2.0, 2.5)}\nrel result(i, j) = pair(i, j), near(i, j)"
    )
    ctx.run()
    assert sizes == [3, 1]
    expected = {(0.0, 0.0): 1.0, (1.0, 0.0): math.exp(-1), (2.0, 2.5): math.exp(-0.5)}
    assert {pair: tag for tag, pair in ctx.relation("result")} == pytest.approx(expected)


def test_type_parameters_and_tensors():
    number = scallopy.Generic(scallopy.Number)

    @scallopy.foreign_function
    def larger(x: number, y: number) -> number:  # pyright: ignore[reportGeneralTypeIssues]  # as the reference has it
        return max(x, y)

    @scallopy.foreign_function
    def total(x: scallopy.Tensor) -> scallopy.f32:
        assert isinstance(x, torch.Tensor)
        return x.sum().item()

    ctx = scallopy.ScallopContext()
    ctx.register_foreign_function(larger)
    ctx.register_foreign_function(total)
    ctx.add_relation("image", (int, scallopy.Tensor))
    ctx.add_facts("image", [(0, torch.ones(3)), (1, torch.zeros(2))])
    ctx.add_rule("best($larger($total(x), $total(y))) = image(0, x), image(1, y)")
    ctx.run()
    assert list(ctx.relation("best")) == [(3.0,)]
    torch.testing.assert_close(ctx.relation("image")[0][1], torch.ones(3))
    assert scallopy.torch_tensor_enabled()
    with pytest.raises(scallopy.ScallaxError, match="cannot be pickled: it is no attribute of the module"):
        pickle.dumps(ctx)


def test_foreign_attributes():
    @scallopy.foreign_attribute
    def constant(item, value: int):
        @scallopy.foreign_function(name=item.function_decl_name(), arg_types=[], ret_type=scallopy.i32)
        def function():
            return value

        return function

    ctx = scallopy.ScallopContext()
    ctx.register_foreign_attribute(constant)
    ctx.add_program("@constant(7) type $seven() -> i32\nrel a($seven())")
    ctx.run()
    assert list(ctx.relation("a")) == [(7,)]


def test_the_plugins_of_the_reference():
    registry = scallopy.PluginRegistry(load_stdlib=True)
    registry.configure({}, ["-n", "5", "--other"])
    program = '@cmd_arg("-n", long="--number") type number(i32)\n@py_eval type $value(text: String) -> i32'
    ctx = scallopy.ScallopContext()
    registry.load_into_ctx(ctx)
    ctx.add_program(program + '\nrel a(n + $value("2 * 3")) = number(n)')
    ctx.run()
    assert list(ctx.relation("a")) == [(11,)]
    registry.configure({}, ["-n", "five"])
    ctx = scallopy.ScallopContext()
    registry.load_into_ctx(ctx)
    with pytest.raises(scallopy.ScallaxError, match="the command line is wrong: argument -n/--number: invalid i32"):
        ctx.add_program(program)


class Greeting(scallopy.Plugin):
    def __init__(self):
        super().__init__()
        self.word = "hello"

    def setup_argparse(self, parser: ArgumentParser) -> None:
        parser.add_argument("--word", default="hello")

    def configure(self, args, unknown_args):
        self.word = args["word"]

    def load_into_ctx(self, ctx):
        ctx.add_program(f'rel greeting = {{"{self.word}"}}')


def test_plugins_are_configured_and_loaded(monkeypatch, capsys):
    entries = [
        EntryPoint("greeting", f"{__name__}:Greeting", plugins.GROUP),
        EntryPoint("broken", "no.such.module:Plugin", plugins.GROUP),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: [e for e in entries if e.group == group])
    registry = scallopy.PluginRegistry(load_from_entry_points=True, filter=lambda name: name == "greeting")
    registry.load_plugin(scallopy.Plugin("other"))
    with pytest.raises(scallopy.ScallaxError, match="there is a plugin `other` already"):
        registry.load_plugin(scallopy.Plugin("other"))
    registry.load_plugin(scallopy.Plugin("other"), overwrite=True)
    assert registry.loaded_plugins() == ["Greeting", "other"]
    parser = ArgumentParser()
    registry.setup_argument_parser(parser)
    registry.configure(*parser.parse_known_args(["--word", "moin", "--unknown"]))
    ctx = scallopy.ScallopContext()
    registry.load_into_ctx(ctx)
    ctx.run()
    assert list(ctx.relation("greeting")) == [("moin",)]
    registry.dump_loaded_plugins()
    assert capsys.readouterr().out == "loaded plugins: Greeting, other\n"
    registry.remove_all_plugins()
    assert registry.loaded_plugins() == []
    with pytest.raises(scallopy.ScallaxError, match=r"`broken` .* cannot be loaded"):
        scallopy.PluginRegistry(load_from_entry_points=True)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: scallopy.ScallopContext(provenance="topkproof"), "did you mean `topkproofs`"),
        (lambda: scallopy.ScallopContext(monitors=["iteration"]), "monitors are not supported"),
        (lambda: scallopy.Module(program="query a", monitors=["iteration"]), "monitors are not supported"),
        (lambda: _register_wrong(), "was not made by `foreign_function`"),
        (lambda: with_functions().register_foreign_predicate(primes), "has the predicate `primes` twice"),
        (lambda: scallopy.ScallopContext().relation("x"), "there is no relation `x`"),
        (lambda: scallopy.ScallopContext().set_sample_topk_facts("x", 1), "there is no relation `x`"),
        (lambda: scallopy.ScallopContext().forward_function("x"), "no relation `x`"),
        (lambda: _with_tags(torch.ones(2)), r"an array of shape \(2,\) for a tag(.|\n)*zip"),
        (lambda: _with_tags(torch.tensor(math.nan)).run(), "a tag of a fact is not finite"),
        (lambda: _with_tags(object()), "must be a number, a bool, a scalar array or None"),
    ],
)
def test_errors_are_exceptions_of_one_class(use, message):
    with pytest.raises(scallopy.ScallaxError, match=message) as error:
        use()
    assert isinstance(error.value, Exception)


def _with_tags(tag: object) -> scallopy.ScallopContext:
    ctx = scallopy.ScallopContext(provenance="difftopkproofs")
    ctx.add_relation("p", int)
    ctx.add_facts("p", [(tag, (1,))])
    return ctx


def _register_wrong() -> None:
    scallopy.ScallopContext().register_foreign_function(primes)  # pyright: ignore[reportArgumentType]  # a predicate
