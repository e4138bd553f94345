"""Checks of facts: impossible tags and groups are refused, and unlikely ones are warned of."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from scallax.errors import Diagnostic, InputError
from scallax.facts.arguments import show_facts
from scallax.facts.fact_table import FactTable
from scallax.facts.mappings import InputMapping, show_tuple
from scallax.grounding.derivations import Literals
from scallax.language import ir
from scallax.language.columns import Column
from scallax.language.tag_domains import ROUNDING, Domain

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

# A softmax over many entries may be off by more.
_SHARES_ROUNDING = 1e-5

_NEGATIVE_REST = "what is left of 1 is the probability of none of them; here it is negative"


def check_domain(domain: Domain, program: ir.Program, literals: Literals) -> None:
    """InputError for tags of facts and rules that a provenance of this domain cannot read."""
    wrong = [
        Diagnostic(f"the tag {fact.tag:g} of this fact is not {domain.value}", fact.span)
        for fact in program.facts
        if fact.tag is not None and not domain.admits(fact.tag)
    ]
    if not wrong:
        tags = literals.prior[np.isfinite(literals.prior)]
        tags = sorted(set(tags[~domain.admits_all(tags)].tolist()))
        wrong = [Diagnostic(f"the tag {tag:g} of a rule is not {domain.value}") for tag in tags]
    if wrong:
        raise InputError(*wrong)


def find_tag_outside(program: ir.Program, given: Sequence[FactTable]) -> Diagnostic | None:
    """A warning of the first tag outside [0, 1] that is written in the program, then in facts from Python.

    Tags of rules that depend on variables are not looked at.
    """
    found = [
        Diagnostic(f"the tag {fact.tag:g} of `{fact.relation}{show_tuple(fact.values)}` is outside [0, 1]", fact.span)
        for fact in program.facts
        if _is_outside(fact.tag)
    ]
    # The alternatives of a rule share its tag.
    found += dict.fromkeys(
        Diagnostic(f"the tag {tag.value:g} of this rule for `{rule.relation}` is outside [0, 1]", tag.span)
        for rule in program.rules
        for tag in _own_tags(rule)
        if isinstance(tag, ir.Constant) and _is_outside(tag.value)
    )
    found += [
        Diagnostic(f"facts of `{facts.relation}`: the tag {tag:g} of {show_tuple(values)} is outside [0, 1]")
        for facts in given
        for tag, values in _facts_outside(facts)
    ]
    return _first(found, "a tag is a probability")


def find_overfull_set(program: ir.Program, prior: Callable[[float | bool], float | None]) -> Diagnostic | None:
    """A warning of the first exclusive set of the program whose probabilities add up to more than 1.

    `prior` is the provenance's.
    """
    sets: dict[int, list[ir.Fact]] = {}
    for fact in program.facts:
        if fact.group is not None:
            sets.setdefault(fact.group, []).append(fact)
    found = []
    for facts in sets.values():
        priors = [None if fact.tag is None else prior(fact.tag) for fact in facts]
        total = sum(1.0 if p is None else p for p in priors)
        if total > 1 + ROUNDING:
            first, last = facts[0].span, facts[-1].span
            span = None if first is None or last is None else first.to(last)
            relation = facts[0].relation
            found.append(Diagnostic(f"exclusive facts of `{relation}` add up to {total:g}, more than 1", span))
    return _first(found, _NEGATIVE_REST)


def find_overfull_facts(
    relation: str, tuples: Sequence, probabilities: np.ndarray, groups: np.ndarray
) -> Diagnostic | None:
    """A warning of the first exclusive group of facts from Python that add up to more than 1.

    `probabilities` float64 `[facts]`, NaN for what is not known; `groups` int64 `[facts]`, -1 for none.
    """
    found = find_overfull_group(probabilities, groups)
    if found is None:
        return None
    members, total = found
    shown = show_facts(relation, [tuples[member] for member in members])
    return Diagnostic(f"the exclusive facts {shown} add up to {total:g}, more than 1", hint=_NEGATIVE_REST)


def find_overfull_group(probabilities: np.ndarray, groups: np.ndarray) -> tuple[list[int], float] | None:
    """The places of the first group's members that add up to more than 1, and their sum; see `find_overfull_facts`."""
    places = np.flatnonzero(groups >= 0)
    totals = np.bincount(groups[places], weights=probabilities[places].astype(np.float64))
    for group in np.flatnonzero(totals > 1 + ROUNDING).tolist():
        members = np.flatnonzero(groups == group)
        if totals[group] > 1 + _rounding(probabilities[members]):
            return members.tolist(), float(totals[group])
    return None


