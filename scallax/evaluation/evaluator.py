"""The evaluator: a layout of inputs and an interpreter of circuits, with the rules that hold for all of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, final

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.circuits.size_classes import class_of_batch
from scallax.errors import Diagnostic, InputError, UnsupportedError
from scallax.evaluation.batch import AnyCircuit, Arguments, ArrayLike, Signature
from scallax.evaluation.cache import Holder
from scallax.evaluation.compiled_program import CompiledProgram
from scallax.evaluation.conditioning import is_impossible, log_probability
from scallax.evaluation.executors import finds_proofs_at_once, runs_at_once
from scallax.evaluation.fork_guard import check_process
from scallax.evaluation.input_checks import InputChecks
from scallax.evaluation.input_layout import (
    AbstractLayout,
    AbstractNamedLayout,
    AbstractProofLayout,
    Entries,
)
from scallax.evaluation.interpretation import ABSENT, as_outputs, refuse_traced
from scallax.evaluation.interpreters import ObjectInterpreter, refuse_traced_proofs
from scallax.evaluation.jax_values import is_concrete, is_jax_array
from scallax.evaluation.mapped_layout import MappedLayout
from scallax.evaluation.moves import computing_dtype, pad_rows, take
from scallax.evaluation.numpy_interpreter import NumpyInterpreter
from scallax.evaluation.seeds import as_words
from scallax.evaluation.unpacking import map_results, pair_with_proofs, unpack, unpack_objects
from scallax.facts.outputs import AskedOutputs
from scallax.facts.parameters import Parameter
from scallax.facts.specification import evidence_of
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.semirings import ObjectProvenance
from scallax.provenance.traits import AbstractSemantics

if TYPE_CHECKING:
    from jaxtyping import Array, PyTree

    from scallax.evaluation.jax_batch import Step
    from scallax.evaluation.jax_interpreter import ArrayInterpreter

LayoutT = TypeVar("LayoutT", bound=AbstractLayout, covariant=True)
OtherT = TypeVar("OtherT", bound=AbstractLayout)
Logits: TypeAlias = "tuple[ArrayLike, ...]"

# Derivatives of all outputs by all inputs, of all samples, up to which they are computed with the values.
_MAX_DERIVATIVES = 1 << 16

_COMPUTING_DTYPES = (np.float32, np.float64)


@final
class Evaluator(Generic[LayoutT]):
    """Evaluates one circuit under one provenance, for the inputs that its layout takes.

    Arrays are in the order of the layout, `logits` in that of the parameters, None for the evaluator's own; `seed`, of
    32 bits, is that of draws. `executor` is who computes values and proofs, as `runs_at_once` takes it; gradients are
    JAX's. NumPy's answers are arrays of NumPy, unless an argument is one of JAX. Evidence of probability 0 is an error
    if the evaluator `refuses_impossible` evidence; else outputs given it are 0.
    """

    def __init__(
        self,
        layout: LayoutT,
        provenance: AbstractSemantics,
        parameters: Sequence[Parameter] = (),
        logits: Logits = (),
        seed: int | Array = 0,
        holder: Holder | None = None,
        executor: str | None = "jax",
        refuses_impossible: bool = True,
    ):
        self.layout = layout
        self.provenance = provenance
        self.logits = logits
        self._parameters = parameters
        self._seed = seed
        self._holder = holder or Holder()
        self._executor = executor
        self._refuses_impossible = refuses_impossible

    @staticmethod
    def of_program(
        compiled: CompiledProgram,
        provenance: AbstractSemantics,
        logits: Logits,
        seed: int | Array,
        executor: str | None = "jax",
    ) -> Evaluator[MappedLayout]:
        """The evaluator of a compiled program, for arrays of its mapped relations."""
        specification = compiled.specification
        observed = frozenset(evidence_of(name) for name, _ in specification.evidence)
        mappings = specification.call_mappings
        checks = InputChecks(mappings, compiled.parameters, provenance.traits, compiled.undeclared, observed)
        layout = MappedLayout(compiled, provenance, checks)
        refuses = specification.on_impossible == "error"
        options: dict[str, Any] = {"executor": executor, "refuses_impossible": refuses}
        return Evaluator(layout, provenance, compiled.parameters, logits, seed, **options)

    def with_seed(self, seed: int | Array) -> Evaluator[LayoutT]:
        """The same evaluator drawing by another seed; shares everything."""
        twin = copy.copy(self)
        twin._seed = seed
        return twin

    def with_executor(self, executor: str | None) -> Evaluator[LayoutT]:
        """The same evaluator whose values another executor computes; shares everything."""
        twin = copy.copy(self)
        twin._executor = executor
        return twin

    def with_layout(self, layout: OtherT) -> Evaluator[OtherT]:
        """The evaluator of another layout of the program's inputs; shares compiled functions."""
        shared = self._parameters, self.logits, self._seed, self._holder, self._executor, self._refuses_impossible
        return Evaluator(layout, self.provenance, *shared)

    @property
    def seed(self) -> int | Array:
        """The seed of draws."""
        return self._seed

    @property
    def draws(self) -> bool:
        """Whether outputs depend on the seed."""
        return self.layout.draws

    @property
    def is_interpreted(self) -> bool:
        """Whether tags are Python objects, evaluated on the host."""
        return isinstance(self.provenance, ObjectProvenance)

    def check(self, arrays: Sequence[Any], logits: Sequence[ArrayLike] | None = None) -> Arguments:
        """The arguments, if their kinds and shapes, and the values of those that are not traced, fit."""
        arguments = self._arguments(arrays, logits)
        self.layout.check(arguments, are_logits_given=logits is not None)
        return arguments

    def evaluate(self, arrays: Sequence[Any], logits: Sequence[ArrayLike] | None = None) -> Any:
        """The values of all outputs: `[batch, outputs]`, of the circuit if all samples lie side by side in one.

        A NumPy array of objects if tags are objects; one of numbers if NumPy computed them, or the batch was padded.
        UnsupportedError for an output that the provenance refuses.
        """
        arguments = self.check(arrays, logits)
        if self.is_interpreted:
            return self._interpret(arguments, None)
        if self._runs_at_once(arguments):
            values = self._numpy.evaluate(self._host_circuit, arguments)
        else:
            values = self._arrays.evaluate(self._place(arguments), arguments, self._proof_circuit(arguments))
        self._refuse_nan(arguments, values)
        self._refuse_impossible(arguments, values)
        return values

    def forward(self, arrays: Sequence[Any], logits: Sequence[ArrayLike] | None = None) -> tuple[Any, PyTree[Array]]:
        """`evaluate`'s values, and what `pull_back` needs to differentiate them; None if there are no gradients."""
        if self.is_interpreted:
            return self.evaluate(arrays, logits), None
        arguments = self.check(arrays, logits)
        interpreter, on_host = self._arrays, self._proof_circuit(arguments)
        circuit = self._place_trained(arguments) if on_host is None else self._place(arguments)
        values, residuals = interpreter.forward(circuit, arguments, on_host)
        self._refuse_nan(arguments, values)
        self._refuse_impossible(arguments, values)
        return values, residuals

    def pull_back(
        self,
        arrays: Sequence[Any],
        residuals: PyTree[Array],
        cotangent: ArrayLike,
        logits: Sequence[ArrayLike] | None = None,
    ) -> tuple[tuple[ArrayLike | None, ...], tuple[ArrayLike, ...]]:
        """Gradients of the arrays and of the logits for a cotangent of the values, of their shapes and dtypes.

        None for a bool array; NumPy arrays if the batch was padded. Must be called with arrays and logits equal to
        those of `forward`.
        """
        arguments = self._arguments(arrays, logits)
        circuit = self._place_trained(arguments)
        return self._arrays.pull_back(circuit, arguments, residuals, cotangent)

    def transform(self, steps: tuple[Step, ...], arrays: Sequence[ArrayLike], num_arrays: int) -> tuple[Any, ...]:
        """Derivatives of the values of the first `num_arrays` arrays and of the logits behind them.

        `steps` says which, and `arrays` goes on with their cotangents and tangents: see `jax_batch.transform_batch`.
        UnsupportedError for the derivative of a second derivative.
        """
        given = Arguments(tuple(arrays[:num_arrays]), tuple(arrays[num_arrays : num_arrays + len(self.logits)]))
        return self._arrays.transform(self._place(given), steps, tuple(arrays), num_arrays)

    def linearize(self, arrays: Sequence[ArrayLike]) -> Array | None:
        """The values and their derivatives `[rows, 1 + entries, outputs]`, in float32 or float64.

        Each sample has its values first, then the derivatives by its entries, those of one array after those of the
        other. Rows behind those of the batch mean nothing. None unless circuit and batch are so small that this takes
        less time than `forward` and `pull_back`; raises nothing then.
        """
        linearizer = self._linearizer
        return None if linearizer is None else linearizer.linearize(arrays)

    def interpret(self, arrays: Sequence[Any], entries: Entries | None = None) -> np.ndarray:
        """The values `[batch, outputs]` of Python objects, or of the provenance's dtype if it has one.

        `entries`: for each array and sample what is tagged in place of the array's numbers.
        """
        return self._interpret(self.check(arrays), entries)

    def _interpret(self, arguments: Arguments, entries: Entries | None) -> np.ndarray:
        layout, objects = self._named_layout, self._objects
        with refuse_traced(objects.provenance):
            inputs = layout.list_inputs(arguments, self._seed, entries)
            values = layout.arrange(objects.evaluate(layout.circuit, inputs, self._seed), lambda: ABSENT)
            for place, tag in np.ndenumerate(values):
                values[place] = objects.recover(tag)
        return as_outputs(objects.provenance, values, layout.dtyped(arguments))

    def proofs(self, arrays: Sequence[Any], logits: Sequence[ArrayLike] | None = None) -> np.ndarray:
        """The proofs `[batch, outputs]` that the provenance keeps, lists of what the layout makes of one.

        UnsupportedError for traced arrays, and for a provenance that keeps none.
        """
        arguments = self.check(arrays, logits)
        refuse_traced_proofs((*arguments.arrays, *arguments.logits))
        layout = self.layout
        assert isinstance(layout, AbstractProofLayout), "it knows its facts"
        if not layout.num_values:
            return np.empty((1, 0), object)
        read = layout.proof_reader()
        if self.is_interpreted:
            with refuse_traced(self.provenance):
                inputs = self._named_layout.list_inputs(arguments, self._seed, None)
                found = self._objects.proofs(layout.circuit, inputs, self._seed)
        elif self._runs_at_once(arguments):
            found = self._numpy.proofs(self._host_circuit, arguments)
        else:
            found = self._arrays.proofs(self._place(arguments), arguments, layout.circuit)
        proofs = layout.arrange(found, list)
        for place, kept in np.ndenumerate(proofs):
            proofs[place] = read(kept)
        return proofs

    def results(
        self, arrays: Sequence[Any], logits: Sequence[ArrayLike] | None = None, asked: AskedOutputs | None = None
    ) -> Any:
        """The result of a call but for proofs; for each sample its own outputs if it `asked` for them.

        Arrays are JAX's, but where NumPy is asked to compute and no argument is one of JAX.
        """
        values = self.evaluate(arrays, logits)
        given = (*arrays, *(self.logits if logits is None else logits))
        if values.dtype == object:
            return self.unpack(values)
        if self._executor != "jax" and not any(map(is_jax_array, (*given, self._seed))):
            values = np.asarray(values)
        elif isinstance(values, np.ndarray):
            from scallax.evaluation.jax_moves import to_device  # there are arrays of JAX

            if not self.layout.is_union and (asked is None or asked.names is None):
                return map_results(lambda rows: to_device(rows, given), self.unpack(values), self._named_layout.keyed)
            values = to_device(values, given)
        if self.is_interpreted:
            return self.unpack(values)
        return self.layout.unpack(self._holder, values, asked)

    def call(
        self, arrays: Sequence[Any], logits: Sequence[ArrayLike] | None = None, asked: AskedOutputs | None = None
    ) -> Any:
        """The result of a call, with the proofs beside the values if the provenance returns proofs."""
        results = self.results(arrays, logits, asked)
        return self.with_proofs(results, arrays, logits) if self.provenance.traits.returns_proofs else results

    def log_evidence(self, arrays: Sequence[Any], logits: Sequence[ArrayLike] | None = None) -> Any:
        """The logarithms `[samples]` of the probabilities of what was observed, of arrays of whom `results` says.

        InputError unless outputs are given evidence.
        """
        check_conditional(self.layout)
        values = self.evaluate(arrays, logits)
        places = self.layout.evidence_places(values.shape)
        given = (*arrays, *(self.logits if logits is None else logits), self._seed)
        found, is_log = take(values, places, 0.0), self.provenance.traits.is_log
        if not isinstance(found, np.ndarray):
            from scallax.evaluation.jax_batch import log_evidence  # there are arrays of JAX

            return found if is_log else log_evidence(self._holder, found)
        logarithms = found if is_log else log_probability(found)
        if self._executor != "jax" and not any(map(is_jax_array, given)):
            return logarithms
        from scallax.evaluation.jax_moves import to_device  # as above

        return to_device(logarithms, given)

    def unpack(self, packed: Any) -> Any:
        """The result of a call from values or objects `[samples, outputs]`: only slices them, so any array will do."""
        layout = self._named_layout
        if packed.dtype == object:
            return unpack_objects(layout.outputs, layout.keyed, packed, self.provenance)
        return unpack(layout.outputs, layout.keyed, packed)

    def with_proofs(self, results: Any, arrays: Sequence[Any], logits: Sequence[ArrayLike] | None = None) -> Any:
        """The results of a call, of any array type, as `(values, proofs)` or `(tuples, values, proofs)`."""
        return pair_with_proofs(results, self.unpack(self.proofs(arrays, logits)), self._named_layout.keyed)

    @cached_property
    def _signature(self) -> Signature:
        assert isinstance(self.provenance, AbstractProvenance), "its tags are arrays"
        layout, shapes = self.layout, tuple(parameter.initial.shape for parameter in self._parameters)
        given = (layout.num_values, layout.is_union, layout.num_rows, layout.num_observed, layout.given_logs)
        return Signature(self.provenance, layout.retentions, shapes, *given)

    @cached_property
    def _arrays(self) -> ArrayInterpreter:
        from scallax.evaluation.jax_interpreter import ArrayInterpreter  # it imports JAX

        return ArrayInterpreter(self._signature, self._holder)

    @property
    def _numpy(self) -> NumpyInterpreter:
        return NumpyInterpreter(self._signature)

    def _runs_at_once(self, arguments: Arguments) -> bool:
        if self._executor == "jax" or not self.layout.num_values:
            return self._executor != "jax"
        given = (*arguments.arrays, *arguments.logits, self._seed)
        return runs_at_once(self._executor, self.provenance, self.layout.circuit, given)

    def _proof_circuit(self, arguments: Arguments) -> Circuit | None:
        """The circuit as NumPy arrays, if NumPy finds the proofs that JAX counts; else None."""
        given = (*arguments.arrays, *arguments.logits, self._seed)
        if not self.layout.num_values or not finds_proofs_at_once(self.provenance, self.layout.circuit, given):
            return None
        return self._host_circuit

    @property
    def _host_circuit(self) -> Circuit | None:
        """The circuit as NumPy arrays, with the seed if outputs depend on it; None without outputs."""
        if not self.layout.num_values:
            return None
        circuit = self.layout.circuit
        return replace(circuit, seed=np.asarray(as_words(self._seed))) if self.draws else circuit

    @property
    def _objects(self) -> ObjectInterpreter:
        assert isinstance(self.provenance, ObjectProvenance), "its tags are objects"
        return ObjectInterpreter(self.provenance)

    @property
    def _named_layout(self) -> AbstractNamedLayout:
        assert isinstance(self.layout, AbstractNamedLayout), "it knows its facts and tuples"
        return self.layout

    def _arguments(self, arrays: Sequence[Any], logits: Sequence[ArrayLike] | None) -> Arguments:
        return Arguments(tuple(arrays), self.logits if logits is None else tuple(logits))

    def _place(self, arguments: Arguments) -> AnyCircuit:
        """The circuit where it is evaluated, with the seed if outputs depend on it."""
        check_process()
        circuit = self.layout.place(arguments)
        if not self.draws:
            return circuit
        assert isinstance(circuit, Circuit), "the seed is an array of the circuit"
        return replace(circuit, seed=as_words(self._seed))

    def _place_trained(self, arguments: Arguments) -> AnyCircuit:
        """The circuit as it is evaluated with gradients: it pays to compile code for a small one alone."""
        embedded = None if self.draws else self.layout.embedded
        if embedded is None:
            return self._place(arguments)
        check_process()
        return embedded

    def _refuse_nan(self, arguments: Arguments, values: ArrayLike) -> None:
        """UnsupportedError for the first output that the provenance refused; needs values that are not traced."""
        refusal = self.provenance.traits.refusal
        if refusal is None or not is_concrete(values):
            return
        refused = np.flatnonzero(np.isnan(np.asarray(values)))
        if not len(refused):
            return
        # NaN in, NaN out: inputs on an accelerator have not been looked at in every call.
        self.layout.check_finite(arguments)
        output = next(filter(None, map(self.layout.name_output, refused.tolist())), None)
        if output is not None:
            raise UnsupportedError(replace(refusal, message=f"{output}: {refusal.message}"))

    def _refuse_impossible(self, arguments: Arguments, values: ArrayLike) -> None:
        """InputError for the first sample whose evidence has the probability 0; needs values that are not traced."""
        layout = self.layout
        if not self._refuses_impossible or not layout.is_conditional or not is_concrete(values):
            return
        found = np.asarray(values)
        places = layout.evidence_places(found.shape)
        impossible = is_impossible(found.reshape(-1)[places], self.provenance.traits.is_log).nonzero()[0]
        if len(impossible):
            place = f" in sample {impossible[0]}" if len(places) > 1 or arguments.arrays else ""
            hint = 'change the evidence; with `on_impossible="zero"` a reasoner answers 0'
            raise InputError(Diagnostic(f"what was observed{place} has the probability 0", hint=hint))

    @cached_property
    def _linearizer(self) -> _Linearizer | None:
        """Computes derivatives with the values; None if nothing ever does."""
        provenance, layout = self.provenance, self.layout
        if not isinstance(layout, MappedLayout) or not isinstance(provenance, AbstractProvenance):
            return None
        if not provenance.traits.has_derivatives or self.logits or self.draws:
            return None
        circuit = layout.circuit
        counts_choices = circuit.proofs is not None and circuit.proofs.counts_choices > 0
        if counts_choices or circuit.local is not None or circuit.stages or circuit.evidence is not None:
            return None
        return _Linearizer(self._arrays, layout)


