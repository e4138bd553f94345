"""A Scallop program as a layer of a torch model."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Unpack

import numpy as np
import torch

from scallax import BatchGrounding, Limits, Reasoner, Specification
from scallax.circuits import SerializedProgram
from scallax.errors import CheckpointError, Diagnostic, InputError, UnsupportedError, checks_calls, misfit
from scallax.evaluation import has_facts
from scallax.facts import check_named, choose, from_json, read_asked, read_by_relation
from scallax.reasoner import HostQuestions, ProgramArguments, takes_keywords
from torch_bridge.autograd import apply, evaluate_tensors
from torch_bridge.context_facts import with_bound
from torch_bridge.derivatives import find_jacobian
from torch_bridge.digits import digits_of, read_specification
from torch_bridge.dlpack import from_numpy, precision_and_place, to_jax, to_numpy, to_torch
from torch_bridge.observations import OBSERVED, call_apart, host_call, log_evidence, order_tensors
from torch_bridge.operator import Registered, is_saved, register
from torch_bridge.reference_arguments import (
    OWN_ARGUMENTS,
    ModuleArguments,
    check_dispatch,
    declared_mappings,
    is_called_as_reference,
    name_outputs,
    read_constant_tags,
    refuse_monitors,
)
from torch_bridge.sample_calls import apply_batch, apply_tags, interpret_batch, list_entries
from torch_bridge.sparse import check_sparse, in_rows, stack_rows, take_places, to_sparse
from torch_bridge.tensor_layouts import MappedTensors
from torch_bridge.torch_values import as_torch
from torch_bridge.variables import TorchTensors

EXTRA_STATE = "_extra_state"

# The key, in the metadata that torch passes to a part, of a state dict whose layers are named as in Flax.
NAMED_AS_IN_FLAX = "named_as_in_flax"


@checks_calls
class Module(HostQuestions, torch.nn.Module):
    """A program as a function `module(relation=probabilities, ...)` of tensors `[batch, *mapping.shape]`.

    Shapes and results are those of `scallax.Reasoner`, with tensors for arrays; but as in the reference a dictionary of
    one output, `output_mappings={"r": mapping}`, gives that output by itself, and outputs may be named by calls alone.
    The output has the dtype and the device of the inputs; values outside [0, 1] are computed as they are, with one
    warning. In training mode `train_k` proofs are kept and in evaluation mode `test_k`, where given. With a sampling
    provenance, training mode draws a new seed from torch's default generator in each call, and evaluation mode uses
    `seed`. A provenance of Python objects is given the entries as scalar tensors.

    With `sparse_output` the outputs are of the layout `torch.sparse_coo`, coalesced, with an entry for each tuple that
    the sample can derive (with input mappings only: that any sample can), and differentiable: of facts per sample no
    dense tensor is made. Only for provenances under which what does not hold is 0. `sparse_jacobian` is for `jacobian`.

    The tags of the relations in `trainable` are the module's only parameters, logits named and shaped as
    `scallax.Reasoner.parameters` are; `.to()` and `.half()` change these alone, for all else the inputs decide.
    `state_dict()` carries the program, and `load_state_dict()` refuses another one. The module can be pickled, and
    loaded by `torch.load` with its safe default: of a program with functions of Python (`foreign`) the file holds what
    was grounded with them, and `torch_bridge.load` gives them to the module.

    `torch.compile`, `torch.export` and `torch.jit.trace` keep the module in their graphs as one operator.

    Args:
        program: The program's text.
        **arguments: The other arguments of `scallax.Reasoner`, and `jit`, `jit_name`, `jit_recompile`, `dispatch`,
            `sparse_jacobian`, `monitors` and `sparse_output`; the constructor's docstring describes each.

    Example:
        >>> import torch
        >>> from torch_bridge import Module
        >>> options = {"provenance": "addmultprob", "input_mappings": {"a": range(2)}, "output_mapping": ("b", (1,))}
        >>> module = Module("rel b(x + y) = a(x), a(y)", **options)
        >>> module(a=torch.tensor([[0.25, 0.5]]))
        tensor([0.2500])
    """

    reasoner: Reasoner
    # Whether Jacobians and outputs are of torch's sparse layout.
    sparse_jacobian: bool = False
    sparse_output: bool = False
    # Tags of facts that hold in every call; torch compares None before each.
    _bound: Mapping[str, torch.Tensor] | None = None
    # The digits of a reasoner's specification, once they were asked for.
    _packed: tuple[Reasoner, np.ndarray] | None = None
    # The names of the reasoner in graphs, in evaluation and in training mode.
    _names_in_graphs: tuple[str, str]
    _registered: tuple[Registered, Registered]

    @takes_keywords(inherited=[ProgramArguments])
    def __init__(self, program: str | None = None, **arguments: Unpack[ModuleArguments]):
        super().__init__()
        given = dict[str, Any](arguments)
        refuse_monitors(given["monitors"])
        check_dispatch(given["dispatch"])
        if is_called_as_reference():
            given["input_mappings"] = declared_mappings(given["input_mappings"])
        given["facts"] = read_constant_tags(given["facts"])
        given["foreign"] = as_torch(given["foreign"])
        outputs = name_outputs(given["output_relation"], given["output_mapping"], given["output_mappings"])
        own = {name: given.pop(name) for name in OWN_ARGUMENTS}
        self.reasoner = Reasoner(program, **{**given, **outputs._asdict()})
        self._set_layouts(own["sparse_jacobian"], own["sparse_output"])
        self._register()
        for name, logits in self.reasoner.parameters.items():
            # As a list, so that torch's default device decides where it is.
            self._add_parameter(name, torch.nn.Parameter(torch.tensor(logits.tolist(), dtype=torch.float32)))

    @classmethod
    def from_reasoner(
        cls,
        reasoner: Reasoner,
        bound: Mapping[str, torch.Tensor] | None = None,
        *,
        sparse_jacobian: bool = False,
        sparse_output: bool = False,
    ) -> "Module":
        """The module of a reasoner, with the reasoner's own values for parameters.

        Args:
            reasoner: The reasoner.
            bound: By mapped relation, tags `[facts]` that hold in every sample of a call that does not give the
                relation; gradients pass through them.
            sparse_jacobian: As in the constructor.
            sparse_output: As in the constructor.

        Returns:
            The module.

        Raises:
            InputError: The object is no reasoner, or its provenance has no sparse outputs.
        """
        if not isinstance(reasoner, Reasoner):
            raise InputError(f"the reasoner is a {type(reasoner).__name__}; give a `scallax.Reasoner`")
        module = cls.__new__(cls)
        torch.nn.Module.__init__(module)
        module.reasoner = reasoner
        module._bound = dict(bound) if bound else None
        module._set_layouts(sparse_jacobian, sparse_output)
        module._register()
        for name, logits in reasoner.parameters.items():
            module._add_parameter(name, torch.nn.Parameter(from_numpy(np.asarray(logits))))
        return module

    def _set_layouts(self, sparse_jacobian: bool, sparse_output: bool) -> None:
        if sparse_output:
            check_sparse(self.reasoner)
        self.sparse_jacobian, self.sparse_output = bool(sparse_jacobian), bool(sparse_output)

    def _register(self) -> None:
        """Names the reasoner for graphs that operators are in; torch compares the plain strings before each call."""
        self._registered = register(self.reasoner.in_mode(False)), register(self.reasoner.in_mode(True))
        self._names_in_graphs = self._registered[0].name, self._registered[1].name

    def _add_parameter(self, name: str, parameter: torch.nn.Parameter) -> None:
        """Registers a parameter whose name has dots: each part but the last is a module without a function."""
        module: torch.nn.Module = self
        *path, last = name.split(".")
        for part in path:
            # Not by `add_module`: a relation may have the name of one of a module's methods.
            module = module._modules.setdefault(part, _Logits())  # pyright: ignore[reportAssignmentType]
        module.register_parameter(last, parameter)

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        torch.serialization.add_safe_globals([cls])

    @property
    def specification(self) -> Specification:
        """Everything that defines the module, as plain data."""
        return self.reasoner.specification

    def forward(
        self,
        /,
        *unnamed: object,
        disjunctions: Mapping[str, Sequence] | None = None,
        output_relations: object = None,
        output_mappings: object = None,
        **inputs: Any,
    ) -> Any:
        """The outputs for a tensor, or for facts per sample, for each input relation; see the class.

        Args:
            *unnamed: None: an input is given by its relation's name.
            disjunctions: By relation, for each sample, lists of indices of facts that exclude each other.
            output_relations: The relation to return, or one for each sample, or a list of them for each.
            output_mappings: By relation, the tuples to return, in the place of the module's own.
            **inputs: By relation, a tensor `[batch, *mapping.shape]`, or a list with the facts of each sample.

        Returns:
            Tensors as the class describes them; their values are ready.

        Raises:
            InputError: The inputs do not fit the program or each other.
            UnsupportedError: An output's proofs take too many decisions to count.
        """
        if unnamed:
            # By hand, for torch's compiler traces no exceptions.
            raise misfit(type(self).forward, (self, *unnamed), inputs)
        inputs = self._with_bound(inputs)
        options = (disjunctions, output_relations, output_mappings)
        if torch.compiler.is_compiling() or is_saved():
            # Loads torch's compiler, which others need not wait for.
            from torch_bridge.graphs import apply_operator, call_outside

            name = self._names_in_graphs[self.training]
            is_plain = disjunctions is None and output_relations is None and output_mappings is None
            if not is_plain or self.sparse_output:
                return call_outside(name, inputs, self._evaluate, options)
            return apply_operator(name, inputs, self._logits(), self._evaluate)
        return self._evaluate(inputs, *options)

    def _with_bound(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs of a call, with the facts of the context that the module was made of."""
        if self._bound is None:
            return inputs
        tuples = {name: mapping.tuples for name, mapping in self.specification.input_mappings}
        return with_bound(inputs, self._bound, tuples)

    def _evaluate(
        self,
        inputs: Mapping[str, Any],
        disjunctions: Mapping[str, Sequence] | None = None,
        output_relations: object = None,
        output_mappings: object = None,
    ) -> Any:
        """The outputs, outside of graphs."""
        reasoner = self.reasoner.in_mode(self.training)
        if output_relations is None and output_mappings is None:
            return self._call(self._reseeded(reasoner), inputs, disjunctions, is_sparse=self.sparse_output)
        named = name_outputs(None, None, output_mappings) if output_relations is None else None
        if named is not None and named.output_relation is not None:
            output_relations, output_mappings = named.output_relation, named.output_mapping
        asked = read_asked(reasoner.specification, output_relations, output_mappings)
        reasoner = self._reseeded(reasoner.with_outputs(asked))
        results = self._call(reasoner, inputs, disjunctions, is_sparse=self.sparse_output)
        if asked.names is None:
            return results
        if self.sparse_output:
            return choose(in_rows(results), asked.names, asked.is_flat, stack_rows, take_places)
        take = partial(_take_or_absent, absent=reasoner.evaluator.provenance.absent)
        return choose(results, asked.names, asked.is_flat, torch.stack, take)

    def _call(
        self,
        reasoner: Reasoner,
        inputs: Mapping[str, Any],
        disjunctions: Mapping[str, Sequence] | None,
        *,
        is_sparse: bool,
    ) -> Any:
        check_named(reasoner.specification.outputs)
        evaluator = reasoner.evaluator
        are_tensors = all(isinstance(value, torch.Tensor) for value in inputs.values())
        if (disjunctions or not are_tensors) and has_facts(inputs, disjunctions):
            batch = evaluator.layout.read(inputs, disjunctions, framework=TorchTensors(), arrays=OBSERVED)
            if evaluator.is_interpreted:
                return interpret_batch(reasoner, batch)
            return apply_batch(reasoner, batch, self._logits(), is_sparse=is_sparse)
        layout, given = order_tensors(evaluator, inputs, self._logits())
        if evaluator.is_interpreted:
            return self._interpret(layout, inputs)
        packed = apply(layout, given) if given else evaluate_tensors(layout, False, ())[0]
        values = to_sparse(reasoner, packed) if is_sparse else evaluator.unpack(packed)
        if not evaluator.provenance.traits.returns_proofs:
            return values
        return evaluator.with_proofs(values, *layout.to_arrays(given, None))

    def log_evidence(self, /, *, disjunctions: Mapping[str, Sequence] | None = None, **inputs: Any) -> torch.Tensor:
        """The logarithms `[batch]` of the probabilities of what was observed; see `scallax.Reasoner.log_evidence`.

        Args:
            disjunctions: As in a call.
            **inputs: As in a call.

        Returns:
            A tensor, differentiable as outputs are.
        """
        reasoner = self._reseeded(self.reasoner.in_mode(self.training))
        call = partial(log_evidence, reasoner, logits=self._logits(), disjunctions=disjunctions)
        return call_apart(self._names_in_graphs[self.training], self._with_bound(inputs), call)

    def _interpret(self, layout: MappedTensors, inputs: Mapping[str, torch.Tensor]) -> Any:
        """The outputs of a provenance of Python objects, which tags scalar tensors: their gradients are torch's."""
        evaluator = layout.evaluator
        tensors = evaluator.layout.order(inputs)
        entries = list_entries(dict(zip(evaluator.layout.mappings, tensors, strict=True)))
        values = evaluator.interpret(layout.to_arrays(tensors, None)[0], entries)
        return evaluator.unpack(values if values.dtype == object else from_numpy(values).to(layout.device))

    def jacobian(
        self, inputs: Mapping[str, Any] | None = None, *, disjunctions: Mapping[str, Sequence] | None = None
    ) -> Any:
        """The derivatives of each sample's outputs by its inputs and the parameters; see `scallax.jacobian`.

        Args:
            inputs: By relation, what a call is given.
            disjunctions: By relation, the exclusive facts of each sample, as in a call.

        Returns:
            Tensors of the dtype and the device of the inputs, without gradients. With `sparse_jacobian` they are of the
            layout `torch.sparse_coo`, coalesced, and no dense one is made.
        """
        inputs = self._with_bound(read_by_relation(inputs, "`inputs`"))
        reasoner = self._reseeded(self.reasoner.in_mode(self.training))
        return find_jacobian(reasoner, inputs, disjunctions, self._logits(), is_sparse=self.sparse_jacobian)

    def ground(self, facts: Mapping[str, Any], *, disjunctions: Mapping[str, Sequence] | None = None) -> BatchGrounding:
        """The grounding of a batch of facts for `evaluate_grounded`; see `scallax.Reasoner.ground`.

        Args:
            facts: By relation, the facts of each sample, with or without tags.
            disjunctions: By relation, the exclusive facts of each sample, as in a call.

        Returns:
            The grounding, which may be kept and evaluated for other tags.
        """
        return self.reasoner.evaluator.layout.ground_facts(facts, disjunctions, TorchTensors())

    def evaluate_grounded(self, grounding: BatchGrounding, tags: Mapping[str, torch.Tensor] | torch.Tensor) -> Any:
        """The outputs of a grounded batch, differentiable in the tags; see `scallax.Reasoner.evaluate_grounded`.

        Args:
            grounding: The result of `ground`.
            tags: By relation, tags `[facts]` of all samples in order; one tensor if there is one relation.

        Returns:
            The outputs, as a call gives them.
        """
        reasoner = self.reasoner.in_mode(self.training)
        return apply_tags(self._reseeded(reasoner), grounding, tags, self._logits(), is_sparse=self.sparse_output)

    def _reseeded(self, reasoner: Reasoner) -> Reasoner:
        """The reasoner; in training mode it draws by a new seed."""
        if not self.training or not reasoner.evaluator.draws:
            return reasoner
        return reasoner.with_seed(int(torch.randint(1 << 32, ())))

    def probabilities(self) -> dict[str, torch.Tensor]:
        """The probabilities that the parameters stand for now, by their names; see `scallax.Reasoner.probabilities`."""
        logits = dict(zip(self.reasoner.compiled_program.parameter_names, self._logits(), strict=True))
        with precision_and_place(tuple(logits.values())):
            values = self.reasoner.probabilities({name: to_jax(tensor) for name, tensor in logits.items()})
            return {name: to_torch(value, logits[name].device) for name, value in values.items()}

    def _on_host(
        self, inputs: Mapping[str, Any] | None, disjunctions: Mapping[str, Sequence] | None
    ) -> tuple[Reasoner, Any, None]:
        reasoner = self.reasoner.in_mode(self.training)
        names = reasoner.compiled_program.parameter_names
        logits = dict(zip(names, (logits.detach().float().cpu().numpy() for logits in self._logits()), strict=True))
        return reasoner.with_parameters(logits), host_call(reasoner.evaluator.layout, inputs, disjunctions), None

    def with_k(self, k: int) -> "Module":
        """The same module keeping `k` proofs, in training and in evaluation; shares the parameters."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(
            {name: copy.copy(value) if isinstance(value, dict) else value for name, value in self.__dict__.items()}
        )
        twin.reasoner = self.reasoner.with_k(k)
        twin._register()
        return twin

    def _logits(self) -> tuple[torch.Tensor, ...]:
        """The parameters in the order of the reasoner's."""
        logits = []
        for name in self.reasoner.compiled_program.parameter_names:
            module: torch.nn.Module = self
            *path, last = name.split(".")
            for part in path:
                module = module._modules[part]  # pyright: ignore[reportAssignmentType]
            logits.append(getattr(module, last))
        return tuple(logits)

    def __prepare_scriptable__(self):
        """Torch asks for it what to script instead."""
        raise UnsupportedError(
            Diagnostic("torch.jit.script cannot compile a reasoner", hint="use torch.export.export, or torch.jit.trace")
        )

    def extra_repr(self) -> str:
        specification = self.specification
        outputs = ", ".join(name for name, _ in specification.outputs)
        inputs = ", ".join(name for name, _ in specification.input_mappings)
        return f"{inputs} -> {outputs}, provenance={specification.provenance}, k={specification.k}"

    def get_extra_state(self) -> torch.Tensor:
        """The specification as float32 digits, which averages and casts of state dicts leave readable."""
        return torch.from_numpy(self._digits().copy())

    def _digits(self) -> np.ndarray:
        # State dicts may be asked for in every step of a training run.
        if self._packed is None or self._packed[0] is not self.reasoner:
            self._packed = self.reasoner, digits_of(self.specification)
        return self._packed[1]

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Nothing: `load_state_dict` has compared the programs already."""

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ):
        problems = self._compare(prefix, state_dict)
        if NAMED_AS_IN_FLAX in local_metadata:
            error_msgs.append(
                "the state dict is of a Flax model, whose layers have other names and shapes; hint: "
                "`torch_bridge.weights.to_torch(flax_model, torch_model)` gives the state dict of torch"
            )
        own = {prefix + name for name, _ in self.named_parameters()}
        unexpected = [name for name in state_dict if name.startswith(prefix) and name not in own]
        has_program = prefix + EXTRA_STATE in state_dict
        if has_program:
            unexpected.remove(prefix + EXTRA_STATE)
        else:
            missing_keys.append(_MissingProgram(prefix + EXTRA_STATE))
        missing_keys.extend(name for name in own if name not in state_dict)
        unexpected_keys.extend(unexpected)
        if problems:
            error_msgs.extend(problems)
            return
        for path, module in self.named_modules(prefix=prefix.removesuffix(".")):
            load = module.load_logits if isinstance(module, _Logits) else super()._load_from_state_dict
            # The names were compared above.
            load(state_dict, f"{path}." if path else "", local_metadata, False, [], [], error_msgs)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Takes over a state dict, as torch does, but all or nothing: one that is refused changes nothing.

        Args:
            state_dict: The result of `state_dict()` of a module of the same program.
            strict: Whether keys must match, as torch says.
            assign: Whether the given tensors become the parameters, as torch says.

        Returns:
            The keys that are missing and those that are unexpected.
        """
        torch.nn.Module.load_state_dict(copy.deepcopy(self), state_dict, strict, assign)
        return super().load_state_dict(state_dict, strict, assign)

    def _compare(self, prefix: str, state_dict: Mapping) -> list[str]:
        """Why the state dict is none of this module's; empty if it is."""
        name = f"module `{prefix.removesuffix('.')}`" if prefix else "the module"
        unfit = [f"{name}: {line}" for line in self._parameter_differences(prefix, state_dict)]
        state = state_dict.get(prefix + EXTRA_STATE)
        if state is None or (isinstance(state, torch.Tensor) and state.device.type == "meta"):
            return unfit
        try:
            saved = self.specification if self._is_own(state) else read_specification(state)
        except CheckpointError as error:  # damaged data: reported with torch's other messages
            return [f"{name}: {error}"]
        differences = saved.differences(self.specification)
        if not differences:
            return unfit
        lines = "".join(f"\n\t\t{line}" for line in differences)
        advice = saved.advice(self.specification) or "build the module with the saved arguments, or train it anew"
        return [f"{name}: the state dict was saved from another program ({advice}):{lines}", *unfit]

    def _is_own(self, state: object) -> bool:
        """Whether a saved specification is that of the module bit by bit, which need not be read then."""
        if not isinstance(state, torch.Tensor) or state.dtype is not torch.float32:
            return False
        return torch.equal(state.cpu(), torch.from_numpy(self._digits()))

    def _parameter_differences(self, prefix: str, state_dict: Mapping) -> list[str]:
        """Parameters of another shape; those of another dtype are cast when they are copied."""
        found = []
        for name, parameter in self.named_parameters():
            saved = state_dict.get(prefix + name)
            if isinstance(saved, torch.Tensor) and saved.shape != parameter.shape:
                found.append(f"the parameter `{name}` was of shape {tuple(saved.shape)}, is {tuple(parameter.shape)}")
        return found

    def __deepcopy__(self, memo: dict) -> "Module":
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        # The reasoner does not change, and is shared; so are tags of facts, which may have gradients.
        if self._bound is not None:
            memo[id(self._bound)] = self._bound
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        reasoner = state.pop("reasoner")
        state.pop("_packed", None)
        del state["_registered"], state["_names_in_graphs"]
        state["specification"] = reasoner.specification.to_json()
        if self._bound is not None:
            state["_bound"] = {name: tags.detach() for name, tags in self._bound.items()}
        if reasoner.limits != Limits():
            # As plain data, which torch's safe default loads.
            state["limits"] = asdict(reasoner.limits)
        if self.specification.foreign:
            # A file holds no code: what was grounded with functions of Python must be in it.
            stored = self.reasoner.compiled_program.serialized()
            arrays = {name: from_numpy(np.asarray(array)) for name, array in stored.arrays.items()}
            state["ground"] = {"data": json.dumps(stored.data), "arrays": arrays}
        return state

    def __setstate__(self, state: dict) -> None:
        state = dict(state)
        text = state.pop("specification", None)
        if not isinstance(text, str):
            raise CheckpointError("the saved module holds no specification")
        ground = state.pop("ground", None)
        try:
            limits = Limits(**state.pop("limits", {}))
        except (TypeError, InputError) as error:  # damaged data
            raise CheckpointError(f"the saved module's limits are damaged: {error}") from None
        super().__setstate__(state)
        if from_json(text).custom is not None:
            name = from_json(text).custom
            hint = "build the module with its provenance, and load its state dict"
            raise CheckpointError(Diagnostic(f"the saved module has the custom provenance `{name}`", hint=hint))
        self.reasoner = Reasoner.from_json(text, limits=limits) if ground is None else _restore(text, ground)
        self._register()
        saved = {name: tuple(parameter.shape) for name, parameter in self.named_parameters()}
        expected = {name: logits.shape for name, logits in self.reasoner.parameters.items()}
        if saved != expected:
            raise CheckpointError(f"the saved module has parameters of shapes {saved}; its program has {expected}")


