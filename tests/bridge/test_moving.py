"""Mappings, outputs and batches of the reference's programs mean the same here."""

import pickle
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_bridge as scallopy
from scallax.errors import InputError, UnsupportedError
from scallax.evaluation.jax_batch import retained
from scallax.facts.specification import from_json
from scallax.reasoner.reasoner import Reasoner

# Mappings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "kind", "shape", "is_singleton", "first"),
    [
        (3, "value", (), True, (3,)),
        ((3, 5), "tuple", (), False, (3, 5)),
        ((), "tuple", (), False, ()),
        (range(4), "list", (4,), True, (0,)),
        (["a", "b"], "list", (2,), True, ("a",)),
        ([(0,), (1,)], "list", (2,), False, (0,)),
        ([[0, 1], [2, 3], [4, 5]], "list", (3, 2), True, (0,)),
        ([[(i, j) for i in range(2)] for j in range(3)], "list", (3, 2), False, (0, 0)),
        ({0: range(2), 1: ["x", "y", "z"]}, "dict", (2, 3), False, (0, "x")),
    ],
)
def test_every_spec_of_a_mapping_has_its_kind(mapping: Any, kind: str, shape: tuple, is_singleton: bool, first: tuple):
    read = scallopy.InputMapping(mapping)
    for each in (read, scallopy.Map(read), pickle.loads(pickle.dumps(read))):
        assert (each.kind, each.shape, each.dimension) == (kind, shape, len(shape))
        assert each.is_singleton is is_singleton
        assert each[(0,) * len(shape)] == first == each.all_tuples()[0]
        assert [each[index] for index in each.all_indices()] == each.all_tuples()
    with pytest.raises((AttributeError, TypeError)):
        read.dimension = 1  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    "options",
    [
        {"retain_k": 2, "sample_dim": 1, "disjunctive_dim": 0},
        pytest.param({"retain_threshold": 0.3, "disjunctive": True}, marks=pytest.mark.nightly),
    ],
    ids=str,
)
def test_the_facts_of_a_tensor_say_what_the_tensor_says(options: dict[str, Any]):
    program = "type p(x: i32, y: i32)\nrel pair(a, b) = p(a, y), p(b, z), a < b and y != z\nrel some(y) = p(_, y)"
    outputs: dict[str, Any] = {"pair": [(0, 1)], "some": range(3)}
    mapping = scallopy.InputMapping({0: range(2), 1: range(3)}, **options, supports_disjunctions=True)
    probabilities = torch.rand(3, 2, 3)
    tensors = scallopy.Module(program, input_mappings={"p": mapping}, output_mappings=outputs)(p=probabilities)
    facts, groups = [], []
    for sample in mapping.process_tensor(probabilities):
        facts.append([(tag, values) for (tag, _), values in sample])
        numbers = [group for (_, group), _ in sample]
        sets = {number: [i for i, other in enumerate(numbers) if other == number] for number in numbers}
        groups.append([members for number, members in sets.items() if number is not None])
    listed = scallopy.Module(program, output_mappings=outputs)(p=facts, disjunctions={"p": groups})
    for name in outputs:
        torch.testing.assert_close(listed[name], tensors[name])


@pytest.mark.parametrize(
    "options",
    [
        {"retain_threshold": 0.5},
        {"retain_k": 4},
        {"retain_k": 9},
        {"retain_k": 1, "sample_dim": 0},
        {"retain_k": 2, "sample_dim": 1, "retain_threshold": 0.25},
    ],
    ids=str,
)
def test_the_same_entries_are_retained_one_by_one_and_at_once(options: dict[str, Any]):
    mapping = scallopy.InputMapping({0: range(2), 1: range(3)}, **options)
    # Some entries are equal: the first are kept.
    values = np.random.default_rng(0).integers(0, 4, (8, 2, 3)) / 4
    assert mapping.retention is not None
    kept = np.asarray(retained(mapping.retention, jnp.asarray(values, jnp.float32)))
    for sample, facts in enumerate(mapping.process_tensor(values)):
        expected = [t for t, there in zip(mapping.all_tuples(), kept[sample].flatten(), strict=True) if there]
        assert [t for _, t in facts] == expected


