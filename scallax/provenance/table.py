"""The algebra of each name of a provenance."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NoReturn

from scallax.errors import Diagnostic, InputError, UnsupportedError
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.best import MaxMult, RealTropical
from scallax.provenance.boolean import Boolean
from scallax.provenance.counts import Natural, Tropical
from scallax.provenance.custom import CustomProvenance, Provenance
from scallax.provenance.exact import Exact
from scallax.provenance.logarithmic import LogMinMax, LogSumProduct
from scallax.provenance.noisy_or import Conjunction, NoisyOr
from scallax.provenance.probability import AddMult, MinMax
from scallax.provenance.proofs.sampled import SampledProofs
from scallax.provenance.proofs.top_bottom import TopBottomKClauses
from scallax.provenance.proofs.top_k import TopKProofs
from scallax.provenance.semirings import ObjectProvenance, Proofs, RealTropicalProofs, UserSemiring
from scallax.provenance.traits import (
    CUSTOM,
    CUSTOM_SEMIRING,
    MAX_INCLUSION_EXCLUSION,
    AbstractSemantics,
    Traits,
    traits_of,
)

_ALGEBRAS: Mapping[str, Callable[[Traits], AbstractSemantics]] = {
    "unit": Boolean,
    "bool": Boolean,
    "natural": Natural,
    "tropical": Tropical,
    "realtropical": RealTropical,
    "realtropicalproofs": lambda traits: ObjectProvenance(traits, RealTropicalProofs()),
    "proofs": lambda traits: ObjectProvenance(traits, Proofs(traits.name)),
    "minmaxprob": MinMax,
    "addmultprob": AddMult,
    "exact": Exact,
    "diffminmaxprob": MinMax,
    "diffaddmultprob": AddMult,
    "diffaddmultprob2": lambda traits: AddMult(traits, ceiling=0.9999, masks_clamp=True),
    "diffmaxmultprob": MaxMult,
    "diffmaxmultprob2": MaxMult,
    "diffnandmultprob": lambda traits: NoisyOr(traits, Conjunction.PRODUCT),
    "diffnandmultprob2": lambda traits: NoisyOr(traits, Conjunction.PRODUCT),
    "diffnandminprob": lambda traits: NoisyOr(traits, Conjunction.MINIMUM),
    "diffexact": Exact,
}
# The provenances of proofs: each keeps the best `k` in its own way.
_PROOF_SETS: Mapping[str, Callable[[TopKProofs], AbstractProvenance]] = {
    "probproofs": lambda ranked: replace(ranked, absorbs=False),
    "topkproofs": lambda ranked: ranked,
    "topbottomkclauses": lambda ranked: TopBottomKClauses(ranked.traits, ranked),
    "samplekproofs": lambda ranked: SampledProofs(ranked.traits, ranked),
    "difftopkproofs": lambda ranked: ranked,
    "difftopkproofsdebug": lambda ranked: ranked,
    "difftopbottomkclauses": lambda ranked: TopBottomKClauses(ranked.traits, ranked),
    "diffsamplekproofs": lambda ranked: SampledProofs(ranked.traits, ranked),
}


# The provenances of `_ALGEBRAS` that compute with logarithms too.
_LOGARITHMS: Mapping[str, Callable[[Traits], AbstractProvenance]] = {
    "minmaxprob": LogMinMax,
    "diffminmaxprob": LogMinMax,
    "addmultprob": lambda traits: LogSumProduct(traits, ceiling=1.0),
    "diffaddmultprob": lambda traits: LogSumProduct(traits, ceiling=1.0),
    "diffaddmultprob2": lambda traits: LogSumProduct(traits, ceiling=0.9999, masks_clamp=True),
    "exact": LogSumProduct,
    "diffexact": LogSumProduct,
}
# Those of `_PROOF_SETS` that do.
_LOGARITHMIC_PROOFS = ("topkproofs", "difftopkproofs", "difftopkproofsdebug")


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


def resolve_provenance(
    name: object,
    *,
    k: int = 3,
    wmc_with_disjunctions: bool = False,
    absorb: bool = True,
    custom: object = None,
    log: bool = False,
) -> AbstractSemantics:
    """The provenance of a name, equal by value for equal arguments.

    `k`, `wmc_with_disjunctions` and the errors are those of `traits_of`; `absorb` drops a proof that contains another.
    `custom` is the user's object that the name `custom` stands for: a `Provenance`, or one with the methods of
    `UserSemiring`. With `log` it computes with logarithms; UnsupportedError for one that cannot.
    """
    if name == CUSTOM and custom is not None:
        return _refuse_logarithms(CUSTOM) if log else _custom(custom)
    traits = traits_of(name, k=k, wmc_with_disjunctions=wmc_with_disjunctions)
    if log:
        if traits.name in _LOGARITHMIC_PROOFS:
            if k > MAX_INCLUSION_EXCLUSION:
                message = (
                    f"`log` with `k={k}`: more than {MAX_INCLUSION_EXCLUSION} proofs are not counted in logarithms"
                )
                raise UnsupportedError(Diagnostic(message, hint="lower `k`, or choose `exact`"))
            return TopKProofs(replace(traits, is_log=True, absent=-math.inf), k, bool(absorb))
        if traits.name not in _LOGARITHMS:
            _refuse_logarithms(traits.name)
        return _LOGARITHMS[traits.name](replace(traits, is_log=True, absent=-math.inf))
    if traits.name in _ALGEBRAS:
        return _ALGEBRAS[traits.name](traits)
    return _PROOF_SETS[traits.name](TopKProofs(traits, k, bool(absorb)))


def _refuse_logarithms(name: str) -> NoReturn:
    known = ", ".join(f"`{each}`" for each in (*_LOGARITHMS, *_LOGARITHMIC_PROOFS))
    hint = f"take one of {known}, or leave `log` out"
    raise UnsupportedError(Diagnostic(f"`{name}` does not compute with logarithms of probabilities", hint=hint))


def all_proofs(name: str) -> ObjectProvenance:
    """The provenance `proofs`, which errors call by another name: that of the one whose proofs are counted by it."""
    return ObjectProvenance(replace(traits_of("proofs"), name=name), Proofs(name))


def _custom(custom: object) -> AbstractSemantics:
    try:
        hash(custom)
    except TypeError:  # a class with `__eq__` alone
        hint = "make its class a frozen dataclass"
        raise InputError(Diagnostic(f"the provenance {custom!r} cannot be hashed", hint=hint)) from None
    if isinstance(custom, Provenance):
        return CustomProvenance(custom)
    return ObjectProvenance(CUSTOM_SEMIRING, UserSemiring.of(custom))
