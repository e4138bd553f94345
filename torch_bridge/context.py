"""The reference's context: a program that is built step by step, with torch scalars as tags."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from scallax import CsvFile, InputMapping
from scallax.context import AbstractContext, Computation, ContextState, read_options
from scallax.errors import InputError, checks_calls
from scallax.language import ForeignItem, TensorValue
from torch_bridge.autograd import apply
from torch_bridge.context_facts import bound_tags, join_tags, stack_tags
from torch_bridge.dlpack import from_numpy, to_jax, to_torch
from torch_bridge.io import CSVFileOptions
from torch_bridge.module import Module
from torch_bridge.reference_arguments import check_dispatch, declared, name_outputs, refuse_monitors
from torch_bridge.tensor_layouts import AbstractTensorLayout
from torch_bridge.torch_values import as_torch
from torch_bridge.variables import TorchTensors


@checks_calls
@final
class ScallopContext(AbstractContext):
    """A program that is built step by step: `scallax.Context` with the reference's names and defaults of arguments.

    Tags may be torch scalars. Under the `diff…` provenances, the tags in results are torch scalars too. Their gradients
    reach the tags of the facts through one node for the whole run; `backward()` may be called for several tuples one
    after the other.

    Args:
        provenance: The name of the provenance; see `docs/provenances.md`.
        custom_provenance: A `ScallopProvenance` of your own, in the place of a name.
        k: The number of proofs that are kept, under provenances of proofs.
        wmc_with_disjunctions: Whether counting respects exclusive facts.
        train_k: `k` of a module in training mode. Default: `k`.
        test_k: `k` of a module in evaluation mode. Default: `k`.
        fork_from: A context to copy; the other arguments then have no effect.
        no_stdlib: Changes nothing; the reference has it.
        monitors: Must be empty; there are no monitors.
        executor: Who computes tags where no gradient is needed; see `scallax.Context`.
        log: Whether tags of tuples are logarithms of probabilities; see `scallax.Context`.

    Raises:
        InputError: An argument does not fit, or there is no such provenance.
        UnsupportedError: There are monitors.

    Example:
        >>> import torch, torch_bridge
        >>> context = torch_bridge.ScallopContext("diffminmaxprob")
        >>> context.add_relation("edge", (int, int))
        >>> weight = torch.tensor(0.5, requires_grad=True)
        >>> context.add_facts("edge", [(weight, (0, 1)), (torch.tensor(0.75), (1, 2))])
        >>> context.add_rule("path(x, z) = edge(x, y), edge(y, z)")
        >>> context.run()
        >>> ((tag, values),) = context.relation("path")
        >>> tag.backward()
        >>> print(tag.item(), values, weight.grad.item())
        0.5 (0, 2) 1.0
    """

    # Whether `compile` prints the program as parsed, and in core form.
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
        *,
        executor: str | None = None,
        log: bool = False,
    ):
        refuse_monitors(monitors)
        if fork_from is not None:
            if not isinstance(fork_from, ScallopContext):
                raise InputError(f"`fork_from` is a {type(fork_from).__name__}; it must be a context")
            self.state = fork_from.clone().state
            return
        options = read_options(
            provenance, custom_provenance, k, bool(wmc_with_disjunctions), executor=executor, log=log
        )
        self.state = ContextState(options, train_k, test_k)

    def is_array(self, tag: object) -> bool:
        return isinstance(tag, torch.Tensor)

    def evaluate(self, computation: Computation, tags: Sequence[Any]) -> torch.Tensor:
        """The tags of all tuples of a run, as one tensor.

        Args:
            computation: The function from the tags of facts to those of tuples.
            tags: The tags of facts that are its inputs: scalar tensors and floats.

        Returns:
            A tensor `[outputs]`, through which gradients reach the tags; float64 if a tag is, else float32.
        """
        parts = [stack_tags(tags)] if tags else []
        if computation.comparisons:
            assert computation.tensors is not None, "tensors that are compared are in facts"
            parts.append(_Compare.apply(computation, *computation.tensors.tensors))
        if not parts:
            return to_torch(computation.evaluate(np.zeros(0, np.float32)), torch.device("cpu"))
        vector = join_tags(parts)
        return apply(_RunTensors(computation, vector.device), [vector])

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
        """Adds the rows of a CSV file as facts, with columns by position.

        Args:
            relation: The relation of the facts.
            file: A path, a `scallax.CsvFile`, or a `torch_bridge.io.CSVFileOptions`.
        """
        if isinstance(file, CSVFileOptions):
            file = file.csv_file()
        self.state.draft = self.state.draft.with_csv(relation, file if isinstance(file, CsvFile) else CsvFile(file))

    def compile(self) -> None:
        """Prints the forms of the program that `set_debug_…` asked for. The program was checked when it was added."""
        if self._shows_program:
            self.dump_front_ir()
        if self._shows_core:
            print(self.state.draft.program)

    def set_debug_front(self, debug: bool = True) -> None:
        """Sets whether `compile()` prints the program as it was parsed."""
        self._shows_program = bool(debug)

    def set_debug_back(self, debug: bool = True) -> None:
        """Sets whether `compile()` prints the program in core form."""
        self._shows_core = bool(debug)

    def set_debug_ram(self, debug: bool = True) -> None:
        """The same as `set_debug_back`: there is one core form."""
        self._shows_core = bool(debug)

    def set_sample_topk_facts(self, relation: str, amount: int) -> None:
        """Keeps only the largest inputs of a relation.

        Args:
            relation: A relation with an input mapping.
            amount: The number of inputs to keep.
        """
        self.set_input_mapping(relation, None, retain_k=amount)

    def load_stdlib(self) -> None:
        """Does nothing: everything that the reference loads here is built in."""

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
        """Makes a torch module of the context.

        Facts whose tags are tensors belong to every sample, with their gradients, unless a call gives a tensor `[batch,
        facts]` for them.

        Args:
            output: The relation that is asked for; see `reasoner`.
            output_mapping: The tuples that are asked for, in the order of the result's columns.
            output_mappings: The tuples of several relations.
            dispatch: Changes nothing, like the four arguments that follow: in the reference they say how it computes.
            debug_provenance: Changes nothing.
            jit: Changes nothing.
            jit_name: Changes nothing.
            recompile: Changes nothing.
            sparse_jacobian: As in `Module`.

        Returns:
            A `torch_bridge.Module`.
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
        """Makes a copy that changes apart from this context.

        Args:
            provenance: The provenance of the copy. Default: that of this context, as for all arguments.
            k: The number of proofs that are kept.
            wmc_with_disjunctions: Whether counting respects exclusive facts.
            monitors: Must be empty; there are no monitors.
            custom_provenance: A `ScallopProvenance` of your own.

        Returns:
            The copy.
        """
        refuse_monitors(monitors)
        return self.copied(provenance, k, wmc_with_disjunctions, custom_provenance)


class _Compare(torch.autograd.Function):
    """The inputs of a computation that are comparisons of tensors in facts.

    The backward pass may come several times, as of a whole run; so it keeps the graph from tensors to inputs.
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


@final
class _RunTensors(AbstractTensorLayout):
    """The tags `[inputs]` of the facts of a run, for those of all its tuples.

    One may call `backward()` for every tuple of a run.
    """

    is_repeatable = True

    def __init__(self, computation: Computation, device: torch.device):
        self.evaluator = computation.evaluator
        self.device = device

    def to_arrays(self, tensors: Sequence[torch.Tensor], kept: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        return ([to_jax(tensors[0].detach().clone())] if kept is None else kept), ()

    def keep(self, arrays: Sequence[Any]) -> Any:
        return arrays
