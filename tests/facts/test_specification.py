"""The saved form of a reasoner: the same text for the same reasoner, and nothing else is read."""

import dataclasses
import hashlib
import json

import pytest

from scallax.errors import CheckpointError
from scallax.facts.mappings import Entries, InputMapping
from scallax.facts.specification import Specification, from_json

EXAMPLE = Specification(
    program='rel sum(a + b) = digit(a) and digit(b)\nrel name("é")',
    file="rel seen(1)",
    relations=(("edge", ("i32", "String")),),
    rules=("path(a, b) = edge(a, b)",),
    facts=(("edge", ((0.5, (1, "a")), (None, (2, "b")), (True, (3, "c")))),),
    provenance="difftopkproofs",
    k=3,
    train_k=1,
    test_k=None,
    wmc_with_disjunctions=False,
    non_probabilistic=("seen",),
    trainable=("edge",),
    input_mappings=(("digit", InputMapping({0: range(2), 1: ["x"]}, disjunctive_dim=0, retain_k=1, log=True)),),
    outputs=(("sum", Entries((2,), ((0,), (1.5,)))), ("path", None)),
    keyed=True,
    iter_limit=4,
    early_discard=None,
    column_types=(("sum", ("f32",)),),
    imports=(("lib.scl", "type seen(i32)"),),
    foreign=("function $half(i32) -> i32",),
    evidence=(("path", InputMapping([(1, 2)])),),
    on_impossible="zero",
    log=True,
)


def resealed(data: dict) -> str:
    """Altered data with digests that fit, as a careful forger would write it."""
    data = {name: value for name, value in data.items() if name != "digest"}
    digest = hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    return json.dumps({**data, "digest": digest})


def test_json_gives_the_specification_back():
    text = EXAMPLE.to_json()
    assert from_json(text) == EXAMPLE
    assert from_json(text).to_json() == text
    assert from_json(resealed(json.loads(text))) == EXAMPLE


def test_the_text_holds_the_hash_of_the_program():
    data = json.loads(EXAMPLE.to_json())
    assert data["format"] == 1
    assert data["program_sha256"] == hashlib.sha256(f"{EXAMPLE.file}\n{EXAMPLE.program}".encode()).hexdigest()
    assert data["digest"] == EXAMPLE.digest


def test_an_integer_and_the_float_of_its_value_are_told_apart():
    as_float = dataclasses.replace(EXAMPLE, outputs=(("sum", Entries((2,), ((0.0,), (1.5,)))), ("path", None)))
    assert as_float.digest != EXAMPLE.digest


@pytest.mark.parametrize("text", ["", "{", "nonsense", '{"format": 1', "[" * 100_000])
def test_broken_json_is_refused(text):
    with pytest.raises(CheckpointError, match=r"^the saved specification is no JSON: "):
        from_json(text)


@pytest.mark.parametrize("text", ["[]", "3", "null"])
def test_json_that_is_no_object_is_refused(text):
    with pytest.raises(CheckpointError, match=r"^the saved specification is no JSON object$"):
        from_json(text)


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
def test_another_format_version_is_refused(version):
    text = resealed({**json.loads(EXAMPLE.to_json()), "format": version})
    with pytest.raises(CheckpointError) as caught:
        from_json(text)
    expected = f"the saved specification has format version {version!r}; this version of scallax reads version 1"
    assert str(caught.value) == expected


def test_a_program_that_was_changed_is_refused():
    text = resealed({**json.loads(EXAMPLE.to_json()), "program": "rel sum(a) = digit(a)"})
    with pytest.raises(CheckpointError) as caught:
        from_json(text)
    assert str(caught.value) == "the saved program does not match its SHA-256: it was changed after it was saved"


def test_an_option_that_was_changed_is_refused():
    data = {**json.loads(EXAMPLE.to_json()), "k": 7}
    with pytest.raises(CheckpointError) as caught:
        from_json(json.dumps(data))
    assert str(caught.value) == "the saved specification does not match its SHA-256: it was changed after it was saved"


