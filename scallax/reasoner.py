"""A compiled program as a pure, batched, differentiable function of input probabilities."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.backend import get_default_device
from jaxtyping import Array, PyTree

from scallax import ir
from scallax.arguments import program_sources, read_file, show_facts, specify, unknown_name
from scallax.batch import ArrayLike, Signature, evaluate_batch, forward_batch, pull_back_batch
from scallax.engine import GivenFacts, analyse_program, compile_outputs, ground_program
from scallax.errors import CheckpointError, Diagnostic, InputError, ScallaxError, TypeInferenceError, UnsupportedError
from scallax.grounding.derivations import ZERO
from scallax.grounding.fixpoint import Grounding
from scallax.grounding.layout import GroundProgram
from scallax.mappings import InputMapping, Tuples, fit_entries, fit_tuples, show_tuple, typical_tuples
from scallax.process import check_process
from scallax.provenance import AbstractProvenance, resolve_provenance
from scallax.source import Source
from scallax.specification import Specification, from_json
from scallax.values import ValueType

Columns = Mapping[str, Sequence[ValueType]]
T = TypeVar("T")

# A softmax may be over 1 by rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Output:
    """One output relation and its place among all output tuples.

    `is_single`: one tuple was asked for, the value has no axis for tuples; `is_listed`: every possible tuple was asked
    for, the tuples are returned with their values.
    """

    relation: str
    tuples: Tuples
    start: int
    is_single: bool
    is_listed: bool


@dataclass(frozen=True, slots=True)
class _Grounded:
    """What reasoners that differ only in k share."""

    specification: Specification
    grounding: Grounding
    operands: np.ndarray
    outputs: tuple[Output, ...]


@final
class Reasoner:
    """A program as a function `reasoner(relation=probabilities, ...)` of arrays `[batch, *mapping.shape]`.

    The result is `[batch, len(output mapping)]`; `[batch]` for an output mapping of one tuple; `(tuples, [batch,
    len(tuples)])` without an output mapping (every possible tuple, sorted); a dictionary of these with
    `output_mappings`. Without outputs, the program's queries are the outputs. Without inputs the batch is 1.

    The function is pure and works under `jax.jit`, `jax.grad` and `jax.vmap`. Float32 is computed in float32, float64
    in float64 (where JAX has it enabled), narrower floats in float32 and cast back. Outputs of `unit` and `bool` are
    bool; these two also take bool arrays. In eager calls a NaN or an infinite value raises InputError, and a value
    outside [0, 1] is computed as it is, with one warning for each reasoner.

    The program is grounded once, at construction. `retain_topk` keeps the largest inputs of a relation;
    `early_discard` changes no value here and is kept with the specification.
    """

    def __init__(
        self,
        program: str | None = None,
        *,
        provenance: str = "difftopkproofs",
        k: int = 3,
        train_k: int | None = None,
        test_k: int | None = None,
        file: str | Path | None = None,
        facts: Mapping[str, Iterable] | None = None,
        rules: Sequence[str] | None = None,
        relations: Sequence[tuple[str, object]] | None = None,
        input_mappings: Mapping[str, object] | None = None,
        output_relation: str | None = None,
        output_mapping: object = None,
        output_mappings: Mapping[str, object] | None = None,
        non_probabilistic: Sequence[str] | None = None,
        retain_topk: Mapping[str, int] | None = None,
        iter_limit: int | None = None,
        early_discard: bool | None = None,
        wmc_with_disjunctions: bool | None = None,
    ):
        source = read_file(file)
        specification = specify(
            program=program,
            file=None if source is None else source.text,
            provenance=provenance,
            k=k,
            train_k=train_k,
            test_k=test_k,
            wmc_with_disjunctions=wmc_with_disjunctions,
            facts=facts,
            rules=rules,
            relations=relations,
            input_mappings=input_mappings,
            output_relation=output_relation,
            output_mapping=output_mapping,
            output_mappings=output_mappings,
            non_probabilistic=non_probabilistic,
            retain_topk=retain_topk,
            iter_limit=iter_limit,
            early_discard=early_discard,
            uses_tags=resolve_provenance(provenance).uses_tags,
        )
        self._start(_ground(specification, program_sources(specification, "" if source is None else source.name)))
        self._warn_about_underivable()

    @classmethod
    def from_specification(cls, specification: Specification) -> "Reasoner":
        """The reasoner of `reasoner.specification`; raises what the constructor raises, warns of nothing."""
        reasoner = cls.__new__(cls)
        reasoner._start(_ground(specification, program_sources(specification)))
        return reasoner

    @classmethod
    def from_json(cls, text: str) -> "Reasoner":
        """The reasoner of `specification.to_json()`.

        CheckpointError if the text is damaged or no longer compiles to the same.
        """
        specification = from_json(text)
        try:
            reasoner = cls.from_specification(specification)
        except ScallaxError as error:  # a program that this version refuses
            raise CheckpointError(f"the saved program does not compile: {error}") from error
        differences = specification.differences(reasoner.specification)
        if differences:
            raise CheckpointError(*(f"the saved program compiles to something else: {line}" for line in differences))
        return reasoner

    def _start(self, grounded: _Grounded) -> None:
        specification = grounded.specification
        self._grounded = grounded
        self._provenance = _provenance(specification)
        self._mappings = dict(specification.input_mappings)
        self._signature = Signature(
            self._provenance,
            tuple(mapping.retention for mapping in self._mappings.values()),
            len(grounded.operands),
        )
        self._programs: dict = {}
        self._has_warned = False
        self._has_checked_device = False

    @property
    def specification(self) -> Specification:
        """Everything that defines this reasoner, as plain data."""
        return self._grounded.specification

    @property
    def input_relations(self) -> tuple[str, ...]:
        """The relations that calls must give, in the order of `evaluate`'s arrays."""
        return tuple(self._mappings)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The output relations in order."""
        return self._grounded.outputs

    @property
    def is_discrete(self) -> bool:
        """Whether outputs are bool and have no gradient."""
        return self._provenance.is_discrete

    def with_k(self, k: int) -> "Reasoner":
        """The same reasoner keeping `k` proofs; shares the grounding."""
        if k == self.specification.k:
            return self
        reasoner = Reasoner.__new__(Reasoner)
        reasoner._start(replace(self._grounded, specification=replace(self.specification, k=k)))
        return reasoner

    @cached_property
    def for_training(self) -> "Reasoner":
        """This reasoner with `train_k` proofs, if that was given."""
        return self.with_k(self.specification.train_k or self.specification.k)

    @cached_property
    def for_testing(self) -> "Reasoner":
        """This reasoner with `test_k` proofs, if that was given."""
        return self.with_k(self.specification.test_k or self.specification.k)

    def __call__(self, /, **inputs: ArrayLike) -> PyTree:
        """The outputs for one array for each input relation; see the class."""
        return self.unpack(self.evaluate(self.order(inputs)))

    def order(self, inputs: Mapping[str, T]) -> tuple[T, ...]:
        """The inputs in the order of `input_relations`. InputError if one is missing or is no input relation."""
        for relation, value in inputs.items():
            if relation not in self._mappings:
                known = dict(self.specification.column_types)
                if relation in known or isinstance(value, list):
                    raise UnsupportedError(_no_facts_per_sample(relation))
                raise unknown_name(f"`{relation}` is no input relation", relation, self._mappings)
            if isinstance(value, list):
                raise UnsupportedError(_no_facts_per_sample(relation))
        missing = [relation for relation in self._mappings if relation not in inputs]
        if missing:
            raise InputError(
                *(f"no input for `{r}`: give an array of shape {self._expected_shape(r)}" for r in missing)
            )
        return tuple(inputs[relation] for relation in self._mappings)

    def evaluate(self, arrays: Sequence[ArrayLike]) -> Array:
        """The values `[batch, outputs]` of all output tuples for arrays in the order of `input_relations`."""
        arrays = self._check(arrays)
        return evaluate_batch(self._signature, self._program(arrays), arrays)

    def forward(self, arrays: Sequence[ArrayLike]) -> tuple[Array, PyTree[Array]]:
        """`evaluate`'s values, and what `pull_back` needs to differentiate them."""
        arrays = self._check(arrays)
        return forward_batch(self._signature, self._program(arrays), arrays)

    def pull_back(
        self, arrays: Sequence[ArrayLike], residuals: PyTree[Array], cotangent: ArrayLike
    ) -> tuple[Array | None, ...]:
        """Gradients of the arrays given to `forward`, of their shapes and dtypes, for a cotangent `[batch, outputs]`.

        None for a bool array. Must be called with arrays equal to those of `forward`.
        """
        arrays = tuple(arrays)
        return pull_back_batch(self._signature, self._program(arrays), arrays, residuals, cotangent)

    def unpack(self, packed: Any) -> Any:
        """The result of a call from values `[batch, outputs]`: only slices them, so any array type will do."""
        results = {output.relation: self._unpack_one(output, packed) for output in self.outputs}
        return results if self.specification.keyed else results[self.outputs[0].relation]

    def _unpack_one(self, output: Output, packed):
        if output.is_single:
            return packed[:, output.start]
        whole = len(output.tuples) == self._signature.num_outputs
        values = packed if whole else packed[:, output.start : output.start + len(output.tuples)]
        return (list(output.tuples), values) if output.is_listed else values

    def _program(self, arrays: Sequence[ArrayLike]) -> GroundProgram:
        """The index arrays, on the device of the arrays: kept there after the first call."""
        check_process()
        device = None
        if jax.device_count() > 1:
            devices = {d for a in arrays if isinstance(a, jax.Array) and not _is_traced(a) for d in a.devices()}
            device = devices.pop() if len(devices) == 1 else None
        key = device or get_default_device()
        if key not in self._programs:
            with jax.ensure_compile_time_eval():
                self._programs[key] = jax.device_put(self._host_program, device)
        return self._programs[key]

    @cached_property
    def _host_program(self) -> GroundProgram:
        return compile_outputs(self._grounded.grounding, self._provenance, self._grounded.operands)

    def _check(self, arrays: Sequence[ArrayLike]) -> tuple[ArrayLike, ...]:
        """The arrays, if their kinds and shapes, and the values of those that are not traced, fit."""
        arrays = tuple(arrays)
        for relation, array in zip(self._mappings, arrays, strict=True):
            self._check_kind(relation, array)
        self.check_shapes([array.shape for array in arrays])
        for relation, array in zip(self._mappings, arrays, strict=True):
            if not _is_traced(array) and array.dtype != np.bool_ and array.shape[0]:
                self._check_values(relation, array)
        return arrays

    def check_shapes(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """InputError if shapes, in the order of `input_relations`, do not fit their mappings or each other."""
        for (relation, mapping), shape in zip(self._mappings.items(), shapes, strict=True):
            if not shape or tuple(shape[1:]) != mapping.shape:
                raise InputError(
                    f"`{relation}` has shape {tuple(shape)}; "
                    f"its input mapping asks for {self._expected_shape(relation)}"
                )
        sizes = {relation: shape[0] for relation, shape in zip(self._mappings, shapes, strict=True)}
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"`{relation}` has {size}" for relation, size in sizes.items())
            raise InputError(f"the inputs differ in batch size: {shown}")

    def _check_kind(self, relation: str, array: ArrayLike) -> None:
        if not isinstance(array, jax.Array | np.ndarray):
            raise InputError(
                f"`{relation}` is a {type(array).__name__}; give an array of shape {self._expected_shape(relation)}"
            )
        if array.dtype == np.bool_:
            if not self.is_discrete:
                raise InputError(
                    f"`{relation}` is of dtype bool; only the provenances `unit` and `bool` take bool inputs"
                )
        elif not jnp.issubdtype(array.dtype, jnp.floating):
            raise InputError(
                Diagnostic(
                    f"`{relation}` is of dtype {array.dtype}; probabilities are floats",
                    hint="convert it to float32 first",
                )
            )

    def _check_values(self, relation: str, array: ArrayLike) -> None:
        if isinstance(array, jax.Array) and next(iter(array.devices())).platform != "cpu":
            # Reading values back from an accelerator waits for it: worth it once.
            if self._has_checked_device:
                return
            self._has_checked_device = True
        values = np.asarray(array)
        low, high = values.min(), values.max()
        if low >= -_ROUNDING and high <= 1 + _ROUNDING:
            return
        finite = np.isfinite(values)
        if not finite.all():
            raise InputError(
                f"`{relation}` {self._locate(relation, values, ~finite)}; a probability is a finite number"
            )
        if not self._has_warned:
            self._has_warned = True
            place = self._locate(relation, values, (values < 0) | (values > 1))
            warnings.warn(f"`{relation}` {place}, outside [0, 1]; it is computed as it is", UserWarning, stacklevel=4)

    def _locate(self, relation: str, values: np.ndarray, wrong: np.ndarray) -> str:
        index = tuple(np.argwhere(wrong)[0])
        entry = np.ravel_multi_index(index[1:], values.shape[1:]) if index[1:] else 0
        values_of_tuple = show_tuple(self._mappings[relation].tuples[entry])
        return f"is {float(values[index])} in sample {index[0]} for the tuple `{relation}{values_of_tuple}`"

    def _expected_shape(self, relation: str) -> str:
        sizes = [str(size) for size in self._mappings[relation].shape]
        return f"(batch, {', '.join(sizes)})" if sizes else "(batch,)"

    def _warn_about_underivable(self) -> None:
        for output in self.outputs:
            operands = self._grounded.operands[output.start : output.start + len(output.tuples)]
            never = [t for t, operand in zip(output.tuples, operands, strict=True) if operand == ZERO]
            if never:
                shown = show_facts(output.relation, never)
                warnings.warn(f"no rule can derive {shown}: always 0 in the output", UserWarning, stacklevel=3)

    def __reduce__(self):
        return Reasoner.from_json, (self.specification.to_json(),)

    def __repr__(self) -> str:
        outputs = ", ".join(f"`{output.relation}`" for output in self.outputs)
        inputs = ", ".join(f"`{relation}`" for relation in self._mappings)
        return f"Reasoner({self._provenance.name}, inputs {inputs}, outputs {outputs})"