def test_tensors_are_processed_alone_and_in_batches():
    mapping = scallopy.InputMapping({0: range(2), 1: range(3)}, disjunctive_dim=1)
    tensor = torch.rand(2, 3, requires_grad=True)
    (facts,) = mapping.process_tensor(tensor, batched=True)
    assert facts == mapping.process_tensor(tensor)
    assert [values for _, values in facts] == mapping.all_tuples()
    # Entries are those of the tensor, and have its gradients.
    facts[4][0].backward()
    assert tensor.grad.flatten().tolist() == [0, 0, 0, 0, 1, 0]
    grouped = scallopy.InputMapping(mapping, supports_disjunctions=True)
    two = grouped.process_tensor(torch.rand(2, 2, 3))
    assert [[group for (_, group), _ in sample] for sample in two] == [[0, 0, 0, 1, 1, 1], [2, 2, 2, 3, 3, 3]]
    counter = Counting()
    grouped.process_tensor(tensor, mutual_exclusion_counter=counter)
    ((_, group), _), *_ = grouped.process_tensor(tensor, mutual_exclusion_counter=counter)
    assert group == 2
    assert scallopy.InputMapping(("a", 1)).process_tensor(np.array(0.5)) == [(0.5, ("a", 1))]
    with pytest.raises(InputError, match=r"has shape \(3, 2\); the mapping asks for \(2, 3\) or \(batch, 2, 3\)"):
        mapping.process_tensor(torch.rand(3, 2))
    with pytest.raises(InputError, match="give lists of facts"):
        scallopy.InputMapping(None).process_tensor(tensor)


class Counting:
    def __init__(self):
        self.count = 0

    def get_and_increment(self) -> int:
        self.count += 1
        return self.count - 1


def test_entries_are_drawn_by_their_probabilities():
    mapping = scallopy.InputMapping(range(4), retain_k=2, sample_strategy="categorical")
    p = np.tile([0.0, 0.2, 0.3, 0.5], (2000, 1))
    drawn = [{values[0] for _, values in facts} for facts in mapping.process_tensor(p)]
    assert drawn == [{values[0] for _, values in facts} for facts in mapping.process_tensor(p)]
    # In two draws an entry of probability q is met with 1 - (1 - q)^2; four standard deviations of 2000.
    met = [np.mean([entry in each for each in drawn]) for entry in range(4)]
    assert met == pytest.approx([0, 0.36, 0.51, 0.75], abs=0.045)
    assert all(len(each) in (1, 2) for each in drawn)


def test_a_relation_with_a_mapping_of_none_takes_facts():
    program = "type digit(d: usize)\nrel twice(a + a) = digit(a)"
    module = scallopy.Module(program=program, input_mappings={"digit": None}, output_mapping=("twice", [2, 4]))
    assert module(digit=[[(0.5, (1,)), (0.25, 2)]]).tolist() == [[0.5, 0.25]]
    ctx = scallopy.ScallopContext(provenance="difftopkproofs")
    ctx.add_program(program)
    ctx.set_input_mapping("digit", scallopy.InputMapping(None))
    assert not ctx.has_input_mapping("digit")
    ctx.set_input_mapping("digit", range(3))
    ctx.set_input_mapping("digit", None)
    assert not ctx.has_input_mapping("digit")
    with pytest.raises(InputError, match="`digit` has no input mapping"):
        ctx.set_sample_topk_facts("digit", 2)


# Outputs --------------------------------------------------------------------------------------------------------------

DIGITS = """
    type a(x: i32), b(x: i32)
    rel sum_2(x + y) = a(x), b(y)
    rel mult_2(x * y) = a(x), b(y)
"""
INPUTS: dict[str, Any] = {"a": range(3), "b": range(3)}
# Compiles fast.
QUICK = "diffaddmultprob"


@pytest.fixture(scope="module")
def digits() -> dict[str, torch.Tensor]:
    return {"a": torch.full((2, 3), 0.5), "b": torch.full((2, 3), 0.25)}


def test_a_dictionary_of_one_output_gives_that_output(digits):
    named = scallopy.Module(
        DIGITS, provenance=QUICK, input_mappings=INPUTS, output_relation="sum_2", output_mapping=[0, 4]
    )
    expected = named(**digits)
    ctx = scallopy.ScallopContext(provenance=QUICK)
    ctx.add_program(DIGITS)
    for relation, mapping in INPUTS.items():
        ctx.set_input_mapping(relation, mapping)
    functions = [
        scallopy.Module(program=DIGITS, provenance=QUICK, input_mappings=INPUTS, output_mappings={"sum_2": [0, 4]}),
        ctx.forward_function(output_mappings={"sum_2": [0, 4]}),
    ]
    for function in functions:
        torch.testing.assert_close(function(**digits), expected)
    torch.testing.assert_close(named(**digits, output_mappings={"sum_2": [4]}), expected[:, 1:])
    # A reasoner of JAX gives a dictionary; what was saved of one is the other's all the same.
    reasoner = Reasoner(DIGITS, provenance=QUICK, input_mappings=INPUTS, output_mappings={"sum_2": [0, 4]})
    torch.testing.assert_close(scallopy.Module.from_reasoner(reasoner)(**digits)["sum_2"], expected)
    assert functions[0].specification.differences(reasoner.specification) == []


