"""Relations whose tags are arrays of a framework, JAX or PyTorch, through which gradients pass."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from scallax.context.checked_programs import Inputs
from scallax.context.collection import Collection
from scallax.context.tag_values import ArrayTags, Scalars
from scallax.language import ir
from scallax.language.tensors import TensorInputs, TensorValue, is_variable
from scallax.language.values import Value, ValueType

if TYPE_CHECKING:  # a context without probabilities does not wait for it
    from scallax.context.computation import Computation


class Framework(Protocol):
    """The arrays that tags may be, which a context is written for."""

    def is_array(self, tag: object) -> bool:
        """Whether a tag is an array whose gradients pass through a run."""
        ...

    def evaluate(self, computation: "Computation", tags: Sequence[object]) -> Any:
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
    """A tag as a number of Python if it is an array, else the tag itself."""
    return tag.item() if framework.is_array(tag) else tag


def collect(
    computation: "Computation", inputs: Inputs, framework: Framework, *, with_proofs: bool = False
) -> list[Collection]:
    """The relations of a computation, with arrays for tags, and with the proofs of each tuple if they are wanted."""
    scalars = Scalars(framework.evaluate(computation, inputs.tags), framework.scalars)
    proofs = None
    if with_proofs:
        proofs = computation.proofs(inputs.tags, inputs.ids, partial(number_of, framework))
    return [
        Collection(
            relation,
            readable(relation, tuples, framework),
            ArrayTags(scalars, places),
            proofs=None if proofs is None else [proofs[place] for place in places],
        )
        for (relation, tuples), places in zip(computation.relations, computation.places, strict=True)
    ]


def readable(relation: ir.Relation, tuples: Sequence[tuple], framework: Framework) -> Sequence[tuple]:
    """The tuples with tensors of the framework."""
    if ValueType.TENSOR not in relation.columns:
        return tuples

    def resolved(value: Value) -> Any:
        if isinstance(value, TensorValue):
            return framework.tensor(value)
        return value.inputs.resolve([value])[0] if is_variable(value) else value

    return [tuple(map(resolved, values)) for values in tuples]
