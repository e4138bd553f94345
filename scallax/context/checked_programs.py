"""Programs and drafts as checked programs: how their facts are given to grounding, and how their tags are read."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from scallax.context.options import Options
from scallax.evaluation.derived_program import CheckedProgram
from scallax.facts.fact_table import FactTable
from scallax.facts.files import read_files
from scallax.facts.mappings import fit_rows
from scallax.language import ir
from scallax.language.columns import Column, Rows
from scallax.language.tensors import TensorInputs
from scallax.language.values import ValueType
from scallax.provenance.traits import AbstractSemantics, traits_of


@final
class Truth(AbstractSemantics):
    """The provenance of programs whose tuples hold or do not, as grounding finds them: nothing is evaluated.

    It has the traits of `unit`, and does not import JAX.
    """

    traits = traits_of("unit")


@dataclass(frozen=True, slots=True)
class TagKinds:
    """The kinds of tags of facts: arrays, inputs and constants.

    `is_array` says which are arrays of a framework, `is_input` which are inputs of an evaluation rather than constants
    of the program. `has_groups`: exclusive groups count, so that certain facts in one are inputs as well.
    """

    is_array: Callable[[object], bool]
    is_input: Callable[[object], bool]
    has_groups: bool = True

    @staticmethod
    def of(options: Options, is_array: Callable[[object], bool]) -> "TagKinds":
        """The kinds of tags under the provenance of the options."""
        if options.is_discrete:
            return TagKinds(is_array, _never)
        if options.takes_objects:
            return TagKinds(is_array, _is_tag, has_groups=False)
        # Proofs are read by inputs.
        return TagKinds(is_array, _is_tag if options.returns_proofs else is_array)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The tags that are inputs of an evaluation, in order, and the numbers of their facts, 0 for none.

    A tag is a scalar; an array of several stands for as many.
    """

    tags: list[Any]
    ids: list[int]

    def add(self, tags: Iterable[Any], ids: Iterable[int], kinds: TagKinds) -> None:
        """Adds the tags of facts as inputs: 1 for None, and a float for a tag that would be a constant by itself."""
        self.tags.extend(1.0 if tag is None else tag if kinds.is_input(tag) else float(tag) for tag in tags)
        self.ids.extend(ids)

    def add_array(self, tags: Any) -> None:
        """Adds an array of tags of facts without numbers."""
        self.tags.append(tags)
        self.ids.extend([0] * len(tags))


def check_facts(
    program: ir.Program,
    batches: Iterable[FactTable],
    options: Options,
    kinds: TagKinds,
    tensors: TensorInputs | None = None,
) -> tuple[CheckedProgram, Inputs]:
    """A program with the facts of its files and of batches, ready to be ground, and the tags that are its inputs.

    Facts of the batches fit the columns of their relations. `tensors` are those in facts, if gradients pass through
    some. InputError for files of facts that cannot be read or do not fit.
    """
    given, inputs = file_facts(program), Inputs([], [])
    for batch in batches:
        given += _give(batch, kinds, inputs)
    if options.provenance == "bool":
        program, given = _keep_true(program), [_drop_false(facts) for facts in given]
    provenance = Truth() if options.is_discrete else options.semantics()
    checked = CheckedProgram(
        program, given, provenance, iter_limit=options.iter_limit, limits=options.limits, tensors=tensors
    )
    return checked, inputs


def check_program(program: ir.Program, options: Options) -> CheckedProgram:
    """A program with the facts of its files, ready to be ground."""
    checked, _ = check_facts(program, (), options, TagKinds(_never, _never))
    return checked


def file_facts(program: ir.Program) -> list[FactTable]:
    """The facts of the program's files. InputError for a file that cannot be read, or for a fact that does not fit."""
    types = {relation.name: relation.columns for relation in program.relations}
    given = []
    for table in read_files(program):
        what = f"facts of `{table.relation}`"
        rows = Rows([Column.of(column) for column in table.columns], table.num_facts)
        given.append(table.fitted(fit_rows(rows, types[table.relation], what, program.variants)))
    return given


def _give(batch: FactTable, kinds: TagKinds, inputs: Inputs) -> list[FactTable]:
    """The facts of a batch as grounding takes them; adds their tags to the inputs if one of them is an input.

    Then the other tags are inputs too, so that the batch's groups stay together; facts that are certain and in no group
    are constants. Without inputs, tags that are arrays count as numbers.
    """
    if not batch.has_tag(kinds.is_input):
        return [batch.with_numbers(kinds.is_array)]
    array = batch.array_of_tags
    if array is not None:
        inputs.add_array(array)
        places = np.arange(len(inputs.ids) - batch.num_facts, len(inputs.ids))
        return [replace(batch, tag_parts=(), inputs=places, groups=batch.groups if kinds.has_groups else None)]
    groups = np.full(batch.num_facts, -1) if batch.groups is None or not kinds.has_groups else batch.groups
    are_inputs = ~batch.are_certain | (groups >= 0)
    certain, kept = (replace(batch.take(np.flatnonzero(rows)), groups=None) for rows in (~are_inputs, are_inputs))
    places = np.arange(len(inputs.ids), len(inputs.ids) + kept.num_facts)
    inputs.add(kept.tags, [0] * kept.num_facts if kept.ids is None else kept.ids.tolist(), kinds)
    given = [replace(certain, tag_parts=())] if certain.num_facts else []
    return [*given, replace(kept, tag_parts=(), inputs=places, groups=groups[are_inputs])]


def _never(tag: object) -> bool:
    return False


def _is_tag(tag: object) -> bool:
    return tag is not None


def _keep_true(program: ir.Program) -> ir.Program:
    """The program as `bool` reads its tags: without false facts, and without rows of rules with tag 0.

    A fact's tag that is a number counts as true.
    """
    facts = tuple(fact for fact in program.facts if fact.tag is not False)
    return replace(program, facts=facts, rules=tuple(map(_constrain_tag, program.rules)))


def _drop_false(facts: FactTable) -> FactTable:
    if not facts.has_tag(lambda tag: tag is False or tag is True):
        return facts
    return facts.take(np.array([row for row, tag in enumerate(facts.tags) if tag is not False], np.int64))


def _constrain_tag(rule: ir.Rule) -> ir.Rule:
    if rule.tag is None:
        return rule
    condition = rule.tag
    if condition.type is not ValueType.BOOL:
        zero = ir.Constant(0.0 if condition.type.is_float else 0, condition.type)
        condition = ir.Binary("!=", condition, zero, ValueType.BOOL, condition.span)
    return replace(rule, tag=None, body=(*rule.body, ir.Constraint(condition, condition.span)))