def _provenance(specification: Specification) -> AbstractProvenance:
    return resolve_provenance(
        specification.provenance, k=specification.k, wmc_with_disjunctions=specification.wmc_with_disjunctions
    )


def _is_traced(array: object) -> bool:
    return isinstance(array, Tracer)


def _no_facts_per_sample(relation: str) -> str:
    return f"`{relation}`: facts per sample are not supported yet; give an input mapping"


def _ground(specification: Specification, sources: Sequence[Source]) -> _Grounded:
    """Everything that is done once: analysis, the check of mappings and facts against column types, grounding."""
    program = _analyse(specification, sources)
    columns = {relation.name: relation.columns for relation in program.relations if not relation.hidden}
    specification = _fit(_with_outputs(specification, program), columns)
    names = [name for name, _ in specification.outputs]
    given = [*_given_facts(specification), *_given_inputs(specification.input_mappings)]
    grounding = ground_program(program, _provenance(specification), given, names, iter_limit=specification.iter_limit)
    outputs, operands = [], [np.zeros(0, np.int64)]
    start = 0
    for name, entries in specification.outputs:
        tuples = tuple(grounding.tuples(name)) if entries is None else entries.tuples
        operands.append(grounding.operands(name, tuples))
        outputs.append(Output(name, tuples, start, entries is not None and entries.shape == (), entries is None))
        start += len(tuples)
    return _Grounded(specification, grounding, np.concatenate(operands), tuple(outputs))