def _rounding(probabilities: np.ndarray) -> float:
    """How far over 1 they may add up: what a short float holds may have been computed in it, and then widened."""
    # Knows short floats that NumPy does not, and is needed here only.
    from ml_dtypes import bfloat16

    for dtype in (np.float16, bfloat16):
        with np.errstate(over="ignore"):
            is_short = np.array_equal(probabilities.astype(dtype).astype(probabilities.dtype), probabilities)
        if is_short:
            return 8 * _epsilon(dtype)
    return ROUNDING


def _epsilon(dtype: "DTypeLike") -> float:
    """The distance from 1 to the next number of a type of floats, short ones among them."""
    from ml_dtypes import finfo

    return float(finfo(dtype).eps)


def find_overfull_entries(relation: str, mapping: InputMapping, values: np.ndarray) -> str | None:
    """A warning of the first sample of `[batch, *mapping.shape]` whose exclusive entries add up to more than 1."""
    groups = mapping.groups
    if groups is None:
        return None
    axes = tuple(range(1, values.ndim)) if mapping.disjunctive_dim is None else mapping.disjunctive_dim + 1
    totals = values.astype(np.float64).sum(axes)
    # Entries of few digits add up to what they can.
    rounding = max(ROUNDING, 8 * _epsilon(values.dtype))
    wrong = np.argwhere(totals > 1 + rounding)
    if not len(wrong):
        return None
    sample, *others = wrong[0].tolist()
    group = np.ravel_multi_index(others, totals.shape[1:]) if others else 0
    members = [mapping.tuples[entry] for entry in np.flatnonzero(groups == group)]
    total = totals[tuple(wrong[0])]
    return (
        f"`{relation}` adds up to {total:.7g}, more than 1, in sample {sample} over the exclusive tuples "
        f"{show_facts(relation, members)}; it is computed as it is"
    )


def find_shares(mapping: InputMapping, values: np.ndarray) -> str | None:
    """A hint to declare entries of `[batch, *mapping.shape]` exclusive if they add up to 1 in all samples.

    All entries, or else those along an axis. Values that are all 0 or 1 give no hint: they mean the same either way.
    """
    wide = values.astype(np.float64)
    if wide.min() < 0 or np.isin(wide, (0, 1)).all():
        return None
    rounding = max(_SHARES_ROUNDING, 8 * _epsilon(values.dtype), _rounding(values))
    axes = {"disjunctive=True": tuple(range(1, wide.ndim))}
    if wide.ndim > 2:
        axes |= {f"disjunctive_dim={axis - 1}": (axis,) for axis in range(wide.ndim - 1, 0, -1) if wide.shape[axis] > 1}
    return next((option for option, own in axes.items() if np.abs(wide.sum(own) - 1).max() <= rounding), None)


def undeclared_shares(options: Mapping[str, str], provenance: str) -> Diagnostic:
    """The warning of relations that add up to 1, by what `find_shares` says of them, and count as independent."""
    names = " and ".join(f"`{relation}`" for relation in options)
    adds = "adds" if len(options) == 1 else "add"
    message = f"{names} {adds} up to 1 in every sample, but the tuples count as independent under `{provenance}`"
    ways = " or ".join(f"`InputMapping(…, {option})`" for option in dict.fromkeys(options.values()))
    hint = f"if one of them holds, as behind a softmax, give {ways}; `disjunctive=False` says that they are independent"
    return Diagnostic(message, hint=hint)


