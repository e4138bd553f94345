"""Reasoners as Flax modules, NNX and Linen."""

import inspect
from typing import Annotated, Any, Unpack

import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax.core import Tracer
from jaxtyping import Array, PyTree

from scallax.errors import Diagnostic, InputError, checks_calls
from scallax.evaluation.batch import ArrayLike
from scallax.evaluation.jax_moves import to_device
from scallax.facts.specification import Specification
from scallax.reasoner.host_questions import HostQuestions
from scallax.reasoner.program_arguments import Default, ProgramArguments, takes_keywords
from scallax.reasoner.reasoner import Reasoner as _Reasoner

# The default of a Linen module's `parent`: the module in whose method it is made.
_SURROUNDING = inspect.signature(linen.Dense).parameters["parent"].default


@checks_calls
class Reasoner(HostQuestions, nnx.Module):
    """A program as an NNX module: `module(relation=probabilities, ...)`.

    Shapes and results are those of `scallax.Reasoner`. The tags of the relations in `trainable` are the module's state:
    `nnx.Param`s of the names and shapes of `scallax.Reasoner.parameters`. `module.train()` and `module.eval()` choose
    between `train_k` and `test_k`, where given. Modules of equal arguments share a compilation.

    Args:
        program: The program's text, or a `scallax.Reasoner`, whose arguments and parameters the module takes over.
        **arguments: The other arguments of `scallax.Reasoner`; the constructor's docstring describes each.

    Raises:
        InputError: A trainable relation has the name of one of the module's attributes; or as `scallax.Reasoner` says.

    Example:
        >>> import jax.numpy as jnp
        >>> from scallax import nn
        >>> options = {"provenance": "minmaxprob", "input_mappings": {"a": range(2)}, "output_mapping": ("b", (1,))}
        >>> module = nn.Reasoner("rel b(x + 1) = a(x)", **options)
        >>> module(a=jnp.array([[0.25, 0.5]])).tolist()
        [0.25]
    """

    @takes_keywords()
    def __init__(self, program: str | _Reasoner | None = None, **arguments: Unpack[ProgramArguments]):
        if not isinstance(program, _Reasoner):
            program = _Reasoner(program, **arguments)
        self.reasoner = program
        self.deterministic = False
        parameters = program.parameters
        for relation in dict.fromkeys(name.split(".")[0] for name in parameters):
            if relation in dir(self):
                message = f"`trainable`: a Flax module has an attribute `{relation}`, which the relation would hide"
                raise InputError(Diagnostic(message, hint="rename the relation"))
            parts: dict[str, Any] = {}
            if f"{relation}.facts" in parameters:
                parts["facts"] = _parameter(parameters[f"{relation}.facts"])
            for kind in ("rules", "choices"):
                tags = [logits for name, logits in parameters.items() if name.startswith(f"{relation}.{kind}.")]
                if tags:
                    parts[kind] = nnx.List([_parameter(logits) for logits in tags])
            setattr(self, relation, nnx.Dict(parts))

    @property
    def specification(self) -> Specification:
        """Everything that defines the module but its parameters, as plain data."""
        return self.reasoner.specification

    @property
    def parameters(self) -> dict[str, Array]:
        """The values of the parameters now, by name."""
        found = {}
        for name in self.reasoner.parameters:
            relation, *path = name.split(".")
            node: Any = getattr(self, relation)
            for part in path:
                node = node[int(part)] if part.isdigit() else node[part]
            found[name] = node[...]
        return found

    def probabilities(self) -> dict[str, Array]:
        """The probabilities that the parameters stand for now, by name; see `scallax.Reasoner.probabilities`."""
        return self.reasoner.probabilities(self.parameters)

    def with_k(self, k: int) -> "Reasoner":
        """The same module keeping `k` proofs, in training and in evaluation; shares the parameters."""
        twin = Reasoner(self.reasoner.with_k(k))
        twin.deterministic = self.deterministic
        for relation in dict.fromkeys(name.split(".")[0] for name in self.reasoner.parameters):
            setattr(twin, relation, getattr(self, relation))
        return twin

    def _on_host(self, inputs: Any, disjunctions: Any) -> tuple[_Reasoner, Any, Any]:
        reasoner = self.reasoner.in_mode(not self.deterministic)
        parameters = {name: np.asarray(value) for name, value in self.parameters.items()}
        return reasoner.with_parameters(parameters), inputs, disjunctions

    def __call__(self, /, **inputs: Any) -> PyTree:
        """The outputs for one array for each input relation, and for `evidence`; see `scallax.Reasoner`."""
        reasoner = self.reasoner.in_mode(not self.deterministic)
        return reasoner.apply(self.parameters, **inputs)

    def log_evidence(self, /, **inputs: Any) -> Array:
        """The logarithms of the probabilities of what was observed; see `scallax.Reasoner.log_evidence`."""
        reasoner = self.reasoner.in_mode(not self.deterministic)
        return reasoner.log_evidence(self.parameters, **inputs)


