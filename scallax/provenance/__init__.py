"""The table from provenance name to class."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace

from scallax.errors import Diagnostic, InputError
from scallax.language.tag_domains import Domain as Domain
from scallax.provenance.base import AbstractProvenance as AbstractProvenance
from scallax.provenance.base import AbstractSemantics as AbstractSemantics
from scallax.provenance.base import Gradient as Gradient
from scallax.provenance.base import LiteralTable as LiteralTable
from scallax.provenance.best import MaxMult as MaxMult
from scallax.provenance.best import RealTropical as RealTropical
from scallax.provenance.boolean import Boolean as Boolean
from scallax.provenance.counts import Natural as Natural
from scallax.provenance.counts import Tropical as Tropical
from scallax.provenance.custom import CustomProvenance as CustomProvenance
from scallax.provenance.custom import Provenance as Provenance
from scallax.provenance.custom import qualified_name as qualified_name
from scallax.provenance.exact import Exact as Exact
from scallax.provenance.noisy_or import Conjunction, NoisyOr
from scallax.provenance.probability import AddMult as AddMult
from scallax.provenance.probability import MinMax as MinMax
from scallax.provenance.proofs.sampled import SampledProofs as SampledProofs
from scallax.provenance.proofs.top_bottom import TopBottomKClauses as TopBottomKClauses
from scallax.provenance.proofs.top_k import TopKProofs as TopKProofs
from scallax.provenance.semirings import ObjectProvenance as ObjectProvenance
from scallax.provenance.semirings import Proofs as Proofs
from scallax.provenance.semirings import RealTropicalProofs, UserSemiring


@dataclass(frozen=True, slots=True)
class _Options:
    """What a row of the table may use; `custom` is an object of the user's."""

    name: str
    k: int
    grouped: bool
    absorbs: bool
    custom: object

    @property
    def keeps_bool_tags(self) -> bool:
        """The `diff...` names read a written `true` or `false` as 1 or 0."""
        return self.name.startswith("diff")

    @property
    def proofs(self) -> TopKProofs:
        return TopKProofs(self.name, self.k, self.grouped, self.keeps_bool_tags, self.absorbs)


def _custom(options: _Options) -> AbstractSemantics:
    try:
        hash(options.custom)
    except TypeError:  # a class with `__eq__` alone
        hint = "make its class a frozen dataclass"
        raise InputError(Diagnostic(f"the provenance {options.custom!r} cannot be hashed", hint=hint)) from None
    match options.custom:
        case Provenance() as algebra:
            return CustomProvenance(options.name, algebra)
        case None:
            hint = "give an object with `custom_provenance=`, or as `provenance=` itself"
            raise InputError(Diagnostic("`custom` is a provenance of the user's", hint=hint))
        case semiring:
            return ObjectProvenance(options.name, UserSemiring.of(semiring))


_PROVENANCES: dict[str, Callable[[_Options], AbstractSemantics]] = {
    "unit": lambda o: Boolean(o.name, uses_tags=False),
    "bool": lambda o: Boolean(o.name, uses_tags=True),
    "natural": lambda o: Natural(o.name),
    "tropical": lambda o: Tropical(o.name),
    "realtropical": lambda o: RealTropical(o.name),
    "realtropicalproofs": lambda o: ObjectProvenance(o.name, RealTropicalProofs()),
    "proofs": lambda o: ObjectProvenance(o.name, Proofs(o.name)),
    "minmaxprob": lambda o: MinMax(o.name, o.keeps_bool_tags),
    "addmultprob": lambda o: AddMult(o.name, o.keeps_bool_tags),
    "exact": lambda o: Exact(o.name, o.keeps_bool_tags),
    "probproofs": lambda o: replace(o, absorbs=False).proofs,
    "topkproofs": lambda o: o.proofs,
    "topbottomkclauses": lambda o: TopBottomKClauses(o.name, o.proofs),
    "samplekproofs": lambda o: SampledProofs(o.name, o.proofs),
    "diffminmaxprob": lambda o: MinMax(o.name, o.keeps_bool_tags),
    "diffaddmultprob": lambda o: AddMult(o.name, o.keeps_bool_tags),
    "diffaddmultprob2": lambda o: AddMult(o.name, o.keeps_bool_tags, ceiling=0.9999, masks_clamp=True),
    "diffmaxmultprob": lambda o: MaxMult(o.name),
    "diffmaxmultprob2": lambda o: MaxMult(o.name),
    "diffnandmultprob": lambda o: NoisyOr(o.name, Conjunction.PRODUCT),
    "diffnandmultprob2": lambda o: NoisyOr(o.name, Conjunction.PRODUCT),
    "diffnandminprob": lambda o: NoisyOr(o.name, Conjunction.MINIMUM),
    "diffexact": lambda o: Exact(o.name, o.keeps_bool_tags),
    "difftopkproofs": lambda o: o.proofs,
    "difftopkproofsdebug": lambda o: replace(o.proofs, returns_proofs=True),
    "difftopbottomkclauses": lambda o: TopBottomKClauses(o.name, o.proofs),
    "diffsamplekproofs": lambda o: SampledProofs(o.name, o.proofs),
    "custom": _custom,
}


def name_provenance(provenance: object, custom: object) -> tuple[str, object]:
    """The name of the two arguments that choose a provenance, and the user's object, if there is one.

    InputError if `provenance` is neither a name nor a `Provenance`.
    """
    if isinstance(provenance, Provenance):
        return "custom", provenance
    if not isinstance(provenance, str):
        hint = "give a name, an object of a subclass of `scallax.Provenance`, or any semiring as `custom_provenance=`"
        raise InputError(Diagnostic(f"`provenance` is {provenance!r}, which is no provenance", hint=hint))
    return (provenance, None) if custom is None else ("custom", custom)


def provenance_names() -> list[str]:
    """The names that `resolve_provenance` knows."""
    return list(_PROVENANCES)


def resolve_provenance(
    name: object, *, k: int = 3, wmc_with_disjunctions: bool = False, absorb: bool = True, custom: object = None
) -> AbstractSemantics:
    """The provenance of a name, equal by value for equal arguments.

    `k` is the number of proofs kept, at least 1; `wmc_with_disjunctions` counts an exclusive group as one variable;
    `absorb` drops a proof that contains another. They matter to proofs only: `exact` keeps all proofs and always counts
    groups so. `custom` is the user's object that `custom` stands for: a `Provenance`, or one with the methods of
    `UserSemiring`. Raises `InputError` for a name that is not in the table or a `k` out of range.
    """
    if not isinstance(name, str) or name not in _PROVENANCES:
        near = difflib.get_close_matches(str(name), _PROVENANCES, n=1)
        suggestion = f"did you mean `{near[0]}`? " if near else ""
        known = ", ".join(f"`{n}`" for n in _PROVENANCES)
        raise InputError(
            Diagnostic(f"there is no provenance `{name}`", hint=f"{suggestion}the provenances are {known}")
        )
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(Diagnostic(f"`k` is {k!r}, but it counts proofs", hint="give an integer of at least 1"))
    return _PROVENANCES[name](_Options(name, k, bool(wmc_with_disjunctions), bool(absorb), custom))
