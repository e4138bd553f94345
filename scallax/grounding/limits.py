"""Limits of grounding: they end a program that does not terminate or grows too large."""

from dataclasses import fields

from scallax.errors import Diagnostic, InputError, checks_calls
from scallax.language.records import record


@checks_calls
@record
class Limits:
    """Bounds on one grounding. A passed bound ends the grounding with a `GroundingError`.

    The defaults end a recursion that does not terminate in about a minute, and one that makes texts before they take 1
    GB. There is no limit of seconds by default. Limits are not part of a program and are not saved with it.

    Args:
        tuples: The largest number of tuples, over all relations.
        derivations: The largest number of derivations, over all relations.
        rounds: The largest number of rounds in one stratum (one round applies every rule once).
        characters: The largest number of characters in all distinct texts, of facts and made by rules.
        environments: The largest number of sets of choices that one tuple may need, where exclusive facts alone end a
            recursion; all tuples together may need a thousand times as many. Beyond it, derivations that no choice
            allows are followed as well, so the recursion may go on until it passes another limit.
        seconds: The longest time of one grounding; None: no limit.

    Raises:
        InputError: A value is not a count or not a number of seconds; all such values are named.

    Example:
        >>> import scallax
        >>> limits = scallax.Limits(tuples=1_000)
        >>> context = scallax.Context(limits=limits)
        >>> context.add_program("rel n = {0}  rel n(i + 1) = n(i)")
        >>> context.run()
        Traceback (most recent call last):
        ...
        scallax.errors.GroundingError: ...
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
    """The argument `limits` of a public function; the defaults for None. InputError for anything else."""
    if limits is None:
        return DEFAULT_LIMITS
    if not isinstance(limits, Limits):
        message = f"`limits` is {limits!r}"
        raise InputError(Diagnostic(message, hint="give `scallax.Limits(tuples=1_000_000, seconds=60)` or the like"))
    return limits


def raise_limit(name: str) -> str:
    """The text of a hint that tells how to raise a limit."""
    return f"raise the limit: `limits=scallax.Limits({name}=…)`, `--limit-{name}` on the command line"
