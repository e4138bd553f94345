"""Changes of a program that change no answer: which tuples are possible, and which of these are certain."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from scallax.errors import GroundingError
from scallax.grounding.derivations import ONE
from scallax.grounding.fixpoint import ground
from scallax.language import ir
from scallax.planner.plan import plan
from scallax.planner.rewrite import substitute
from tests.nightly import with_rest_at_night
from tests.random_programs import Case, random_case

Tuples = dict[str, dict[tuple, bool]]
Change = Callable[[np.random.Generator, Case], Case]


def answers(case: Case, outputs: list[str]) -> Tuples:
    """The tuples of each relation, with whether they are certain."""
    facts, literals = case.fact_sets()
    grounding = ground(plan(case.program, outputs), facts, literals)
    return {
        name: dict(zip(grounding.tuples(name), (grounding.operands(name) == ONE).tolist(), strict=True))
        for name in outputs
    }


def with_rules(case: Case, rules: list[ir.Rule]) -> Case:
    return replace(case, program=replace(case.program, rules=tuple(rules)))


def add_redundant_subgoals(rng: np.random.Generator, case: Case) -> Case:
    """An atom again, or less of it: any of its terms as a wildcard."""
    rules = []
    for rule in case.program.rules:
        atom = pick(rng, [literal for literal in rule.body if isinstance(literal, ir.Atom)])
        terms = tuple(ir.Wildcard(term.type) if rng.random() < 0.4 else term for term in atom.terms)
        body = list(rule.body)
        body.insert(rng.integers(len(body) + 1), replace(atom, terms=terms))
        rules.append(replace(rule, body=tuple(body)))
    return with_rules(case, rules)


def duplicate_rules(rng: np.random.Generator, case: Case) -> Case:
    rules = list(case.program.rules)
    for rule in case.program.rules:
        if rng.random() < 0.5:
            rules.insert(rng.integers(len(rules) + 1), rule)
    return with_rules(case, rules)


def reorder(rng: np.random.Generator, case: Case) -> Case:
    """Rules, and the literals of their bodies."""
    rules = [
        replace(rule, body=tuple(rule.body[i] for i in rng.permutation(len(rule.body)))) for rule in case.program.rules
    ]
    return with_rules(case, [rules[i] for i in rng.permutation(len(rules))])


def rename_variables(rng: np.random.Generator, case: Case) -> Case:
    rules = []
    for rule in case.program.rules:
        names = sorted(variables_of(rule))
        # Among the new names are old ones.
        new = [[*names, "a", "b"][i] for i in rng.permutation(len(names) + 2)[: len(names)]]
        rules.append(rename(rule, dict(zip(names, new, strict=True))))
    return with_rules(case, rules)


def split_rules(rng: np.random.Generator, case: Case) -> Case:
    """Some of the atoms go to a relation of their own, of all their variables."""
    relations, rules = list(case.program.relations), []
    for i, rule in enumerate(case.program.rules):
        moved = [literal for literal in rule.body if isinstance(literal, ir.Atom) and rng.random() < 0.6]
        if not moved:
            rules.append(rule)
            continue
        variables = {term.name: term for atom in moved for term in atom.terms if isinstance(term, ir.Variable)}
        head = tuple(replace(variable, span=None) for variable in variables.values())
        relations.append(ir.Relation(f"part{i}", tuple(v.type for v in head), (None,) * len(head)))
        rest = tuple(literal for literal in rule.body if not any(literal is atom for atom in moved))
        rules.append(ir.Rule(f"part{i}", head, tuple(moved)))
        rules.append(replace(rule, body=(ir.Atom(f"part{i}", head), *rest)))
    program = replace(case.program, relations=tuple(relations), rules=tuple(rules))
    return replace(case, program=program)


def variables_of(rule: ir.Rule) -> set[str]:
    names = set()
    for literal in rule.body:
        match literal:
            case ir.Constraint(condition=condition):
                names |= {part.name for part in parts(condition) if isinstance(part, ir.Variable)}
            case ir.Reduce():
                raise AssertionError("these programs have no aggregates")
            case _:
                names |= {term.name for term in literal.terms if isinstance(term, ir.Variable)}
    return names


def parts(expression: ir.Expression) -> Iterator[ir.Expression]:
    yield expression
    if isinstance(expression, ir.Binary):
        yield from parts(expression.left)
        yield from parts(expression.right)


def rename(rule: ir.Rule, names: dict[str, str]) -> ir.Rule:
    def term(old: ir.Term) -> ir.Term:
        return replace(old, name=names[old.name]) if isinstance(old, ir.Variable) else old

    def literal(old: ir.BodyLiteral) -> ir.BodyLiteral:
        if isinstance(old, ir.Constraint):
            return replace(old, condition=expression(old.condition))
        assert not isinstance(old, ir.Reduce), "these programs have no aggregates"
        return replace(old, terms=tuple(map(term, old.terms)))

    def expression(old: ir.Expression) -> ir.Expression:
        found = {part.name: part for part in parts(old) if isinstance(part, ir.Variable)}
        return substitute(old, {name: replace(found[name], name=names[name]) for name in found})

    return replace(rule, head=tuple(map(expression, rule.head)), body=tuple(map(literal, rule.body)))


def pick(rng: np.random.Generator, items: list):
    return items[rng.integers(len(items))]


CHANGES: list[Change] = [add_redundant_subgoals, duplicate_rules, reorder, rename_variables, split_rules]


def check(seed: int) -> None:
    """One random program under each change by itself, then under all of them."""
    case = random_case(seed, negation=seed % 2 == 0, num_literals=seed % 4)
    outputs = [relation.name for relation in case.program.relations]
    expected = answers(case, outputs)
    rng = np.random.default_rng(seed)
    together = case
    for change in CHANGES:
        assert answers(change(rng, case), outputs) == expected, f"seed {seed}: {change.__name__}\n{case.program}"
        together = change(rng, together)
    assert answers(together, outputs) == expected, f"seed {seed}: all changes\n{case.program}"
    check_renamed_relations(case, expected, seed)
    output = pick(rng, outputs)
    assert answers(case, [output]) == {output: expected[output]}, f"seed {seed}: `{output}` alone\n{case.program}"


def bind(rng: np.random.Generator, case: Case, relation: str) -> tuple[Case, list[int | None]]:
    """The case with a relation `bound`: those tuples of a relation that have given values in some columns."""
    arity = next(len(each.columns) for each in case.program.relations if each.name == relation)
    type = next(each.columns[0] for each in case.program.relations if each.name == relation)
    values = [int(rng.integers(0, 4)) if rng.random() < 0.6 else None for _ in range(arity)]
    head = tuple(
        ir.Variable(f"v{i}", type) if value is None else ir.Constant(value, type) for i, value in enumerate(values)
    )
    relations = (*case.program.relations, ir.Relation("bound", (type,) * arity, (None,) * arity))
    rules = (*case.program.rules, ir.Rule("bound", head, (ir.Atom(relation, head),)))
    return replace(case, program=replace(case.program, relations=relations, rules=rules)), values


def check_demand(seed: int) -> bool:
    """A bound query gives what it keeps of the whole relation; whether anything was asked for."""
    case = random_case(seed, negation=seed % 3 != 0, num_literals=seed % 4, computes=seed % 5 == 0)
    rng = np.random.default_rng(seed)
    asked = False
    for relation in ("p", "q", "r", "s"):
        bound, values = bind(rng, case, relation)
        try:
            whole = answers(bound, [each.name for each in bound.program.relations])
        except GroundingError:
            continue  # One of ten thousand programs has a rule of more rows than grounding may join.
        expected = {
            found: certain
            for found, certain in whole[relation].items()
            if all(value is None or value == given for value, given in zip(values, found, strict=True))
        }
        assert answers(bound, ["bound"]) == {"bound": expected}, f"seed {seed}: `{relation}`\n{bound.program}"
        asked |= any(ir.is_demand(each.name) for each in plan(bound.program, ["bound"]).relations)
    return asked


def check_renamed_relations(case: Case, expected: Tuples, seed: int) -> None:
    """Names order what planning leaves open: new ones turn it around."""
    names = {relation.name: f"z{9 - i}" for i, relation in enumerate(case.program.relations)}

    def literal(old: ir.BodyLiteral) -> ir.BodyLiteral:
        return replace(old, relation=names[old.relation]) if isinstance(old, ir.Atom | ir.NegatedAtom) else old

    rules = [
        replace(rule, relation=names[rule.relation], body=tuple(map(literal, rule.body))) for rule in case.program.rules
    ]
    relations = [replace(relation, name=names[relation.name]) for relation in reversed(case.program.relations)]
    renamed = Case(
        replace(case.program, relations=tuple(relations), rules=tuple(rules)),
        {names[name]: tuples for name, tuples in case.facts.items()},
        {names[name]: uncertain for name, uncertain in case.uncertain.items()},
    )
    found = answers(renamed, list(names.values()))
    assert {name: found[names[name]] for name in names} == expected, f"seed {seed}: renamed\n{case.program}"


@pytest.mark.parametrize("block", with_rest_at_night(range(4), range(1)))
def test_changes_that_keep_the_meaning_keep_the_answers(block: int):
    for seed in range(50 * block, 50 * (block + 1)):
        check(seed)


def test_bound_queries_give_what_the_whole_relation_has():
    assert sum(check_demand(seed) for seed in range(60)) > 20


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(20))
def test_bound_queries_of_many_programs(block: int):
    for seed in range(1_000 + 500 * block, 1_500 + 500 * block):
        check_demand(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(100))
def test_changes_keep_the_answers_of_many_programs(block: int):
    for seed in range(1_000 + 100 * block, 1_100 + 100 * block):
        check(seed)