def check_conditional(layout: AbstractLayout) -> None:
    """InputError unless outputs are given evidence."""
    if not layout.is_conditional:
        hint = 'write `evidence alarm()` in the program, or give `evidence={"alarm": None}` when the reasoner is made'
        raise InputError(Diagnostic("nothing is observed: there is no evidence", hint=hint))


def evaluate_arrays(executor: str | None, signature: Signature, circuit: Circuit, arguments: Arguments) -> np.ndarray:
    """The values `[batch, outputs]` of a circuit by itself, as NumPy arrays, for arguments that are not traced."""
    if runs_at_once(executor, signature.provenance, circuit, (*arguments.arrays, *arguments.logits)):
        return NumpyInterpreter(signature).evaluate(circuit, arguments)
    from scallax.evaluation.jax_batch import evaluate_batch  # it imports JAX

    return np.asarray(evaluate_batch(None, signature, circuit, arguments))


@final
class _Linearizer:
    """Values and derivatives of one circuit that has no parameters and draws nothing, computed at once."""

    def __init__(self, interpreter: ArrayInterpreter, layout: MappedLayout):
        self._holder = interpreter.holder
        self._layout = layout
        num_entries = sum(map(math.prod, layout.shapes))
        size = layout.num_values * num_entries
        self._most_samples = _MAX_DERIVATIVES // size if size else 0
        logs = layout.given_logs
        is_whole = not any(layout.retentions) and len(logs) in (0, len(layout.shapes))
        # Where all entries exist, they are one array.
        self._shapes = ((num_entries,),) if is_whole else layout.shapes
        signature = interpreter.signature
        self._signature = replace(signature, retentions=(None,), given_logs=logs[:1]) if is_whole else signature

    def linearize(self, arrays: Sequence[ArrayLike]) -> Array | None:
        """Values and derivatives `[rows, 1 + entries, outputs]`; None if the batch is too large, or empty."""
        if not arrays or not arrays[0].ndim:
            return None
        num_rows = class_of_batch(arrays[0].shape[0])
        if not 0 < num_rows <= self._most_samples:
            return None
        checks = self._layout.checks
        checks.check_forms(arrays)
        check_process()
        flat = [np.asarray(array).reshape(len(array), -1) for array in arrays]
        if len(flat) > 1 or flat[0].dtype not in _COMPUTING_DTYPES:
            flat = [np.concatenate(flat, 1, dtype=computing_dtype(flat))]
        found = self._compiled(pad_rows(flat[0], num_rows))
        # While it is computed.
        checks.check_entries(arrays, flat[0])
        return found

    @cached_property
    def _compiled(self) -> Callable[[np.ndarray], Array]:
        from scallax.evaluation.jax_batch import linearize_batch, linearizer  # as the interpreter

        bound, layout = (self._holder, self._signature, self._shapes), self._layout
        if layout.embedded is not None:
            return linearizer(*bound, layout.embedded)
        return lambda entries: linearize_batch(*bound, layout.place(Arguments((entries,))), entries)
