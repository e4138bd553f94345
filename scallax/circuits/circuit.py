"""The circuit: derivations as index arrays, in nested parts, for a provenance to fold over.

The metadata of each field says its shape and dtype, what its numbers index, and its name in files. Everything that
treats all fields alike reads it there: the pytree, the stored form with its checks, the digest of a constant circuit,
and the pickles of version 0.1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import field, fields, is_dataclass
from functools import cache
from typing import Any, NamedTuple, get_args

import numpy as np

from scallax.kernels.schedule import Schedule
from scallax.kernels.selections import CATEGORICAL, UNIFORM, Stage
from scallax.language.records import record

# Rows of the tag array before the literals: the algebra's zero and one.
ZERO_ROW = 0
ONE_ROW = 1
FIRST_LITERAL_ROW = 2

# The order of the fields in pickles of version 0.1, by their names in files.
_FLAT_FIELDS = (
    *("width", "branches", "use_rows", "words", "tiles", "left", "right", "third", "negated", "outputs"),
    *("literal_source", "literal_prior", "input_literal", "slots", "logit_groups", "columns", "column_of"),
    *("exclusions", "group_end", "local_literals", "local_columns", "place_components", "output_components"),
    *("transpose", "uses", "others", "heads", "literal_row", "num_heads", "num_sums", "seed", "literal_ids", "stages"),
)


@record
class Form:
    """The form of one field. `name` is the field's name in files.

    `axes` are the names of the axes, separated by spaces: axes of one name have one length, and a number is a length.
    `indexes` says what the values are places of: an axis, or a length that `serialized` knows. A value `i` of `n`
    places has `lowest <= i < n + beyond`; -1, or `n` itself, stands for none. A static field is a number or a tuple of
    Python that compiled code depends on. A field that `may_lack` is in files only where it is not empty.
    """

    name: str
    axes: str = ""
    dtype: type = np.int32
    indexes: str = ""
    lowest: int = 0
    beyond: int = 0
    is_static: bool = False
    is_stored: bool = True
    may_lack: bool = False

    def empty(self, num_literals: int) -> Any:
        """The value in files of a field whose part does not exist: all axes but that of the literals are empty."""
        shape = [int(axis) if axis.isdigit() else num_literals * (axis == "literals") for axis in self.axes.split()]
        if self.is_static:
            return to_tuples(np.zeros(shape, np.int64).tolist())
        return np.full(shape, self.lowest, self.dtype)

    def is_empty(self, value: Any) -> bool:
        """Whether the value of a part's first field says that the part does not exist."""
        return not np.any(value) if self.is_static else np.size(value) == 0


def _array(name: str, axes: str, indexes: str = "", **options: Any) -> dict[str, tuple[Form, ...]]:
    return {"forms": (Form(name, axes, indexes=indexes, **options),)}


def _static(name: str, axes: str = "", **options: Any) -> dict[str, tuple[Form, ...]]:
    return {"forms": (Form(name, axes, is_static=True, **options),)}


def _schedule(name: str, branches: str, operands: str, targets: str) -> dict[str, tuple[Form, ...]]:
    """The forms of the arrays of a schedule, in their order; the arguments say what its numbers index."""
    steps = f"{name}-steps"
    known = {
        "branch": Form(f"{name}.branch", steps, indexes=branches),
        "offset": Form(f"{name}.offset", steps, indexes=operands),
        "target": Form(f"{name}.target", steps, indexes=targets),
        "loop": Form(f"{name}.loop", steps, indexes=steps, lowest=-1, beyond=1),
        "count": Form(f"{name}.count", indexes=steps, beyond=1),
    }
    return {"forms": tuple(known.get(part, Form(f"{name}.{part}", steps, np.bool_)) for part in Schedule._fields)}


