"""Common prefixes of pipelines: joins with which several rules begin are computed once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from scallax.language import ir
from scallax.language.predicates import makes_literals
from scallax.language.records import record
from scallax.planner.algebra import (
    AntiJoin,
    Argument,
    Destructure,
    Extend,
    Generate,
    Join,
    Pipeline,
    Reduce,
    Select,
    Step,
)
from scallax.planner.rewrite import substitute


@record
class Beginning:
    """The first steps of a pipeline, which other pipelines share.

    `key` holds the steps with variables and body positions numbered in order of appearance. Equal keys, which are one
    object, give equal tables in one round, except for these names. `names` and `literals` are the pipeline's own, by
    number.
    """

    key: tuple[tuple[Step, str], ...]
    names: tuple[str, ...]
    literals: tuple[int, ...]

    @property
    def num_steps(self) -> int:
        return len(self.key)


def find_beginnings(pipelines: Sequence[Pipeline]) -> list[Beginning | None]:
    """For each pipeline, the longest beginning of at least two steps that another one shares; None if there is none.

    A beginning ends before steps whose rows are literals, because every rule has literals of its own.
    """
    if len(pipelines) < 2:
        return [None] * len(pipelines)
    numbered = [_number(pipeline) for pipeline in pipelines]
    counts = Counter(key[:end] for key, _, _ in numbered for end in range(2, len(key) + 1))
    beginnings: list[Beginning | None] = []
    keys: dict[tuple[tuple[Step, str], ...], tuple[tuple[Step, str], ...]] = {}
    for key, names, literals in numbered:
        end = max((end for end in range(2, len(key) + 1) if counts[key[:end]] > 1), default=0)
        key = keys.setdefault(key[:end], key[:end])
        beginnings.append(Beginning(key, names[end - 1], literals[end - 1]) if end else None)
    return beginnings


_Numbered = tuple[tuple[tuple[Step, str], ...], list[tuple[str, ...]], list[tuple[int, ...]]]


def _number(pipeline: Pipeline) -> _Numbered:
    """The steps before the first that makes literals, with numbered names, and all names and positions after each."""
    numbering = _Numbering()
    steps: list[tuple[Step, str]] = []
    names: list[tuple[str, ...]] = []
    literals: list[tuple[int, ...]] = []
    for step in pipeline.steps:
        if isinstance(step, Reduce) or (isinstance(step, Generate) and makes_literals(step.predicate)):
            break
        numbered = numbering.step(step)
        # The text is compared as well, because 0.0 equals -0.0.
        steps.append((numbered, str(numbered)))
        names.append(tuple(numbering.names))
        literals.append(tuple(numbering.literals))
    return tuple(steps), names, literals


@dataclass(slots=True)
class _Numbering:
    """Numbers objects in order of appearance."""

    names: dict[str, str] = field(default_factory=dict)
    literals: list[int] = field(default_factory=list)

    def step(self, step: Step) -> Step:
        match step:
            case Join(key=key, fresh=fresh):
                key, fresh = self._key(key), self._fresh(fresh)
                return replace(step, literal=self._literal(step.literal), key=key, fresh=fresh, keep=self._keep(step))
            case AntiJoin(key=key, computed=computed):
                key, computed = self._key(key), tuple(map(self._expression, computed))
                literal = self._literal(step.literal)
                return replace(step, literal=literal, key=key, computed=computed, keep=self._keep(step))
            case Generate(inputs=inputs, bound=bound, fresh=fresh, computed=computed):
                inputs, computed = tuple(map(self._argument, inputs)), tuple(map(self._expression, computed))
                bound, fresh = self._key(bound), self._fresh(fresh)
                step = replace(step, literal=self._literal(step.literal), inputs=inputs, bound=bound, fresh=fresh)
                return replace(step, computed=computed, keep=self._keep(step))
            case Select(condition=condition):
                return replace(step, condition=self._expression(condition), keep=self._keep(step))
            case Extend(variable=variable, expression=expression):
                expression = self._expression(expression)
                variable = replace(variable, name=self._name(variable.name))
                return replace(step, variable=variable, expression=expression, keep=self._keep(step))
            case Destructure(subject=subject, key=key, fresh=fresh):
                subject, key, fresh = self._argument(subject), self._key(key), self._fresh(fresh)
                return replace(step, subject=subject, key=key, fresh=fresh, keep=self._keep(step))
            case Reduce():
                raise AssertionError("aggregates are not shared")
            case _:
                assert_never(step)

    def _name(self, name: str) -> str:
        return self.names.setdefault(name, str(len(self.names)))

    def _literal(self, position: int) -> int:
        self.literals.append(position)
        return len(self.literals) - 1

    def _argument(self, argument: Argument) -> Argument:
        return replace(argument, name=self._name(argument.name)) if isinstance(argument, ir.Variable) else argument

    def _key(self, key: tuple[tuple[int, Argument], ...]) -> tuple[tuple[int, Argument], ...]:
        return tuple((column, self._argument(argument)) for column, argument in key)

    def _fresh(self, fresh: tuple[tuple[int, str], ...]) -> tuple[tuple[int, str], ...]:
        return tuple((column, self._name(name)) for column, name in fresh)

    def _expression(self, expression: ir.Expression) -> ir.Expression:
        variables = {part.name: part for part in ir.parts(expression) if isinstance(part, ir.Variable)}
        return substitute(expression, {name: replace(part, name=self._name(name)) for name, part in variables.items()})

    def _keep(self, step: Step) -> tuple[str, ...]:
        return tuple(sorted(self._name(name) for name in step.keep))
