"""Limits of grounding: when to give up on a program that would go on for ever, or grow too large."""

from dataclasses import dataclass, fields

from scallax.errors import Diagnostic, InputError, checks_calls


@checks_calls
@dataclass(frozen=True, slots=True)
class Limits:
    """When to give up: totals over all relations, rounds of one stratum, and seconds of one grounding.

    `characters` are those of all texts that differ, in facts and made by rules. The defaults end a recursion that
    would go on for ever in about a minute, and one that makes texts within 1 GB; there is no limit of seconds. A passed
    limit is a `GroundingError`. Limits are no part of a program: they are not saved with it.

    `environments` bounds what is known of facts that exclude each other, where only these end a recursion: the sets of
    choices that a tuple needs, and a thousand times as many in all. Beyond, derivations that no choice allows are
    followed as well; so the recursion may go on until it passes another limit, whose error says so.

    InputError for what is not a count or a number of seconds.
    """

    tuples: int = 50_000_000
    derivations: int = 200_000_000
    rounds: int = 100_000
    characters: int = 100_000_000
    environments: int = 1_000
    seconds: float | None = None

    def __post_init__(self):
        problems = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "seconds":
                # A NaN is no limit that anything passes.
                if value is not None and not (isinstance(value, int | float) and value >= 0):
                    problems.append(f"`Limits`: `seconds` is {value!r}; it must be a number of at least 0, or None")
            elif not isinstance(value, int) or isinstance(value, bool) or value < 0:
                problems.append(f"`Limits`: `{field.name}` is {value!r}; it must be an integer of at least 0")
        if problems:
            raise InputError(*problems)


DEFAULT_LIMITS = Limits()


def check_limits(limits: object) -> Limits:
    """The argument `limits` of a public door, the defaults for None. InputError for anything else."""
    if limits is None:
        return DEFAULT_LIMITS
    if not isinstance(limits, Limits):
        message = f"`limits` is {limits!r}"
        raise InputError(Diagnostic(message, hint="give `scallax.Limits(tuples=1_000_000, seconds=60)` or the like"))
    return limits


def raise_limit(name: str) -> str:
    """What to write to raise a limit, for a hint."""
    return f"raise the limit: `limits=scallax.Limits({name}=…)`, `--limit-{name}` on the command line"
