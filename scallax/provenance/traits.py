"""The traits of the built-in algebras of tags: plain values, which every stage reads without importing JAX."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache

import numpy as np

from scallax.errors import Diagnostic, InputError, near_name
from scallax.kernels.schedule import COMPLEMENT, LINEAR, LITERALS, NODES
from scallax.language.tag_domains import Domain

# Up to this `k`, proofs are counted by inclusion-exclusion; more of them by decisions on the host, as the former has
# 2^k terms, and loses digits.
MAX_INCLUSION_EXCLUSION = 10

# Nodes of a decision diagram that counts the proofs of one output.
MAX_NODES = 50_000

# Proofs up to which loops over them are written out: more would take seconds to compile.
MAX_UNROLLED_PROOFS = 5


class Gradient(Enum):
    """How outputs are differentiated."""

    # Not at all: outputs are bool or integers.
    NONE = "none"
    # Through `recover` alone: the tags are found without gradients.
    RECOVER = "recover"
    # Through tags, floats `[rows, batch]` whose conjunction is the product and whose disjunction passes cotangents on;
    # or logarithms of such.
    PRODUCT = "product"
    # Through tags, by differentiating `step`.
    STEP = "step"


# How many rows of derivations a step takes at once, ascending, for each kind of tile that is told apart.
# Derivations that are folded one block after the other,
_IN_BLOCKS: Mapping[int, tuple[int, ...]] = {NODES: (1, 2, 4, 8), COMPLEMENT: (1,)}
# and all derivations of a head at once, which is what `Gradient.STEP` needs.
_AT_ONCE: Mapping[int, tuple[int, ...]] = {NODES: (1, 2, 4, 8, 16, 32), COMPLEMENT: (1,)}


@dataclass(frozen=True, slots=True)
class Traits:
    """The facts about an algebra that planning, grounding, layout and callers ask for.

    `name` is its name in the table of provenances. The defaults are those of a provenance of probabilities.
    """

    name: str

    # The numbers that are tags of facts.
    domain: Domain = Domain.PROBABILITY

    # Whether facts and rules with a tag are uncertain; if not, every fact is certain.
    uses_tags: bool = True

    # Whether a written `true` or `false` is the number 1 or 0; if not, a fact with such a tag is certain.
    keeps_bool_tags: bool = False

    # Whether a written number is a tag; if not, a fact with such a tag is certain.
    keeps_number_tags: bool = True

    # The least constant tag with which a fact holds in every world; None: there is none.
    certain_from: float | None = None

    # Whether facts from Python are pairs of a tag and a tuple.
    takes_tagged_facts: bool = True

    # Whether tags of facts may be any objects of Python.
    takes_objects: bool = False

    # Whether mutual exclusion matters; then an untagged member of a group has probability 1, not certainty.
    uses_exclusion: bool = False

    # Whether a group is one multi-valued variable; if not, its members are independent where they do not meet.
    has_multivalued_variables: bool = False

    # Whether one joined with anything is one, so that certain tuples need no other derivation.
    is_absorptive: bool = True

    # Whether a tag joined with itself is itself, so that a cycle may add to the tags of the round before.
    is_idempotent: bool = False

    # Whether conjunction distributes over disjunction where the two sides have no literal and no group in common. Then
    # tags that are disjunctions may be joined, instead of each of their derivations.
    is_distributive: bool = False

    # Whether tags depend on the order of nodes and derivations, rounding aside, as where proofs are left out.
    is_order_sensitive: bool = True

    # Whether tags on a cycle may go on changing for ever, so that outputs are NaN after the most rounds.
    may_diverge: bool = False

    # Whether tags, inputs and outputs are logarithms of probabilities.
    is_log: bool = False

    # Whether derivations are compiled to a circuit of disjoint sums and independent products first.
    is_compiled: bool = False

    # Whether tags hold sets of literals, so that they are smaller if each component numbers its own.
    has_local_literals: bool = False

    # How many proofs a tag keeps at most; 0: tags are numbers.
    num_proofs: int = 0

    # Whether outputs depend on a seed.
    draws: bool = False

    # Whether evaluation can weigh tuples against each other.
    has_weights: bool = True

    # Whether calls return the proofs beside the values.
    returns_proofs: bool = False

    # How outputs are differentiated.
    gradient: Gradient = Gradient.RECOVER

    # Whether outputs and their derivatives may be found together (`recover_with_derivatives`).
    has_derivatives: bool = False

    # The dtype of outputs; None: the float dtype of the inputs; `object`: any objects of Python.
    output_dtype: type | None = None

    # The output of a tuple that does not hold; None: what a user's algebra makes of its zero.
    absent: float | None = 0.0

    # The error of the first output, by sample and then in their order, that `recover` makes NaN, of probabilities that
    # are all finite. None: it makes none NaN.
    refusal: Diagnostic | None = None

    # For each kind of tile that is told apart, how many rows of derivations `step` may take at once, ascending.
    block_rows: Mapping[int, tuple[int, ...]] = field(default_factory=lambda: _IN_BLOCKS)

    # Estimated microseconds of `step` for one derivation and a batch of 64; a step as such takes about 20.
    derivation_cost: float = 0.25

    def __hash__(self) -> int:
        # Provenances are looked up in every call.
        return hash(self.name)

    @property
    def is_discrete(self) -> bool:
        """Whether outputs have no derivatives: they are bool, integers or objects."""
        return self.gradient is Gradient.NONE

    @property
    def conditions(self) -> bool:
        """Whether outputs may be given evidence: values are probabilities of what a conjunction of formulas says."""
        return self.is_compiled or self.num_proofs > 0

    @property
    def passes_gradients(self) -> bool:
        """Whether gradients may pass through evaluation, those of a user's objects among them."""
        return not self.is_discrete or self.output_dtype is object

    def prior(self, tag: float | bool) -> float | None:
        """The literal's value for a tag written in the program, or None if such a tag means certain."""
        is_kept = self.keeps_bool_tags if isinstance(tag, bool) else self.keeps_number_tags
        return float(tag) if is_kept else None

    def is_certain(self, tags: np.ndarray) -> np.ndarray:
        """The facts that hold in every world for their constant tags, as literals with complements of tag zero.

        `tags`: float64 `[facts]`, NaN for no constant, infinite for untagged facts that are literals.
        """
        # NaN compares false.
        return np.zeros(len(tags), np.bool_) if self.certain_from is None else tags >= self.certain_from