@record
class Forward:
    """The fold: tiles of `width` heads each, computed one after the other from operands, which are rows of tags.

    A step of `tiles` takes a block of `rows * width` operands, where its branch is a kind of tile and a number of rows.
    Each head is the sum of the products `left * right` in its lane, or `left * right * third` in tiles of the kinds
    `LITERALS` and `LINEAR`, where `right` and `third` are leaves. `third` is None if the provenance does not tell these
    kinds apart.
    """

    width: int = field(metadata=_static("width"))
    branches: tuple[tuple[int, int], ...] = field(metadata=_static("branches", "branches 2"))
    # Rows of all tiles, with padding.
    num_heads: int = field(metadata=_static("num_heads"))
    tiles: Schedule = field(metadata=_schedule("tiles", "branch", "operands", "tile of rows"))
    left: np.ndarray = field(metadata=_array("left", "operands", "rows"))
    right: np.ndarray = field(metadata=_array("right", "operands", "rows"))
    third: np.ndarray | None = field(metadata=_array("third", "operands", "leaves"))


@record
class LiteralArrays:
    """The literals, padded: where their values come from, and which of them are leaves in both polarities."""

    # The literal's place among the inputs; -1 where `prior` has its value.
    source: np.ndarray = field(metadata=_array("literal_source", "literals", "inputs", lowest=-1))
    # The value is the sum of two floats, so that one array serves both precisions; both are infinite if it is certain.
    prior: np.ndarray = field(metadata=_array("literal_prior", "2 literals", dtype=np.float32))
    # The literal of each input; the number of literals if it has none.
    of_input: np.ndarray = field(metadata=_array("input_literal", "inputs", "literals", beyond=1))
    # The literals whose complements are leaves too, in rows after those of the literals.
    negated: np.ndarray = field(metadata=_array("negated", "negated", "literals"))
    # Whether the literal is the last member of its exclusive group; members stand side by side. If proofs count random
    # choices alone as variables, members of other groups stand for themselves.
    group_end: np.ndarray = field(metadata=_array("group_end", "literals", dtype=np.bool_))
    # The numbers of the grounding, which says what they stand for; evaluation needs none, and none are stored.
    ids: np.ndarray = field(
        default_factory=lambda: np.zeros(0, np.int32), metadata=_array("literal_ids", "ids", is_stored=False)
    )


@record
class LocalColumns:
    """The numbering of columns by component, for a circuit of components that have few literals or none in common.

    A component's literals stand at places of its own, and `ProofColumns.columns` holds places instead of literals.
    """

    # The literal at each place of a component; the number of literals for none.
    literals: np.ndarray = field(
        metadata=_array("local_literals", "components places", "literals", beyond=1, is_stored=False)
    )
    # `column_of` for places.
    columns: np.ndarray = field(metadata=_array("local_columns", "2 places", "columns", lowest=-1, is_stored=False))
    # The components of each operand's head and of each output.
    of_operand: np.ndarray = field(metadata=_array("place_components", "operands", "components", is_stored=False))
    of_output: np.ndarray = field(metadata=_array("output_components", "outputs", "components", is_stored=False))


@record
class ProofColumns:
    """The columns of proofs, which stand for literals, as `provenance.base.LiteralTable` says.

    Proofs are bit sets of columns, or, with a `length`, lists of at most so many: then `exclusions` have no words, and
    `groups` says which columns exclude each other.
    """

    words: tuple[int, int, int, int, int] = field(metadata=_static("words", "5"))
    # The literal of each column, -1 for padding, and the positive and the negated column of each literal.
    columns: np.ndarray = field(metadata=_array("columns", "columns", "literals", lowest=-1))
    column_of: np.ndarray = field(metadata=_array("column_of", "2 literals", "columns", lowest=-1))
    # The other members of a literal's exclusive group as a set of columns; no words without groups.
    exclusions: np.ndarray = field(metadata=_array("exclusions", "literals words", dtype=np.uint32))
    local: LocalColumns | None = None
    length: int = field(default=0, metadata=_static("length", may_lack=True))
    # The exclusive group of each positive column, whose members stand side by side; -1 for none, and for negated ones.
    # Empty without groups.
    groups: np.ndarray = field(
        default_factory=lambda: np.zeros(0, np.int32),
        metadata=_array("column_groups", "grouped", "literals", lowest=-1, may_lack=True),
    )
    # Whether random choices of rules count as one variable each where the members of other groups are independent.
    counts_choices: int = field(default=0, metadata=_static("counts_choices", may_lack=True))


