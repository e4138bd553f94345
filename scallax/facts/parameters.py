"""Trainable tags: which facts and rules of a program have one, and the logits that stand for the written numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

import numpy as np

from scallax.errors import Diagnostic, InputError, Span
from scallax.facts.fact_table import FactTable
from scallax.grounding.expressions import Evaluation
from scallax.grounding.symbols import Symbols
from scallax.language import ir
from scallax.language.bindings import is_bound
from scallax.language.records import record
from scallax.language.values import Value

# Written probabilities are moved this far from 0 and 1, where logits are infinite.
_MARGIN = 1e-6


@record
class Parameter:
    """One array of logits, float32.

    `relation.facts` `[facts + residuals]`: the relation's facts, the program's before Python's, in written order, then
    one logit for the residual outcome of each exclusive set whose numbers add up to less than 1. `relation.rules.n`
    `[]`: the relation's tagged rule number n, in written order from 0. `relation.choices.n` `[alternatives +
    residual]`: the alternatives of the trained rule number n whose head begins with the relation and has probabilities,
    then one logit for none of them, if they add up to less than 1. Those come last.
    """

    name: str
    initial: np.ndarray
    num_facts: int


@record
class Parameters:
    """All parameters of a program; a position is an index into their concatenation, in the order of `arrays`.

    `groups` int64 `[logits]`: logits of one number are normalised together, those of -1 are independent.
    `facts` gives by relation the positions of its facts in order, `rules` by index in the program that of a rule's tag,
    `choices` by number that of the first alternative.
    """

    arrays: tuple[Parameter, ...] = ()
    groups: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    facts: Mapping[str, np.ndarray] = field(default_factory=dict)
    rules: Mapping[int, int] = field(default_factory=dict)
    choices: Mapping[int, int] = field(default_factory=dict)


NO_PARAMETERS = Parameters()


def find_parameters(
    program: ir.Program, given: Sequence[FactTable], relations: Sequence[str], keeps_bool_tags: bool
) -> Parameters:
    """The parameters of the relations, which the program has, in their order: facts, then rules.

    A boolean tag is a number only if the provenance `keeps_bool_tags`. InputError, with every problem: an untagged
    fact, a tag that is no constant, a relation with nothing to train.
    """
    finder = _Finder(program, keeps_bool_tags)
    for relation in relations:
        finder.add_facts(relation, [facts for facts in given if facts.relation == relation])
        finder.add_rules(relation)
        finder.check_any(relation)
    finder.add_choices(relations)
    if finder.problems:
        raise InputError(*finder.problems)
    groups = np.concatenate([np.zeros(0, np.int64), *finder.groups])
    return Parameters(tuple(finder.arrays), groups, finder.facts, finder.rules, finder.choices)


@dataclass(slots=True)
class _Finder:
    program: ir.Program
    keeps_bool_tags: bool
    arrays: list[Parameter] = field(default_factory=list)
    groups: list[np.ndarray] = field(default_factory=list)
    facts: dict[str, np.ndarray] = field(default_factory=dict)
    rules: dict[int, int] = field(default_factory=dict)
    choices: dict[int, int] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)
    num_logits: int = 0
    num_groups: int = 0

    def add_facts(self, relation: str, given: Sequence[FactTable]) -> None:
        """The parameter of a relation's facts, if it has any."""
        written = [fact for fact in self.program.facts if fact.relation == relation]
        tags = [self.fact_tag(relation, fact.tag, fact.values, fact.span) for fact in written]
        sets = [-1 if fact.group is None else fact.group for fact in written]
        for facts in given:
            tags += [self.fact_tag(relation, t, v, None) for t, v in zip(facts.tags, facts.tuples, strict=True)]
            sets += [-1] * len(facts.tuples)
        if tags:
            first = self.num_logits
            self.facts[relation] = np.arange(first, first + len(tags))
            self.add(f"{relation}.facts", *self.fact_logits(np.array(tags), np.array(sets)), num_facts=len(tags))

    def add_rules(self, relation: str) -> None:
        """A parameter for each tagged rule of the relation as written: its alternatives share it."""
        positions: dict[Span | None, int] = {}
        for index, rule in enumerate(self.program.rules):
            if rule.relation != relation or rule.tag is None:
                continue
            if rule.span not in positions:
                tag = self.rule_tag(relation, rule.tag)
                positions[rule.span] = self.num_logits
                logit = np.float32(_logit(np.array(tag)))
                self.add(f"{relation}.rules.{len(positions) - 1}", np.array(logit), np.array([-1]), num_facts=0)
            self.rules[index] = positions[rule.span]

    def add_choices(self, relations: Sequence[str]) -> None:
        """A parameter for each rule that has one of the relations among its alternatives with probabilities."""
        heads: dict[int, list[str]] = {}
        for rule in self.program.rules:
            if _is_random(rule.choice):
                heads.setdefault(rule.choice.number, []).append(rule.relation)
        counts: dict[str, int] = {}
        for rule in self.program.rules:
            choice = rule.choice
            if (
                not _is_random(choice)
                or choice.number in self.choices
                or not set(heads[choice.number]) & set(relations)
            ):
                continue
            first = heads[choice.number][0]
            tags = [self.rule_tag(first, tag) for tag in choice.probabilities]
            self.choices[choice.number] = self.num_logits
            logits = self.fact_logits(np.array(tags), np.zeros(len(tags), np.int64))
            self.add(f"{first}.choices.{counts.get(first, 0)}", *logits, num_facts=len(tags))
            counts[first] = counts.get(first, 0) + 1

    def check_any(self, relation: str) -> None:
        """Reports a relation that has nothing to train."""
        rules = [rule for rule in self.program.rules if rule.relation == relation]
        if relation not in self.facts and not any(rule.tag is not None or _is_random(rule.choice) for rule in rules):
            hint = f"give a fact or a rule of `{relation}` a probability, or leave `{relation}` out of `trainable`"
            self.problems.append(Diagnostic(f"`{relation}` has no tagged fact and no tagged rule to train", hint=hint))

    def add(self, name: str, logits: np.ndarray, groups: np.ndarray, num_facts: int) -> None:
        self.arrays.append(Parameter(name, logits, num_facts))
        self.groups.append(groups)
        self.num_logits += len(groups)

    def fact_logits(self, tags: np.ndarray, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and groups of facts of which equal numbers in `sets` exclude each other, then of the residuals."""
        logits = _logit(tags)
        groups = np.full(len(tags), -1)
        residuals, residual_groups = [], []
        for number in np.unique(sets[sets >= 0]):
            members = sets == number
            logits[members] = np.log(_clip(tags[members]))
            groups[members] = self.num_groups
            residual = 1 - tags[members].sum()
            if residual > _MARGIN:
                residuals.append(np.log(residual))
                residual_groups.append(self.num_groups)
            self.num_groups += 1
        logits = np.concatenate([logits, residuals])
        return logits.astype(np.float32), np.concatenate([groups, residual_groups]).astype(np.int64)

    def fact_tag(self, relation: str, tag: float | bool | None, values: tuple[Value, ...], span: Span | None) -> float:
        if tag is None or (isinstance(tag, bool) and not self.keeps_bool_tags):
            shown = f"`{relation}({', '.join(map(repr, values))})`"
            message = f"the fact {shown} of the trainable relation `{relation}` has no probability"
            self.problems.append(Diagnostic(message, span, "give it one, such as `0.5::`"))
            return 0.5
        return float(tag)

    def rule_tag(self, relation: str, tag: ir.Expression) -> float:
        """The number that a tag without variables stands for."""
        rule = f"this rule of the trainable relation `{relation}`"
        if not is_bound(tag, ()):
            hint = "a trainable tag is one number: write a constant"
            self.problems.append(Diagnostic(f"the tag of {rule} depends on variables", tag.span, hint))
            return 0.5
        value = Evaluation({}, 1, Symbols(), tag.span).native(tag)[0]
        if np.isnan(value) or (isinstance(value, np.bool_) and not self.keeps_bool_tags):
            hint = "write a number, such as `0.5`"
            self.problems.append(Diagnostic(f"the tag of {rule} is no probability", tag.span, hint))
            return 0.5
        return float(value)


def _is_random(choice: ir.Choice | None) -> TypeGuard[ir.Choice]:
    return choice is not None and len(choice.probabilities) > 0


def _clip(p: np.ndarray) -> np.ndarray:
    return np.clip(p, _MARGIN, 1 - _MARGIN)


def _logit(p: np.ndarray) -> np.ndarray:
    p = _clip(p.astype(np.float64))
    return np.log(p) - np.log1p(-p)