class AbstractSemantics(ABC):
    """An algebra of tags with its traits, whoever computes the tags."""

    traits: Traits

    @property
    def name(self) -> str:
        """The name in the table of provenances."""
        return self.traits.name

    @property
    def absent(self) -> float:
        """The output of a tuple that does not hold."""
        assert self.traits.absent is not None, "an algebra without a trait `absent` overrides this"
        return self.traits.absent


# The name of a user's own provenance, and the traits of its two kinds: a subclass of `scallax.Provenance`,
CUSTOM = "custom"
CUSTOM_ALGEBRA = Traits(
    CUSTOM,
    domain=Domain.ANY,
    keeps_bool_tags=True,
    is_absorptive=False,
    may_diverge=True,
    gradient=Gradient.STEP,
    absent=None,
    block_rows=_AT_ONCE,
    derivation_cost=0.5,
)
# and a semiring of Python objects, which is evaluated on the host: there padding costs nothing, as it is passed over.
CUSTOM_SEMIRING = Traits(
    CUSTOM,
    domain=Domain.ANY,
    keeps_bool_tags=True,
    takes_objects=True,
    is_absorptive=False,
    gradient=Gradient.NONE,
    output_dtype=object,
    derivation_cost=0.0,
)

# The built-in semirings of Python objects are without weights.
_SEMIRING = replace(CUSTOM_SEMIRING, takes_objects=False, has_weights=False)
_BOOLEAN = Traits(
    "bool",
    keeps_bool_tags=True,
    keeps_number_tags=False,
    is_idempotent=True,
    is_distributive=True,
    is_order_sensitive=False,
    gradient=Gradient.NONE,
    output_dtype=np.bool_,
)
_MIN_MAX = Traits("minmaxprob", is_idempotent=True, is_distributive=True, is_order_sensitive=False)
_ADD_MULT = Traits("addmultprob", is_order_sensitive=False, gradient=Gradient.PRODUCT)
_EXACT = replace(
    _ADD_MULT,
    uses_exclusion=True,
    has_multivalued_variables=True,
    is_compiled=True,
    block_rows={NODES: (1, 2, 4, 8), COMPLEMENT: (1, 2, 4, 8)},
)
_NOISY_OR = Traits("diffnandmultprob", keeps_bool_tags=True, gradient=Gradient.STEP, block_rows=_AT_ONCE)