def _take_or_absent(values: torch.Tensor, places: Sequence[int], absent: float) -> torch.Tensor:
    """The values at some places, `absent` at -1."""
    padded = torch.cat([values, values.new_full((1,), absent)])
    return padded[torch.tensor(places, dtype=torch.int64, device=values.device)]


def _restore(text: str, ground: object) -> Reasoner:
    match ground:
        case {"data": str() as data, "arrays": dict() as tensors}:
            try:
                stored = SerializedProgram(
                    json.loads(data), {name: to_numpy(tensor) for name, tensor in tensors.items()}
                )
            except (ValueError, AttributeError) as error:  # damaged or crafted data
                raise CheckpointError(f"the stored grounding is damaged: {error}") from None
            return Reasoner.from_stored(from_json(text), stored)
        case _:
            raise CheckpointError("the stored grounding is damaged: it has no data and arrays")


class _MissingProgram(str):
    """The name of a missing entry; torch's report of it, which a strict load makes, says what to do."""

    def __format__(self, spec: str) -> str:
        advice = "build the model that was saved, or load with strict=False what fits"
        return f"{self!s} (no program: the state dict was saved from another architecture; {advice})"


class _Logits(torch.nn.Module):
    """A part of a parameter's name; the module that has the program loads it, after the programs were compared."""

    def _load_from_state_dict(self, *arguments):
        pass

    def load_logits(self, *arguments) -> None:
        """Loads the logits, as `_load_from_state_dict` does for the tensors of other modules."""
        super()._load_from_state_dict(*arguments)


# So that `torch.load` with its safe default takes the classes from a file.
torch.serialization.add_safe_globals([Module, _Logits])