@record
class Transpose:
    """The fold in reverse: for each row, the uses from which its cotangent is summed.

    Tiles fold into a buffer of cotangents with the rows zero, outputs, sums. A place that uses a row contributes the
    cotangent at `uses`, of the head or output that it belongs to, times the tag at `others`, its other operand:
    `d row = sum of d use * other`.
    """

    # Rows of the sums, with padding.
    num_sums: int = field(metadata=_static("num_sums"))
    # The number of rows of a step, by its branch.
    use_rows: tuple[int, ...] = field(metadata=_static("use_rows", "use_rows"))
    tiles: Schedule = field(metadata=_schedule("transpose", "use branch", "uses", "tile of buffer"))
    uses: np.ndarray = field(metadata=_array("uses", "uses", "buffer"))
    others: np.ndarray = field(metadata=_array("others", "uses", "rows"))
    # The first row of tags of a step's tile; 0 for literals and for partial sums.
    heads: np.ndarray = field(metadata=_array("heads", "transpose-steps", "tile of rows"))
    # The row of the buffer with the cotangent of each literal.
    literal_row: np.ndarray = field(metadata=_array("literal_row", "literals", "buffer"))
    # The row of tags whose cotangent each row of the buffer is, or is a part of; where tags are logarithms.
    row: np.ndarray = field(
        default_factory=lambda: np.zeros(0, np.int32),
        metadata=_array("buffer_row", "buffer-rows", "rows", may_lack=True),
    )


@record
class Trained:
    """The trained inputs, which are the last ones: probabilities of logits."""

    # The logits of one group are normalised together by a softmax; those of -1 are independent, with a sigmoid.
    logit_groups: np.ndarray = field(metadata=_array("logit_groups", "logits", "logits", lowest=-1))
    # The logit of each trained input.
    slots: np.ndarray = field(metadata=_array("slots", "slots", "logits"))


@record
class Circuit:
    """Arrays that a provenance folds over: a pytree, whose static fields are small numbers shared by many circuits.

    The array of tags has the rows zero, one, literals, complements, heads. Lengths are padded to size classes. Parts
    that a circuit does not have are None: `proofs` if the provenance keeps no proofs, `transpose` if its gradient does
    not pass through tags, or without inputs, `trained` without parameters.

    `stages` are evaluated first, in order. The selections of each are further inputs of those after it and of the
    circuit, in this order, behind all others.
    """

    forward: Forward
    literals: LiteralArrays
    proofs: ProofColumns | None
    transpose: Transpose | None
    trained: Trained | None
    # The rows of the outputs.
    outputs: np.ndarray = field(metadata=_array("outputs", "outputs", "rows"))
    # The seed of provenances that draw; it is given with the inputs.
    seed: np.ndarray = field(
        default_factory=lambda: np.zeros((), np.uint32),
        metadata=_array("seed", "", dtype=np.uint32, is_stored=False),
    )
    stages: tuple[Stage, ...] = ()
    # For each output the place of what was observed: its value is divided by that one's, which has its own place; -1
    # for padding. None without evidence.
    evidence: np.ndarray | None = field(
        default=None, metadata=_array("evidence", "outputs", "outputs", lowest=-1, may_lack=True)
    )

    @property
    def draws(self) -> bool:
        """Whether some selection is drawn, so that the outputs depend on the seed."""
        return any(np.isin(stage.selections.orders, (UNIFORM, CATEGORICAL)).any() for stage in self.stages)

    @property
    def num_literals(self) -> int:
        """Padded number of literals."""
        return self.literals.source.shape[0]

    @property
    def num_leaves(self) -> int:
        """Rows before those of heads."""
        return FIRST_LITERAL_ROW + self.num_literals + self.literals.negated.shape[0]

    @property
    def num_rows(self) -> int:
        """Rows of the array of tags."""
        return self.num_leaves + self.forward.num_heads

    @property
    def num_inputs(self) -> int:
        """Inputs with the trained ones."""
        return self.literals.of_input.shape[0]

    @property
    def num_trained(self) -> int:
        """Trained inputs, padded."""
        return 0 if self.trained is None else self.trained.slots.shape[0]

    @property
    def local(self) -> LocalColumns | None:
        """The numbering of columns by component; None if there is one numbering for all."""
        return None if self.proofs is None else self.proofs.local

    def __setstate__(self, state: list) -> None:
        if len(state) == len(_FLAT_FIELDS):  # a flat program of version 0.1
            values = dict(zip(_FLAT_FIELDS, state, strict=True))
            for name in ("tiles", "transpose"):
                values |= {f"{name}.{part}": array for part, array in values[name]._asdict().items()}
            circuit = nest(values, values["stages"])
            state = [getattr(circuit, item.name) for item in fields(self)]
        # Pickles are without evidence where there was none yet.
        for item, value in zip(fields(self), (*state, None), strict=False):
            object.__setattr__(self, item.name, value)