@pytest.mark.parametrize("door", ["module", "context"])
def test_outputs_may_be_named_by_calls_alone(door: str, digits):
    if door == "module":
        function = scallopy.ScallopForwardFunction(program=DIGITS, provenance=QUICK, input_mappings=INPUTS)
    else:
        ctx = scallopy.ScallopContext(provenance=QUICK)
        for relation, mapping in INPUTS.items():
            ctx.add_relation(relation, int, input_mapping=mapping)
        ctx.add_rule("sum_2(x + y) = a(x), b(y)")
        ctx.add_rule("mult_2(x * y) = a(x), b(y)")
        function = ctx.forward_function()
    assert function(**digits, output_relations="sum_2", output_mappings=[0]).tolist() == [[0.125]] * 2
    each = function(**digits, output_relations=["sum_2", "mult_2"], output_mappings=[4])
    assert each.tolist() == [[0.125]] * 2
    both = function(**digits, output_mappings={"sum_2": None, "mult_2": (4,)})
    assert both["sum_2"][0] == [(i,) for i in range(5)]
    assert both["mult_2"].tolist() == [0.125] * 2
    copy = pickle.loads(pickle.dumps(function))
    assert copy(**digits, output_relations="sum_2", output_mappings=[0]).tolist() == [[0.125]] * 2
    assert from_json(function.specification.to_json()) == function.specification
    for use in (lambda: function(**digits), lambda: function(a=[[(0.5, 1)]], b=[[(0.5, 1)]])):
        with pytest.raises(InputError, match="no output is named"):
            use()


def test_modules_draw_anew_for_outputs_of_calls():
    module = scallopy.Module("rel r() = f(_)", provenance="diffsamplekproofs", k=1, input_mappings={"f": range(8)})
    p = torch.linspace(0.1, 0.8, 8)[None]
    drawn = {module(f=p, output_relations="r", output_mappings=()).item() for _ in range(8)}
    assert len(drawn) > 1
    module.eval()
    assert len({module(f=p, output_relations="r", output_mappings=()).item() for _ in range(4)}) == 1


# Contexts -------------------------------------------------------------------------------------------------------------


class Numbers(scallopy.ScallopProvenance):
    """Sums and products: nothing is compiled for it."""

    def zero(self):
        return 0

    def one(self):
        return 1

    def add(self, a, b):
        return a + b

    def mult(self, a, b):
        return a * b


def test_a_batch_is_run_sample_by_sample():
    ctx = scallopy.ScallopContext(custom_provenance=Numbers())
    ctx.add_relation("a", int)
    ctx.add_relation("b", int)
    ctx.add_facts("b", [(0.5, 1)])
    ctx.add_rule("c(x + y) = a(x), b(y)")
    before = pickle.dumps(ctx)
    samples = [[(0.5, (1,)), (0.25, (2,))], [], [(None, (5,))]]
    found = ctx.run_batch({"a": samples}, "c", parallel=True)
    assert [list(each) for each in found] == [[(0.25, (2,)), (0.125, (3,))], [], [(0.5, (6,))]]
    assert pickle.dumps(ctx) == before
    module = ctx.forward_function("c", [2, 3, 6])
    for row, each in zip(module(a=samples), found, strict=True):
        assert {n: p for n, p in zip([2, 3, 6], row, strict=True) if p} == {v[0]: tag for tag, v in each}
    both = {"a": [([(0.5, 1), (0.5, 2)], [[0, 1]]), [(0.5, 1)]], "b": [[], [(0.5, 1)]]}
    names = [each.name for each in ctx.run_batch(both, ["c", "a"])]
    assert names == ["c", "a"]
    for use, message in [
        (lambda: ctx.run_batch({"a": [[], []], "b": [[]]}, "c"), "differ in batch size: `a` has 2, `b` has 1"),
        (lambda: ctx.run_batch({"a": [[]]}, ["c", "a"]), "names the relations of 2 samples; the batch has 1"),
        (lambda: ctx.run_batch({"a": [[(0.5, ("x",))]]}, "c"), '"x" is no i32'),
        (lambda: ctx.run_batch({"a": [[]]}, "d"), "there is no relation `d`"),
    ]:
        with pytest.raises(InputError, match=message):
            use()
        assert pickle.dumps(ctx) == before


