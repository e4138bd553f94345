"""The arrays that tags of a context's facts may be, and relations whose tuples have such tags."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from scallax.context.answers import DISCRETE, Options
from scallax.context.collection import Collection
from scallax.context.draft import Inputs, TagKinds
from scallax.language import ir
from scallax.language.tensors import Comparison, TensorInputs, TensorValue, is_variable
from scallax.language.values import Value, ValueType

if TYPE_CHECKING:  # a context without probabilities does not wait for JAX
    from scallax.circuits.literals import Part


class Computation(Protocol):
    """The tags of the tuples of some relations, as a function of tags that are inputs."""

    relations: list[tuple[ir.Relation, list[tuple[Value, ...]]]]
    # What the last inputs are computed of, and the tensors in facts if gradients pass through some.
    comparisons: tuple[Comparison, ...]
    tensors: TensorInputs | None

    def computed(self) -> Any:
        """The inputs that are computed, an array of the tensors' framework; None if there are none."""
        ...

    def evaluate(self, tags: Any) -> Any:
        """The tags `[outputs]` for inputs `[inputs]`, arrays that JAX differentiates."""
        ...

    def forward(self, tags: Any) -> tuple[Any, Any]:
        """`evaluate`'s values, and what `pull_back` needs."""
        ...

    def pull_back(self, tags: Any, residuals: Any, cotangent: Any) -> Any:
        """The gradient `[inputs]` for a cotangent `[outputs]`."""
        ...

    def proofs(
        self, tags: Sequence[Any], ids: Sequence[int], number: Callable[[Any], float]
    ) -> "list[list[list[Part]]]":
        """The proofs that the provenance keeps of each output; `ids` are the numbers of the facts."""
        ...


class Framework(Protocol):
    """The arrays that tags may be."""

    def is_array(self, tag: object) -> bool:
        """Whether a tag is an array whose gradients pass through a run."""
        ...

    def evaluate(self, computation: Computation, tags: Sequence[object]) -> Any:
        """The tags of all tuples, an array `[outputs]`, for the computation's inputs: scalars and floats."""
        ...

    def scalars(self, values: Any) -> list[Any]:
        """The scalars of an array `[outputs]`."""
        ...

    def tensor(self, value: TensorValue) -> Any:
        """A constant of type Tensor as it stands in the tuples of a relation."""
        ...

    @property
    def tensors(self) -> TensorInputs | None:
        """The tensors in facts, if gradients may pass through some."""
        ...


def number_of(framework: Framework, tag: Any) -> Any:
    """A tag as a number of Python, what is no array as it is."""
    return tag.item() if framework.is_array(tag) else tag


def collect(
    computation: Computation,
    places: Sequence[Sequence[int]],
    inputs: Inputs,
    options: Options,
    framework: Framework,
) -> list[Collection]:
    """The relations of a computation, whose tags stand at `places` among all, with arrays for tags."""
    scalars = framework.scalars(framework.evaluate(computation, inputs.tags))
    proofs = None
    if options.returns_proofs:
        proofs = computation.proofs(inputs.tags, inputs.ids, partial(number_of, framework))
    return [
        Collection(
            relation,
            readable(relation, tuples, framework),
            [scalars[place] for place in found],
            arrays=True,
            proofs=None if proofs is None else [proofs[place] for place in found],
        )
        for (relation, tuples), found in zip(computation.relations, places, strict=True)
    ]


def tag_kinds(options: Options, framework: Framework) -> TagKinds:
    """Which tags are arrays, and which of them are inputs of a computation rather than constants of the program."""
    is_input = framework.is_array
    if options.provenance in DISCRETE:
        is_input = _never
    elif options.returns_proofs:
        # Proofs are read by inputs.
        is_input = _is_tag
    return TagKinds(framework.is_array, is_input)


def _never(tag: object) -> bool:
    return False


def _is_tag(tag: object) -> bool:
    return tag is not None


def readable(relation: ir.Relation, tuples: Sequence[tuple], framework: Framework) -> Sequence[tuple]:
    """The tuples with tensors of the framework."""
    if ValueType.TENSOR not in relation.columns:
        return tuples

    def resolved(value: Value) -> Any:
        if isinstance(value, TensorValue):
            return framework.tensor(value)
        return value.inputs.resolve([value])[0] if is_variable(value) else value

    return [tuple(map(resolved, values)) for values in tuples]