def test_missing_and_unknown_fields_are_listed_together():
    data = json.loads(EXAMPLE.to_json())
    del data["k"], data["rules"]
    with pytest.raises(CheckpointError) as caught:
        from_json(json.dumps({**data, "code": "import os"}))
    assert str(caught.value) == (
        "the saved specification lacks `k`\n\nthe saved specification lacks `rules`\n\n"
        "the saved specification has the unknown field `code`"
    )


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("program", 3, "a string"),
        ("k", "3", "an integer"),
        ("k", True, "an integer"),
        ("keyed", 1, "true or false"),
        ("rules", "p(x) = q(x)", "a list"),
        ("rules", [1], "a string"),
        ("facts", [["edge"]], "a list of pairs"),
        ("facts", [["edge", [["high", [1]]]]], "facts with numbers for tags"),
        ("facts", [["edge", [[0.5, [None]]]]], "made of numbers, booleans and strings"),
        ("input_mappings", [["digit", {"entries": None}]], "mappings with their options"),
        ("outputs", [["sum", {"shape": [3], "tuples": [[1]]}]], "mappings of one tuple for each entry"),
        ("outputs", [["sum", {"shape": [1]}]], "mappings with a shape and tuples"),
        ("column_types", [["sum", ["i33"]]], "made of value types"),
        ("executor", "torch", "`jax` or `numpy`"),
        ("executor", ["numpy"], "`jax` or `numpy`"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(field, value, expected):
    with pytest.raises(CheckpointError) as caught:
        from_json(resealed({**json.loads(EXAMPLE.to_json()), field: value}))
    assert str(caught.value).startswith(f"the saved specification's `{field}` must be {expected}, not ")


def test_a_mapping_option_out_of_range_is_named():
    data = json.loads(EXAMPLE.to_json())
    data["input_mappings"][0][1]["retain_k"] = -1
    with pytest.raises(CheckpointError, match="`input_mappings` is wrong: input mapping: `retain_k` is -1"):
        from_json(resealed(data))


def test_every_difference_is_told_with_old_and_new():
    other = dataclasses.replace(
        EXAMPLE,
        program='rel sum(a - b) = digit(a) and digit(b)\nrel name("é")',
        k=5,
        test_k=9,
        provenance="diffminmaxprob",
        input_mappings=(("digit", InputMapping(range(10))),),
        outputs=(("sum", Entries((2,), ((0,), (1.5,)))), ("path", Entries((), ((1, 2),)))),
    )
    assert EXAMPLE.differences(EXAMPLE) == []
    assert EXAMPLE.differences(other) == [
        "program: line 1 was `rel sum(a + b) = digit(a) and digit(b)`, is `rel sum(a - b) = digit(a) and digit(b)`",
        "provenance: was difftopkproofs, is diffminmaxprob",
        "k: was 3, is 5",
        "test_k: was none, is 9",
        (
            'input mapping of `digit`: was 2x1 entries [(0, "x"), (1, "x")], disjunctive=True, disjunctive_dim=0, '
            "retain_k=1, log=True, is 10 entries [0, 1, 2, 3, ..., 9]"
        ),
        "output mapping of `path`: was every possible tuple, is (1, 2)",
    ]


# Who computes is no part of what is computed.
@pytest.mark.parametrize("field", sorted({field.name for field in dataclasses.fields(Specification)} - {"executor"}))
def test_no_difference_goes_unnoticed(field):
    empty = {
        "on_impossible": "error",
        "log": False,
        "keyed": False,
        "k": 4,
        "provenance": "unit",
        "wmc_with_disjunctions": True,
        "early_discard": False,
    }
    value = empty.get(field, None if field in ("program", "file", "train_k", "iter_limit") else ())
    value = 8 if field == "test_k" else value
    other = dataclasses.replace(EXAMPLE, **{field: value})
    assert other != EXAMPLE
    assert EXAMPLE.differences(other)
    assert other.differences(EXAMPLE)


def test_the_order_of_outputs_is_a_difference():
    other = dataclasses.replace(EXAMPLE, outputs=EXAMPLE.outputs[::-1])
    assert EXAMPLE.differences(other) == ["outputs: in another order"]