def check_tags(facts: Sequence[FactTable], vector: np.ndarray) -> None:
    """InputError for the first tag, in the order of the facts, that is not finite."""
    if np.isfinite(vector).all():
        return
    place = int(np.flatnonzero(~np.isfinite(vector))[0])
    raise InputError(tag_message(facts, place, f"has the tag {float(vector[place])}; a tag is a finite number"))


def find_outside(facts: Sequence[FactTable], tags: np.ndarray, is_log: bool = False) -> str | None:
    """The warning about the first tag of a batch outside [0, 1]; `is_log`: the error, as it has no logarithm."""
    outside = np.flatnonzero((tags < -ROUNDING) | (tags > 1 + ROUNDING))
    if not len(outside):
        return None
    place = int(outside[0])
    what = "only probabilities have logarithms of such" if is_log else "it is computed as it is"
    return tag_message(facts, place, f"has the tag {float(tags[place])}, outside [0, 1]; {what}")


def find_overfull(facts: Sequence[FactTable], tags: np.ndarray) -> str | None:
    """The warning about the first exclusive facts of a sample whose sum is over 1; a certain one counts as 1."""
    start = 0
    for part in facts:
        if part.certain is None:
            continue
        first, start = start, start + part.num_facts
        if part.groups is None:
            continue
        found = find_overfull_group(np.where(part.certain, 1.0, tags[first:start]), part.groups)
        if found is not None:
            members, total = found
            shown = show_facts(part.relation, [tuple(column[place] for column in part.columns) for place in members])
            sample = int(np.searchsorted(np.cumsum(part.counts), members[0], "right"))
            return (
                f"`{part.relation}` adds up to {total:.7g}, more than 1, in sample {sample} over the exclusive tuples "
                f"{shown}; it is computed as it is"
            )
    return None


def tag_message(facts: Sequence[FactTable], place: int, problem: str) -> str:
    """`wrong_tag` for a place among the tags of all relations."""
    for part in facts:
        if part.certain is None:
            continue
        if place < part.num_facts:
            return wrong_tag(part, place, problem)
        place -= part.num_facts
    raise AssertionError("the place is that of a tag")


def wrong_tag(part: FactTable, place: int, problem: str) -> str:
    """The message of what is wrong with the tag of a fact."""
    values = show_tuple(tuple(column[place] for column in part.columns))
    sample = 0
    while place >= part.counts[sample]:
        place -= part.counts[sample]
        sample += 1
    return f"`{part.relation}`: fact {place} of sample {sample}, {values}, {problem}"


def read_groups(what: str, lists: object, count: int, owner: str = "the list") -> np.ndarray:
    """The exclusive groups of facts, which are given as lists of their positions.

    Args:
        what: The name of the lists in errors.
        lists: An iterable of iterables of positions from 0. A fact may be named twice in one of them.
        count: The number of facts.
        owner: The name of the place that has the facts.

    Returns:
        The number of the list that names each fact, int64 `[count]`, -1 for none.

    Raises:
        InputError: Something that is no list or no position is given for one, or two lists name one fact.
    """
    groups = np.full(count, -1, np.int64)
    if isinstance(lists, str) or not isinstance(lists, Iterable):
        raise InputError(f"{what} is {lists!r}; give a list of lists of indices")
    for number, members in enumerate(lists):
        if isinstance(members, str) or not isinstance(members, Iterable):
            raise InputError(f"{what} holds {members!r}; give a list of lists of indices")
        for member in members:
            if isinstance(member, bool) or not isinstance(member, int | np.integer):
                raise InputError(f"{what}: {member!r} is no index of a fact")
            if not 0 <= member < count:
                raise InputError(f"{what}: there is no fact {member}; {owner} has {count} facts, counted from 0")
            if groups[member] not in (-1, number):
                raise InputError(f"{what}: fact {member} is in two exclusive groups")
            groups[member] = number
    return groups


