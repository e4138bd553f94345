"""Samples side by side: relations whose facts differ from sample to sample get the sample as their first column.

The ground program of a batch is then the disjoint union of those of its samples: no rule joins tuples of two samples.
"""

from collections.abc import Collection
from dataclasses import replace

from scallax.language import ir
from scallax.language.values import ValueType
from scallax.planner.enumeration import creates_terms
from scallax.planner.strata import read_relations

# The relation of all samples of a batch, so that one without any fact has its counts and negations too.
SAMPLES = "#samples"
# The variable of the sample in lifted rules; of a lifted aggregate's keys it is the first.
SAMPLE = "#sample"
_SAMPLE = ir.Variable(SAMPLE, ValueType.USIZE)


def lift(program: ir.Program, sampled: Collection[str]) -> tuple[ir.Program, frozenset[str]]:
    """The program over samples side by side, and the relations that have a sample column.

    `sampled` are the relations whose facts are given for each sample; relations that depend on them differ from sample
    to sample too. The lists of known terms are among these if facts of samples contain terms, or terms are made from
    them. Facts of the program hold in every sample. Rules keep their places.
    """
    lifted = _depending(program, frozenset(sampled))
    lifter = _Lifter(program, lifted)
    rules = [lifter.lift_rule(rule) if rule.relation in lifted else rule for rule in program.rules]
    relations = [
        replace(relation, columns=(ValueType.USIZE, *relation.columns), names=(None, *relation.names))
        if relation.name in lifted
        else relation
        for relation in program.relations
    ]
    relations += [ir.Relation(SAMPLES, (ValueType.USIZE,), (None,), hidden=True), *lifter.relations.values()]
    program = replace(program, relations=tuple(relations), rules=(*rules, *lifter.rules))
    return program, lifted | {SAMPLES} | lifter.lifted_copies


def _depending(program: ir.Program, sampled: frozenset[str]) -> frozenset[str]:
    """The sampled relations and all that depend on them.

    All heads of one choice belong together, and so do the lists of terms, which depend on every fact that has terms and
    every rule that makes some.
    """
    lifted = set(sampled)
    listings = {relation.name for relation in program.relations if relation.constructor is not None}
    makers = {rule.relation for rule in program.rules if listings and creates_terms(rule, program.library)}
    makers |= {schema.name for schema in program.relations if schema.name in sampled and _has_terms(schema)}
    choices: set[int] = set()
    while True:
        before = len(lifted), len(choices)
        for rule in program.rules:
            is_chosen = rule.choice is not None and rule.choice.number in choices
            if is_chosen or not lifted.isdisjoint(read_relations(rule)):
                lifted.add(rule.relation)
            if rule.choice is not None and rule.relation in lifted:
                choices.add(rule.choice.number)
        if not makers.isdisjoint(lifted):
            lifted |= listings
        if before == (len(lifted), len(choices)):
            return frozenset(lifted)


def _has_terms(relation: ir.Relation) -> bool:
    return ValueType.ENTITY in relation.columns


class _Lifter:
    """Rewrites rules; `rules` and `relations` are those that the rewriting adds."""

    def __init__(self, program: ir.Program, lifted: frozenset[str]):
        self.lifted = lifted
        self.schemas = {relation.name: relation for relation in program.relations}
        self.rules: list[ir.Rule] = []
        self.relations: dict[str, ir.Relation] = {}
        self.lifted_copies: set[str] = set()

    def lift_rule(self, rule: ir.Rule) -> ir.Rule:
        """The rule for each sample."""
        if len(rule.body) == 1 and isinstance(rule.body[0], ir.Reduce):
            body: tuple[ir.BodyLiteral, ...] = (self._lift_reduce(rule.body[0]),)
        else:
            body = tuple(self._lift_literal(literal) for literal in rule.body)
            if not any(isinstance(part, ir.Atom) and part.relation in self.lifted for part in body):
                body = (*body, ir.Atom(SAMPLES, (_SAMPLE,), rule.span))
        choice = rule.choice
        if choice is not None:
            choice = replace(choice, bindings=(_SAMPLE, *choice.bindings))
        return replace(rule, head=(_SAMPLE, *rule.head), body=body, choice=choice)

    def _lift_literal(self, literal: ir.BodyLiteral) -> ir.BodyLiteral:
        if isinstance(literal, ir.Atom | ir.NegatedAtom) and literal.relation in self.lifted:
            return replace(literal, terms=(_SAMPLE, *literal.terms))
        return literal

    def _lift_reduce(self, reduce: ir.Reduce) -> ir.Reduce:
        if reduce.body in self.lifted:
            reduce = replace(reduce, keys=(_SAMPLE, *reduce.keys))
            if reduce.domain is None and len(reduce.keys) == 1:
                # One group for each sample, which may be empty.
                return replace(reduce, domain=SAMPLES, groups=(_SAMPLE, *reduce.groups))
        if reduce.domain is not None and reduce.domain not in self.lifted:
            return replace(reduce, domain=self._lifted_copy(reduce.domain), groups=(_SAMPLE, *reduce.groups))
        return replace(reduce, groups=(_SAMPLE, *reduce.groups))

    def _lifted_copy(self, name: str) -> str:
        """A relation with the same tuples for each sample."""
        copy = f"#each {name}"
        if copy not in self.relations:
            schema = self.schemas[name]
            columns = (ValueType.USIZE, *schema.columns)
            self.relations[copy] = ir.Relation(copy, columns, (None,) * len(columns), hidden=True)
            self.lifted_copies.add(copy)
            variables = tuple(ir.Variable(f"#{i}", type) for i, type in enumerate(schema.columns))
            body = (ir.Atom(name, variables), ir.Atom(SAMPLES, (_SAMPLE,)))
            self.rules.append(ir.Rule(copy, (_SAMPLE, *variables), body))
        return copy
