"""The reference's context: a program that is built step by step, with torch scalars for tags."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import jax
import numpy as np
import torch
from torch.autograd.function import once_differentiable

from scallax.context.answers import read_options
from scallax.context.context import AbstractContext, ContextState
from scallax.context.framework_tags import Computation
from scallax.errors import InputError, checks_calls
from scallax.facts.mappings import InputMapping
from scallax.facts.tables import CsvFile
from scallax.language.foreign import ForeignItem
from scallax.language.tensors import TensorValue
from torch_bridge.arguments import check_dispatch, declared, name_outputs, refuse_monitors
from torch_bridge.context_facts import bound_tags, join_tags, stack_tags
from torch_bridge.foreign import as_torch
from torch_bridge.io import CSVFileOptions
from torch_bridge.module import Module
from torch_bridge.tensors import from_numpy, precision_and_place, to_jax, to_torch
from torch_bridge.variables import TorchTensors


@checks_calls
@final
class ScallopContext(AbstractContext):
    """What `scallax.Context` is, with the names, the order and the defaults of the reference's arguments.

    Tags may be torch scalars. Under `diff…` provenances the tags of tuples are torch scalars; gradients reach the tags
    of facts through one node for the whole run, and `backward()` may be called for several tuples one after the other.

    `fork_from` is a context to copy instead. `no_stdlib` changes nothing: what the reference loads is built in.
    """

    # What `compile` prints.
    _shows_program = False
    _shows_core = False

    def __init__(
        self,
        provenance: str = "unit",
        custom_provenance: object = None,
        k: int = 3,
        wmc_with_disjunctions: bool = False,
        train_k: int | None = None,
        test_k: int | None = None,
        fork_from: "ScallopContext | None" = None,
        no_stdlib: bool = False,
        monitors: Sequence[str] | None = (),
    ):
        refuse_monitors(monitors)
        if fork_from is not None:
            if not isinstance(fork_from, ScallopContext):
                raise InputError(f"`fork_from` is a {type(fork_from).__name__}; it must be a context")
            self.state = fork_from.clone().state
            return
        options = read_options(provenance, custom_provenance, k, bool(wmc_with_disjunctions))
        self.state = ContextState(options, train_k, test_k)

    def is_array(self, tag: object) -> bool:
        return isinstance(tag, torch.Tensor)

    def evaluate(self, computation: Computation, tags: Sequence[Any]) -> torch.Tensor:
        parts = [stack_tags(tags)] if tags else []
        if computation.comparisons:
            assert computation.tensors is not None, "tensors that are compared are in facts"
            parts.append(_Compare.apply(computation, *computation.tensors.tensors))
        if not parts:
            return to_torch(computation.evaluate(np.zeros(0, np.float32)), torch.device("cpu"))
        return _EvaluateTags.apply(computation, join_tags(parts))

    def adapted(self, item: ForeignItem) -> ForeignItem:
        return as_torch([item])[0]

    def adapted_mapping(self, mapping: InputMapping) -> InputMapping:
        return declared(mapping)

    def tensor(self, value: TensorValue) -> torch.Tensor:
        return from_numpy(value.array)

    def tensor_framework(self) -> TorchTensors:
        return TorchTensors()

    def scalars(self, values: torch.Tensor) -> list[torch.Tensor]:
        return list(values.unbind())

    def load_csv(self, relation: str, file: "str | Path | CsvFile | CSVFileOptions") -> None:
        if isinstance(file, CSVFileOptions):
            file = file.csv_file()
        self.state.draft = self.state.draft.with_csv(relation, file if isinstance(file, CsvFile) else CsvFile(file))

    def compile(self) -> None:
        """Prints what `set_debug_…` asks for; the program was checked when it was added."""
        if self._shows_program:
            self.dump_front_ir()
        if self._shows_core:
            print(self.state.draft.program)

    def set_debug_front(self, debug: bool = True) -> None:
        """Whether `compile()` prints the program as it was parsed."""
        self._shows_program = bool(debug)

    def set_debug_back(self, debug: bool = True) -> None:
        """Whether `compile()` prints the program in core form."""
        self._shows_core = bool(debug)

    def set_debug_ram(self, debug: bool = True) -> None:
        """What `set_debug_back` does: there is one core form."""
        self._shows_core = bool(debug)

    def set_sample_topk_facts(self, relation: str, amount: int) -> None:
        """Keeps the `amount` largest inputs of a relation with an input mapping."""
        self.set_input_mapping(relation, None, retain_k=amount)

    def load_stdlib(self) -> None:
        """Nothing: what the reference loads is built in."""

    def forward_function(
        self,
        output: str | None = None,
        output_mapping: object = None,
        output_mappings: Any = None,
        dispatch: str = "parallel",
        debug_provenance: bool = False,
        jit: bool = False,
        jit_name: str = "",
        recompile: bool = False,
        sparse_jacobian: bool = False,
    ) -> Module:
        """The context as a torch module; see `reasoner`.

        Facts whose tags are tensors hold in every sample, with their gradients, unless a call gives a tensor `[batch,
        facts]` for them. `sparse_jacobian` is that of `Module`; the others from `dispatch` on say how the reference
        computes; they are taken, and change nothing.
        """
        check_dispatch(dispatch)
        reasoner = self.reasoner(*name_outputs(output, output_mapping, output_mappings))
        return Module.from_reasoner(reasoner, bound_tags(self.state.draft), sparse_jacobian=sparse_jacobian)

    def clone(
        self,
        provenance: str | None = None,
        k: int | None = None,
        wmc_with_disjunctions: bool | None = None,
        monitors: Sequence[str] | None = None,
        *,
        custom_provenance: object = None,
    ) -> "ScallopContext":
        """As `scallax.Context.clone`; there are no monitors."""
        refuse_monitors(monitors)
        return self.copied(provenance, k, wmc_with_disjunctions, custom_provenance)


class _Compare(torch.autograd.Function):
    """The inputs of a computation that are computed of tensors in facts.

    As below, the backward pass may come several times: it keeps the graph from the tensors to the inputs.
    """

    @staticmethod
    def forward(ctx, computation: Computation, *tensors: torch.Tensor) -> torch.Tensor:
        assert computation.tensors is not None
        own = [tensor.detach().requires_grad_() for tensor in tensors]
        with torch.enable_grad():
            values = computation.tensors.compare(computation.comparisons, own)
        ctx.kept = values, own
        return values.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx, *cotangents):
        values, own = ctx.kept
        gradients = torch.autograd.grad(values, own, cotangents[0], retain_graph=True, allow_unused=True)
        return None, *gradients


class _EvaluateTags(torch.autograd.Function):
    """The tags `[outputs]` of all tuples for those of the facts `[inputs]`.

    What the backward pass needs is no saved tensor: the reference lets one call `backward()` for every tuple of a run.
    """

    @staticmethod
    def forward(ctx, computation: Computation, tags: torch.Tensor) -> torch.Tensor:
        with precision_and_place((tags,)):
            arrays = to_jax(tags.detach().clone())
            values, residuals = computation.forward(arrays)
            ctx.kept = computation, arrays, residuals
            return to_torch(jax.block_until_ready(values), tags.device)

    @staticmethod
    @once_differentiable
    def backward(ctx, *cotangents):
        computation, arrays, residuals = ctx.kept
        with precision_and_place(cotangents):
            gradient = computation.pull_back(arrays, residuals, to_jax(cotangents[0]))
            return None, to_torch(jax.block_until_ready(gradient), cotangents[0].device)