def read_sample_groups(what: str, groups: Sequence, counts: Sequence[int]) -> np.ndarray:
    """The exclusive groups of the facts of all samples: `read_groups` of each, numbered through.

    `what` is followed by the number of the sample in errors. Lists and tuples alone are taken for lists.
    """
    for sample, sets in enumerate(groups):
        if not isinstance(sets, list | tuple) or not all(isinstance(part, list | tuple) for part in sets):
            raise InputError(f"{what} {sample} is {sets!r}; give a list of lists of indices")
    found = _number_groups(groups, counts)
    if found is not None:
        return found
    parts, first = [np.zeros(0, np.int64)], 0
    for sample, (sets, count) in enumerate(zip(groups, counts, strict=True)):
        numbers = read_groups(f"{what} {sample}", sets, count, "the sample")
        parts.append(np.where(numbers >= 0, numbers + first, -1))
        first += len(sets)
    return np.concatenate(parts)


def _number_groups(groups: Sequence, counts: Sequence[int]) -> np.ndarray | None:
    """The numbers of `read_sample_groups`, found at once; None if it takes a closer look at some group."""
    members = [list(chain.from_iterable(sets)) for sets in groups]
    sizes = [len(part) for sets in groups for part in sets]
    flat = list(chain.from_iterable(members))
    are_indices = all(issubclass(kind, int) and kind is not bool for kind in set(map(type, flat)))
    if not are_indices:
        return None
    lengths, limits = np.array(list(map(len, members)), np.int64), np.array(counts, np.int64)
    try:
        indices = np.array(flat, np.int64)
    except OverflowError:  # no index has so many digits
        return None
    if ((indices < 0) | (indices >= np.repeat(limits, lengths))).any():
        return None
    numbers = np.full(sum(counts), -1, np.int64)
    numbers[indices + np.repeat(np.cumsum(limits) - limits, lengths)] = np.repeat(np.arange(len(sizes)), sizes)
    # A fact in two groups has one number.
    return numbers if np.count_nonzero(numbers >= 0) == len(indices) else None


def _own_tags(rule: ir.Rule) -> tuple[ir.Expression, ...]:
    """The tag of a rule, or that of an alternative of its head."""
    if rule.choice is not None and rule.choice.probabilities:
        return (rule.choice.probabilities[rule.choice.alternative],)
    return () if rule.tag is None else (rule.tag,)


def _is_outside(tag: object) -> bool:
    return isinstance(tag, float | int) and not isinstance(tag, bool) and not -ROUNDING <= tag <= 1 + ROUNDING


def _facts_outside(facts: FactTable) -> Iterator[tuple[Any, tuple]]:
    """The facts whose tag is outside [0, 1]: tag and tuple."""
    tags = facts.tags
    if not isinstance(tags, Column) or tags.distinct is not None:
        yield from ((tag, values) for tag, values in zip(tags, facts.tuples, strict=True) if _is_outside(tag))
    elif tags.array.dtype != np.bool_:
        is_outside = ((tags.array < -ROUNDING) | (tags.array > 1 + ROUNDING)) & ~tags.is_missing
        for place in np.flatnonzero(is_outside).tolist():
            yield tags[place], facts.tuples[place]


def _first(found: Sequence[Diagnostic], hint: str) -> Diagnostic | None:
    """The first of the problems, with the number of the others."""
    if not found:
        return None
    others = len(found) - 1
    more = f"; there {'is 1 more' if others == 1 else f'are {others} more'}" if others else ""
    return Diagnostic(found[0].message + more, found[0].span, hint)
