"""Facts as literals: the operand of each fact of a program and of the facts that are given to it.

Given: the facts of a program, tables of facts from Python, and the traits of a provenance. Handed on: for each fact
ONE, if it is certain, or a literal of its own, with its prior, its input or its parameter.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from scallax.facts.fact_table import FactTable
from scallax.facts.parameters import NO_PARAMETERS, Parameters
from scallax.grounding.derivations import CERTAIN_PRIOR, ONE, Literals, literal_operand
from scallax.grounding.fixpoint import FactSet
from scallax.language import ir
from scallax.language.columns import Column, Rows
from scallax.provenance.traits import Traits


def read_facts(
    program: ir.Program, traits: Traits, given: Sequence[FactTable], parameters: Parameters
) -> tuple[dict[str, FactSet], Literals]:
    """The facts of the program and the given ones, by relation, and their literals."""
    table = _LiteralBuilder(traits, {name: iter(places) for name, places in parameters.facts.items()})
    parts: dict[str, list[FactSet]] = {}
    for relation, part in table.add_all(program, given):
        parts.setdefault(relation, []).append(part)
    facts = {relation: _join_facts(of_relation) for relation, of_relation in parts.items()}
    return facts, table.literals()


def _join_facts(parts: Sequence[FactSet]) -> FactSet:
    """The facts of one relation, which come in parts."""
    # A part without facts may have no columns.
    filled = [part for part in parts if len(part.operands)]
    if len(filled) <= 1:
        return filled[0] if filled else parts[0]
    parts_of_column = zip(*(part.columns for part in filled), strict=True)
    columns = [Column.join([Column.of(part) for part in column]) for column in parts_of_column]
    return FactSet(columns, np.concatenate([part.operands for part in filled]))


def tag_facts(
    program: ir.Program, traits: Traits, given: Sequence[FactTable], parameters: Parameters = NO_PARAMETERS
) -> list[tuple[str, FactSet]]:
    """The facts of the program, then the given ones, with the operands that `ground_program` gives them."""
    table = _LiteralBuilder(traits, {name: iter(places) for name, places in parameters.facts.items()})
    return list(table.add_all(program, given))


def read_priors(traits: Traits, tags: Iterable[float | bool | None]) -> np.ndarray:
    """The priors of constant tags under a provenance: float64 `[tags]`, NaN for certain."""
    if isinstance(tags, Column) and tags.distinct is None:
        is_kept = traits.keeps_bool_tags if tags.array.dtype.kind == "b" else traits.keeps_number_tags
        return np.where(tags.is_missing | (not is_kept), np.nan, tags.array.astype(np.float64))
    read = traits.prior
    priors = [None if tag is None else read(tag if isinstance(tag, bool) else float(tag)) for tag in tags]
    # None becomes NaN, which no tag is.
    return np.array(priors, np.float64)


@dataclass(slots=True)
class _LiteralBuilder:
    """Gives facts their operands: ONE, or a literal of their own."""

    traits: Traits
    # For each trainable relation the parameters of its facts that are still to come.
    trained: dict[str, Iterator[int]]
    prior: list[np.ndarray] = field(default_factory=list)
    source: list[np.ndarray] = field(default_factory=list)
    group: list[np.ndarray] = field(default_factory=list)
    parameter: list[np.ndarray] = field(default_factory=list)
    num_literals: int = 0
    num_groups: int = 0

    def add_all(self, program: ir.Program, given: Sequence[FactTable]) -> Iterator[tuple[str, FactSet]]:
        """By relation the program's facts, then the given ones."""
        by_relation: dict[str, list[ir.Fact]] = {}
        for fact in program.facts:
            by_relation.setdefault(fact.relation, []).append(fact)
        self.num_groups = 1 + max((fact.group for fact in program.facts if fact.group is not None), default=-1)
        for relation, facts in by_relation.items():
            groups = np.array([-1 if fact.group is None else fact.group for fact in facts])
            operands = self._constants(relation, [fact.tag for fact in facts], groups)
            yield relation, FactSet(Rows.of([fact.values for fact in facts]).columns, operands)
        for facts in given:
            yield facts.relation, FactSet(facts.columns, self._operands(facts))

    def literals(self) -> Literals:
        none = np.zeros(0, np.int64)
        return Literals(
            np.concatenate([np.zeros(0), *self.prior]),
            *(np.concatenate([none, *parts]) for parts in (self.source, self.group, self.parameter)),
        )

    def _operands(self, facts: FactTable) -> np.ndarray:
        count = facts.num_facts
        groups = np.full(count, -1)
        if facts.groups is not None:
            given = np.asarray(facts.groups)
            groups = np.where(given >= 0, given + self.num_groups, -1)
            self.num_groups = max(self.num_groups, 1 + int(groups.max(initial=-1)))
        if facts.inputs is not None and self.traits.uses_tags:
            return self._literals(np.full(count, np.nan), groups, source=facts.inputs)
        return self._constants(facts.relation, facts.tags, groups)

    def _constants(self, relation: str, tags: Sequence[float | bool | None], groups: np.ndarray) -> np.ndarray:
        """The operands of facts with constant tags."""
        count = len(tags)
        if not self.traits.uses_tags:
            return np.full(count, ONE)
        if relation in self.trained:
            parameter = np.fromiter(islice(self.trained[relation], count), np.int64, count)
            return self._literals(np.full(count, np.nan), groups, parameter=parameter)
        prior = read_priors(self.traits, tags)
        if self.traits.uses_exclusion:
            prior[np.isnan(prior) & (groups >= 0)] = 1.0
        if not self.traits.is_absorptive:
            prior[np.isnan(prior)] = CERTAIN_PRIOR
        operands, own = np.full(count, ONE), ~np.isnan(prior)
        operands[own] = self._literals(prior[own], groups[own])
        return operands

    def _literals(
        self,
        prior: np.ndarray,
        groups: np.ndarray,
        *,
        source: np.ndarray | None = None,
        parameter: np.ndarray | None = None,
    ) -> np.ndarray:
        """The operands of as many literals, which are added."""
        none = np.full(len(prior), -1)
        self.prior.append(prior)
        self.source.append(none if source is None else np.asarray(source))
        self.group.append(groups)
        self.parameter.append(none if parameter is None else parameter)
        first = self.num_literals
        self.num_literals += len(prior)
        return np.asarray(literal_operand(np.arange(first, self.num_literals)))