class LinenArguments(ProgramArguments, total=False):
    """The keywords of a Linen module.

    Args:
        deterministic: Whether calls keep `test_k` proofs instead of `train_k`, where given.
        parent: The module around this one; by default the one in whose method it is made.
        name: The module's name in the one around it.
    """

    deterministic: Annotated[bool, Default(False)]
    parent: Annotated[Any, Default(_SURROUNDING)]
    name: str | None


class LinenReasoner(HostQuestions, linen.Module):
    """A program as a Linen module: `module.apply(variables, relation=probabilities, ...)`.

    Shapes and results are those of `scallax.Reasoner`. The collection `params` holds the parameters under the names of
    `scallax.Reasoner.parameters`; `init` needs no random key. The program is compiled at once, and the field `program`
    is its reasoner: modules of equal arguments are equal. `explain`, `most_probable` and `sample` are called as
    `module.apply(variables, relation, values, inputs, method="explain")`.

    Args:
        program: The program's text, or a `scallax.Reasoner`, whose arguments and parameters the module takes over.
        *others: The other arguments of `scallax.Reasoner` by position, in its order.
        **arguments: The same by name, `deterministic`, which chooses `test_k` over `train_k`, and Linen's `parent` and
            `name`; the constructor's docstring describes each.

    Example:
        >>> import jax.numpy as jnp
        >>> from scallax import nn
        >>> options = {"provenance": "minmaxprob", "input_mappings": {"a": range(2)}, "output_mapping": ("b", (1,))}
        >>> module = nn.LinenReasoner("rel b(x + 1) = a(x)", **options)
        >>> module.apply({}, a=jnp.array([[0.25, 0.5]])).tolist()
        [0.25]
    """

    program: _Reasoner
    deterministic: bool = False

    @takes_keywords(*ProgramArguments.__annotations__, "deterministic", inherited=[ProgramArguments])
    def __init__(self, program: str | _Reasoner | None = None, *others: Any, **arguments: Unpack[LinenArguments]):
        given = dict[str, Any](arguments)
        self.deterministic = given.pop("deterministic")
        self.name = given.pop("name")
        self.parent = given.pop("parent")
        self.program = program if isinstance(program, _Reasoner) else _Reasoner(program, **given)
        self.__post_init__()

    @property
    def specification(self) -> Specification:
        """Everything that defines the module but its parameters, as plain data."""
        return self.reasoner.specification

    @property
    def reasoner(self) -> _Reasoner:
        """The reasoner, with the written values for parameters."""
        return self.program

    def with_k(self, k: int) -> "LinenReasoner":
        """The same module keeping `k` proofs, whatever `deterministic` says; its variables are the same."""
        return self.clone(program=self.reasoner.with_k(k))

    @linen.compact
    def __call__(self, **inputs: Any) -> PyTree:
        """The outputs for one array for each input relation, and for `evidence`; see `scallax.Reasoner`."""
        reasoner = self.reasoner.in_mode(not self.deterministic)
        parameters = {
            name: self.param(name, lambda _, logits=logits: _copy(logits))
            for name, logits in reasoner.parameters.items()
        }
        return reasoner.apply(parameters, **inputs)

    def log_evidence(self, **inputs: Any) -> Array:
        """The logarithms of the probabilities of what was observed; see `scallax.Reasoner.log_evidence`.

        Called as `module.apply(variables, evidence=..., method="log_evidence")`.
        """
        reasoner = self.reasoner.in_mode(not self.deterministic)
        parameters = {name: self.get_variable("params", name) for name in reasoner.parameters}
        return reasoner.log_evidence(parameters, **inputs)

    def _on_host(self, inputs: Any, disjunctions: Any) -> tuple[_Reasoner, Any, Any]:
        reasoner = self.reasoner.in_mode(not self.deterministic)
        parameters = {name: np.asarray(self.get_variable("params", name)) for name in reasoner.parameters}
        return reasoner.with_parameters(parameters), inputs, disjunctions


def _copy(logits: ArrayLike) -> Array:
    if isinstance(logits, Tracer):
        return jnp.array(logits)
    return to_device(np.array(logits), [logits])


def _parameter(logits: ArrayLike) -> nnx.Param:
    # An array of its own: a weak type, or a later change of the reasoner's, would trace every step again.
    array = _copy(logits)
    if array.dtype != logits.dtype:
        hint = 'call `jax.config.update("jax_enable_x64", True)` first'
        raise InputError(
            Diagnostic(f"the parameters are {logits.dtype}, which this JAX would cut to {array.dtype}", hint=hint)
        )
    return nnx.Param(array)
