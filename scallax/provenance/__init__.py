"""The table from provenance name to class."""

import difflib
from collections.abc import Callable

from scallax.errors import Diagnostic, InputError
from scallax.provenance.base import AbstractProvenance as AbstractProvenance
from scallax.provenance.base import LiteralTable as LiteralTable
from scallax.provenance.discrete import Boolean as Boolean
from scallax.provenance.exact import Exact as Exact
from scallax.provenance.probability import AddMult as AddMult
from scallax.provenance.probability import MinMax as MinMax
from scallax.provenance.proofs import TopKProofs as TopKProofs

_PROVENANCES: dict[str, Callable[[str, int, bool, bool], AbstractProvenance]] = {
    "unit": lambda name, k, grouped, absorb: Boolean(name, uses_tags=False),
    "bool": lambda name, k, grouped, absorb: Boolean(name, uses_tags=True),
    "minmaxprob": lambda name, k, grouped, absorb: MinMax(name, keeps_bool_tags=False),
    "addmultprob": lambda name, k, grouped, absorb: AddMult(name, keeps_bool_tags=False),
    "exact": lambda name, k, grouped, absorb: Exact(name, keeps_bool_tags=False),
    "topkproofs": lambda name, k, grouped, absorb: TopKProofs(name, k, grouped, keeps_bool_tags=False, absorbs=absorb),
    "diffminmaxprob": lambda name, k, grouped, absorb: MinMax(name, keeps_bool_tags=True),
    "diffaddmultprob": lambda name, k, grouped, absorb: AddMult(name, keeps_bool_tags=True),
    "diffexact": lambda name, k, grouped, absorb: Exact(name, keeps_bool_tags=True),
    "difftopkproofs": lambda name, k, grouped, absorb: TopKProofs(
        name, k, grouped, keeps_bool_tags=True, absorbs=absorb
    ),
}


def provenance_names() -> list[str]:
    """The names that `resolve_provenance` knows."""
    return list(_PROVENANCES)


def resolve_provenance(
    name: str, *, k: int = 3, wmc_with_disjunctions: bool = False, absorb: bool = True
) -> AbstractProvenance:
    """The provenance of a name, equal by value for equal arguments.

    `k` is the number of proofs kept, at least 1; `wmc_with_disjunctions` counts an exclusive group as one variable;
    `absorb` drops a proof that contains another. They matter to proofs only: `exact` keeps all proofs and always counts
    groups so. Raises `InputError` for a name that is not in the table or a `k` out of range.
    """
    if name not in _PROVENANCES:
        near = difflib.get_close_matches(str(name), _PROVENANCES, n=1)
        suggestion = f"did you mean `{near[0]}`? " if near else ""
        known = ", ".join(f"`{n}`" for n in _PROVENANCES)
        raise InputError(
            Diagnostic(f"there is no provenance `{name}`", hint=f"{suggestion}the provenances are {known}")
        )
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(Diagnostic(f"`k` is {k!r}, but it counts proofs", hint="give an integer of at least 1"))
    return _PROVENANCES[name](name, k, bool(wmc_with_disjunctions), bool(absorb))