def test_tensors_of_the_contexts_facts_count_in_every_sample():
    tags = torch.tensor([0.5, 0.25], requires_grad=True)
    ctx = scallopy.ScallopContext(provenance="diffaddmultprob")
    ctx.add_program(DIGITS)
    ctx.add_facts("b", [(tags[0], (0,)), (tags[1] * 2, (1,)), (0.125, (2,))])
    ctx.set_input_mapping("a", range(3))
    module = ctx.forward_function("sum_2", range(5))
    p = torch.tensor([[1.0, 0, 0], [0, 0.5, 0]])
    values = module(a=p)
    assert values.tolist() == [[0.5, 0.5, 0.125, 0, 0], [0, 0.25, 0.25, 0.0625, 0]]
    values.sum().backward()
    assert tags.grad.tolist() == [1.5, 3.0]
    # Beside facts of the call, as in the reference; a tensor takes their place.
    assert module(a=p, b=[[(0.25, 2)], []])[0].tolist() == [0.5, 0.5, pytest.approx(0.375), 0, 0]
    assert module(a=p, b=torch.zeros(2, 3)).sum() == 0
    again = pickle.loads(pickle.dumps(module))
    torch.testing.assert_close(again(a=p), values.detach())
    module.load_state_dict(module.state_dict())


def test_what_is_not_the_references_is_one_error():
    tensor = torch.tensor(0.5, requires_grad=True)
    for use, error, message in [
        (lambda: scallopy.Module(DIGITS, dispatch="batched"), InputError, "there are `parallel`, `serial`, `single`"),
        (lambda: scallopy.Context().clone(monitors=["dump-proofs"]), UnsupportedError, "monitors are not supported"),
        (lambda: scallopy.Module(DIGITS, facts={"a": [(tensor, (1,))]}), InputError, "a tag with a gradient"),
        (lambda: scallopy.Module(DIGITS, facts={"a": [(torch.ones(2), (1,))]}), InputError, r"a tag of shape \(2,\)"),
    ]:
        with pytest.raises(error, match=message):
            use()
    facts = {"a": [(torch.tensor(0.5), (1,)), (0.25, (2,))]}
    module = scallopy.Module(DIGITS, facts=facts, output_relation="a")
    assert module() == ([(1,), (2,)], pytest.approx(torch.tensor([[0.5, 0.25]])))


# Functions of Python --------------------------------------------------------------------------------------------------


@scallopy.foreign_predicate
def parsed(text: str) -> scallopy.Facts[float, tuple[scallopy.Entity]]:
    if text == "three and two":
        yield 0.5, ("Add(Const(3), Const(2))",)
        yield 0.25, ("Const(32)",)


PARSER = """
    type Expr = Const(i32) | Add(Expr, Expr)
    rel eval(e, v) = case e is Const(v)
    rel eval(e, v1 + v2) = case e is Add(e1, e2) and eval(e1, v1) and eval(e2, v2)
    rel prompt = {0.5::"three and two", "four"}
    rel result(v) = prompt(p) and parsed(p, e) and eval(e, v)
"""


@pytest.mark.parametrize("provenance", ["addmultprob", pytest.param("topkproofs", marks=pytest.mark.nightly)])
def test_terms_that_a_predicate_makes_are_evaluated(provenance: str):
    ctx = scallopy.ScallopContext(provenance=provenance)
    ctx.register_foreign_predicate(parsed)
    ctx.add_program(PARSER)
    ctx.run()
    assert list(ctx.relation("result")) == [(0.25, (5,)), (0.125, (32,))]
    shown = str(ctx.explain("result", 5))
    assert 'parsed("three and two", "Add(Const(3), Const(2))")' in shown
    assert "#" not in shown


def test_attributes_see_declarations_as_the_reference_shows_them():
    @scallopy.foreign_attribute
    def joined(item, separator=","):
        declared = item.relation_decl(0)
        types = [binding.ty for binding in declared.arg_bindings]
        assert all(kind.is_string() for kind in types)
        assert all(binding.adornment.is_bound() for binding in declared.arg_bindings[:-1])
        assert declared.arg_bindings[-1].adornment.is_free()

        @scallopy.foreign_predicate(name=declared.name.name, input_arg_types=types[:-1], output_arg_types=types[-1:])
        def join(*texts) -> scallopy.Facts[None, str]:
            yield (separator.join(texts),)  # pyright: ignore[reportReturnType]  # as the reference has it

        return join

    ctx = scallopy.ScallopContext()
    ctx.register_foreign_attribute(joined)
    ctx.add_program(
        '@joined("-") type join(bound x: String, bound y: String, free z: String)\nrel r(z) = join("a", "b", z)'
    )
    ctx.run()
    assert list(ctx.relation("r")) == [("a-b",)]
    assert issubclass(scallopy.ErrorAction, scallopy.AttributeAction)


def test_a_predicate_of_one_output_is_annotated_by_its_type():
    @scallopy.foreign_predicate(suppress_warning=True)
    def never(text: str) -> scallopy.Facts[None, str]:
        raise ValueError(text)

    ctx = scallopy.ScallopContext()
    ctx.register_foreign_predicate(never)
    ctx.add_program('rel result(y) = never("hello", y)')
    ctx.run()
    assert list(ctx.relation("result")) == []