# In the order of the documentation; by name alone those whose traits depend on `k` and on how groups are counted.
_ROWS: list[Traits | str] = [
    replace(_BOOLEAN, name="unit", uses_tags=False, takes_tagged_facts=False),
    _BOOLEAN,
    Traits(
        "natural",
        domain=Domain.NATURAL,
        keeps_bool_tags=True,
        certain_from=1.0,
        is_absorptive=False,
        gradient=Gradient.NONE,
        output_dtype=np.int32,
        derivation_cost=0.5,
    ),
    Traits(
        "tropical",
        domain=Domain.NATURAL,
        keeps_bool_tags=True,
        certain_from=-np.inf,
        is_idempotent=True,
        gradient=Gradient.NONE,
        output_dtype=np.int32,
        absent=float(2**31 - 1),
    ),
    Traits(
        "realtropical",
        domain=Domain.COST,
        certain_from=-np.inf,
        # Costs may be negative.
        is_absorptive=False,
        gradient=Gradient.STEP,
        absent=np.inf,
        block_rows=_AT_ONCE,
        derivation_cost=0.5,
    ),
    replace(
        _SEMIRING,
        name="realtropicalproofs",
        domain=Domain.COST,
        certain_from=-np.inf,
        output_dtype=np.float32,
        absent=np.inf,
    ),
    replace(
        _SEMIRING,
        name="proofs",
        domain=Domain.PROBABILITY,
        takes_tagged_facts=False,
        uses_exclusion=True,
        output_dtype=np.bool_,
    ),
    _MIN_MAX,
    _ADD_MULT,
    replace(_EXACT, name="exact"),
    *("probproofs", "topkproofs", "topbottomkclauses", "samplekproofs"),
    replace(_MIN_MAX, name="diffminmaxprob", keeps_bool_tags=True),
    replace(_ADD_MULT, name="diffaddmultprob", keeps_bool_tags=True),
    replace(_ADD_MULT, name="diffaddmultprob2", keeps_bool_tags=True),
    *(
        replace(_NOISY_OR, name=name, is_distributive=True, derivation_cost=0.5)
        for name in ("diffmaxmultprob", "diffmaxmultprob2")
    ),
    *(replace(_NOISY_OR, name=name) for name in ("diffnandmultprob", "diffnandmultprob2", "diffnandminprob")),
    replace(_EXACT, name="diffexact", keeps_bool_tags=True),
    *("difftopkproofs", "difftopkproofsdebug", "difftopbottomkclauses", "diffsamplekproofs"),
]
_TABLE = {row if isinstance(row, str) else row.name: row for row in _ROWS}


def provenance_names() -> list[str]:
    """The names of provenances."""
    return [*_TABLE, CUSTOM]


def traits_of(name: object, *, k: int = 3, wmc_with_disjunctions: bool = False) -> Traits:
    """The traits of the built-in provenance of a name, the same object for equal arguments; does not import JAX.

    `k` is the number of proofs kept, at least 1; `wmc_with_disjunctions` counts an exclusive group as one variable.
    They matter to proofs only: `exact` keeps all proofs and always counts groups so. InputError for a name that is not
    in the table, for `custom`, whose traits an object decides, or a `k` out of range.
    """
    if not isinstance(name, str) or name not in provenance_names():
        known = f"the provenances are {', '.join(f'`{n}`' for n in provenance_names())}"
        near = near_name(name, provenance_names())
        hint = known if near is None else f"{near} {known}"
        raise InputError(Diagnostic(f"there is no provenance `{name}`", hint=hint))
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(Diagnostic(f"`k` is {k!r}, but it counts proofs", hint="give an integer of at least 1"))
    if name == CUSTOM:
        hint = "give an object with `custom_provenance=`, or as `provenance=` itself"
        raise InputError(Diagnostic("`custom` is a provenance of the user's", hint=hint))
    row = _TABLE[name]
    return row if isinstance(row, Traits) else _proof_set_traits(name, k, bool(wmc_with_disjunctions))


@lru_cache(maxsize=256)
def _proof_set_traits(name: str, k: int, is_grouped: bool) -> Traits:
    """The traits of a provenance whose tags are sets of at most `k` proofs."""
    few = max(1, 8 // k)
    top_k = Traits(
        name,
        # The `diff...` names read a written `true` or `false` as 1 or 0.
        keeps_bool_tags=name.startswith("diff"),
        uses_exclusion=True,
        has_multivalued_variables=is_grouped,
        is_idempotent=True,
        num_proofs=k,
        refusal=None if k <= MAX_INCLUSION_EXCLUSION else _too_many_decisions(),
        block_rows={LITERALS: (8,), LINEAR: (few, 2 * few), NODES: (1,), COMPLEMENT: (1,)},
        derivation_cost=0.4 * k,
    )
    if name.endswith("topbottomkclauses"):
        return replace(top_k, block_rows={NODES: (1,), COMPLEMENT: (1,)})
    if name.endswith("samplekproofs"):
        return replace(top_k, draws=True, derivation_cost=2 * top_k.derivation_cost)
    return replace(
        top_k,
        is_distributive=True,
        # Decisions on the host know the program's own numbers.
        has_local_literals=k <= MAX_INCLUSION_EXCLUSION,
        returns_proofs=name == "difftopkproofsdebug",
        has_derivatives=not is_grouped and k <= MAX_UNROLLED_PROOFS,
    )


def _too_many_decisions() -> Diagnostic:
    hint = f"lower `k`; up to {MAX_INCLUSION_EXCLUSION} proofs are counted without a limit"
    return Diagnostic(f"counting its proofs takes more than {MAX_NODES:,} decisions", hint=hint)