def _analyse(specification: Specification, sources: Sequence[Source]) -> ir.Program:
    examples: dict[str, list[tuple]] = {}
    for relation, facts in specification.facts:
        examples.setdefault(relation, []).extend(values for _, values in facts)
    for relation, mapping in specification.input_mappings:
        examples.setdefault(relation, []).extend(mapping.tuples)
    try:
        return analyse_program(sources, {relation: typical_tuples(tuples) for relation, tuples in examples.items()})
    except TypeInferenceError:
        # If the program is right by itself, the mappings and facts are to blame: say which entry.
        alone = analyse_program(sources, {})
        _fit(specification, {relation.name: relation.columns for relation in alone.relations})
        raise


def _with_outputs(specification: Specification, program: ir.Program) -> Specification:
    if specification.outputs:
        return specification
    queries = tuple((query.name, None) for query in program.queries)
    if not queries:
        raise InputError(
            Diagnostic(
                "no output is named", hint='give `output_mapping=("relation", mapping)`, or a query in the program'
            )
        )
    return replace(specification, outputs=queries, keyed=len(queries) > 1)


def _fit(specification: Specification, columns: Columns) -> Specification:
    """The specification with mappings and facts as values of the column types."""
    mappings = []
    for relation, mapping in specification.input_mappings:
        what = f"input mapping of `{relation}`"
        types = _columns_of(relation, columns, what)
        mappings.append((relation, InputMapping(fit_entries(mapping.entries, types, what), **_options(mapping))))
    facts = []
    for relation, given in specification.facts:
        what = f"facts of `{relation}`"
        tuples = fit_tuples([values for _, values in given], _columns_of(relation, columns, what), what)
        facts.append((relation, tuple((tag, values) for (tag, _), values in zip(given, tuples, strict=True))))
    outputs = []
    for relation, entries in specification.outputs:
        what = f"output mapping of `{relation}`"
        types = _columns_of(relation, columns, what)
        outputs.append((relation, None if entries is None else fit_entries(entries, types, what)))
    for relation in specification.non_probabilistic:
        _columns_of(relation, columns, "`non_probabilistic`")
    doors = dict.fromkeys(name for name, _ in [*mappings, *facts, *outputs])
    return replace(
        specification,
        input_mappings=tuple(mappings),
        facts=tuple(facts),
        outputs=tuple(outputs),
        column_types=tuple((name, tuple(map(str, columns[name]))) for name in sorted(doors)),
    )


def _columns_of(relation: str, columns: Columns, what: str) -> Sequence[ValueType]:
    if relation not in columns:
        raise unknown_name(f"{what}: the program has no relation `{relation}`", relation, columns)
    return columns[relation]


def _given_facts(specification: Specification) -> list[GivenFacts]:
    return [
        GivenFacts(relation, [values for _, values in facts], tags=[tag for tag, _ in facts])
        for relation, facts in specification.facts
    ]


def _given_inputs(mappings: Sequence[tuple[str, InputMapping]]) -> list[GivenFacts]:
    given, start = [], 0
    for relation, mapping in mappings:
        positions = np.arange(start, start + len(mapping.tuples), dtype=np.int64)
        given.append(GivenFacts(relation, mapping.tuples, inputs=positions, groups=mapping.groups))
        start += len(mapping.tuples)
    return given


def _options(mapping: InputMapping) -> dict:
    names = ("disjunctive", "disjunctive_dim", "retain_threshold", "retain_k", "sample_dim")
    return {name: getattr(mapping, name) for name in names}
