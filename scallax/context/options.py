"""Options of a context: the provenance, its parameters, and the limits of grounding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scallax.errors import InputError
from scallax.facts.arguments import check_executor
from scallax.facts.specification import EXECUTORS
from scallax.grounding.limits import DEFAULT_LIMITS, Limits, check_limits
from scallax.language.records import set_fields
from scallax.provenance.traits import Traits, traits_of

if TYPE_CHECKING:
    from scallax.provenance.traits import AbstractSemantics

# Provenances whose tags are no numbers: their programs are answered by grounding alone.
DISCRETE = ("unit", "bool")

# Provenances whose facts and tuples have no tags.
TAGLESS = ("unit", "proofs")

# Provenances whose tags are truth values, numbers, costs or objects.
_NO_PROBABILITIES = (*TAGLESS, "bool", "natural", "tropical", "realtropical", "realtropicalproofs", "custom")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a context; the names are those of `Reasoner`'s arguments.

    `custom` is the user's object if the provenance is `custom`. `executor` is `jax` or `numpy`, None for a choice by
    the size of what is computed. `log`: tags of tuples are logarithms of probabilities.
    """

    provenance: str = "unit"
    k: int = 3
    wmc_with_disjunctions: bool = False
    iter_limit: int | None = None
    limits: Limits = DEFAULT_LIMITS
    custom: object = None
    executor: str | None = None
    log: bool = False

    def __setstate__(self, values: Sequence[object]) -> None:
        set_fields(self, values)

    def semantics(self) -> "AbstractSemantics":
        """The provenance with these options. InputError if there is none of the name."""
        from scallax.provenance.table import resolve_provenance

        return resolve_provenance(
            self.provenance,
            k=self.k,
            wmc_with_disjunctions=self.wmc_with_disjunctions,
            custom=self.custom,
            log=self.log,
        )

    def traits(self) -> Traits:
        """The traits of the provenance with these options. InputError if there is none of the name."""
        if self.custom is not None or self.log:
            return self.semantics().traits
        return traits_of(self.provenance, k=self.k, wmc_with_disjunctions=self.wmc_with_disjunctions)

    @property
    def is_discrete(self) -> bool:
        """Whether tags say only whether a tuple holds, so that nothing is evaluated."""
        return self.provenance in DISCRETE

    @property
    def has_tags(self) -> bool:
        """Whether facts and tuples have tags."""
        return self.provenance not in TAGLESS

    @property
    def has_probabilities(self) -> bool:
        """Whether tags are probabilities."""
        return self.provenance not in _NO_PROBABILITIES

    @property
    def has_array_tags(self) -> bool:
        """Whether tags of tuples are arrays even where no tag of a fact is one."""
        return self.provenance.startswith("diff")

    @property
    def returns_proofs(self) -> bool:
        """Whether tags of tuples are pairs of a tag and its proofs."""
        return self.traits().returns_proofs

    @property
    def takes_objects(self) -> bool:
        """Whether tags of facts are any objects, which the user's semiring reads."""
        return self.traits().takes_objects


def read_options(
    provenance: object,
    custom_provenance: object,
    k: int,
    wmc_with_disjunctions: object,
    limits: Limits | None = None,
    executor: str | None = None,
    *,
    log: bool = False,
) -> Options:
    """The options of a context. InputError if there is no provenance with them, or no such executor.

    `provenance` is a name, or an object of a subclass of `scallax.Provenance`; `custom_provenance` is such an object or
    any semiring of Python objects, and then the name does not count.
    """
    if custom_provenance is not None or not isinstance(provenance, str):
        # As in `semantics`.
        from scallax.provenance.table import name_provenance

        provenance, custom_provenance = name_provenance(provenance, custom_provenance)
    options = Options(
        str(provenance),
        k,
        wmc_with_disjunctions,  # pyright: ignore[reportArgumentType]  # checked right below
        limits=check_limits(limits),
        custom=custom_provenance,
        executor=executor,
        log=log,
    )
    check_executor(executor, (None, *EXECUTORS))
    return check_options(options)


def check_options(options: Options) -> Options:
    """The options themselves. InputError if there is no provenance with them."""
    if not isinstance(options.wmc_with_disjunctions, bool):
        raise InputError(f"`wmc_with_disjunctions` is {options.wmc_with_disjunctions!r}; it must be True or False")
    if not isinstance(options.log, bool):
        raise InputError(f"`log` is {options.log!r}; it must be True or False")
    options.traits()
    return options