class _Item(NamedTuple):
    """A field of a part: an inner part of the class `inner`, or what `forms` say; `stages` are neither."""

    name: str
    inner: type | None
    forms: tuple[Form, ...]
    is_optional: bool


@cache
def _items(part: type) -> tuple[_Item, ...]:
    items = []
    for item in fields(part):
        options = (item.type, *get_args(item.type))
        inner = next((option for option in options if isinstance(option, type) and is_dataclass(option)), None)
        items.append(_Item(item.name, inner, item.metadata.get("forms", ()), type(None) in options))
    return tuple(items)


def parts(part: type = Circuit) -> Iterator[type]:
    """The classes of a circuit and of all its parts."""
    yield part
    for item in _items(part):
        if item.inner is not None:
            yield from parts(item.inner)


def static_fields(part: type) -> list[str]:
    """The names of the static fields of a part."""
    return [item.name for item in _items(part) if any(form.is_static for form in item.forms)]


def forms(part: type = Circuit) -> Iterator[Form]:
    """The forms of all fields of a part and of those inside it."""
    for item in _items(part):
        yield from item.forms if item.inner is None else forms(item.inner)


def leaves(value: Any, part: type = Circuit) -> Iterator[tuple[Form, Any]]:
    """The forms of all fields, with the values of one circuit; None for those of parts that it does not have."""
    for item in _items(part):
        own = None if value is None else getattr(value, item.name)
        if item.inner is not None:
            yield from leaves(own, item.inner)
        else:
            yield from zip(item.forms, own if isinstance(own, Schedule) else [own] * len(item.forms), strict=True)


def flatten(circuit: Circuit) -> dict[str, Any]:
    """The values of all fields but `stages`, by their names in files; empty ones for parts that do not exist."""
    num_literals = circuit.num_literals
    return {form.name: form.empty(num_literals) if value is None else value for form, value in leaves(circuit)}


def nest(values: Mapping[str, Any], stages: tuple[Stage, ...]) -> Circuit:
    """The circuit whose fields `flatten` gave; those that are not stored may be missing."""
    return _nest(Circuit, values, {"stages": stages})


def _nest(part: type, values: Mapping[str, Any], arguments: dict[str, Any]) -> Any:
    for name, inner, own, is_optional in _items(part):
        own = own if inner is None else tuple(forms(inner))
        if not own or own[0].name not in values:
            continue
        if is_optional and own[0].is_empty(values[own[0].name]):
            arguments[name] = None
        elif inner is not None:
            arguments[name] = _nest(inner, values, {})
        else:
            found = [values[form.name] for form in own]
            arguments[name] = found[0] if len(found) == 1 else Schedule(*found)
    return part(**arguments)


def to_tuples(value: Any) -> Any:
    """Nested lists as nested tuples."""
    return tuple(map(to_tuples, value)) if isinstance(value, list) else value
