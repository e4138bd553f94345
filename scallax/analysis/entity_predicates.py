"""Foreign predicates that make terms are computed before anything is derived about these terms."""

from dataclasses import replace

from scallax.language import ir
from scallax.language.values import ValueType


def predict_first(program: ir.Program) -> ir.Program:
    """Gives each use of a predicate that makes terms a relation of its own, below those that depend on the terms.

    `answer(v) = question(q), parse(q, e), value(e, v)` asks for values of terms that exist only after `parse` has made
    them. So `parse` is called first, for the values of `question`. The relation of such a predicate has a `#made` in
    its name.
    """
    if not any(isinstance(literal, ir.Case) for rule in program.rules for literal in rule.body):
        return program
    relations, rules, added = [*program.relations], [], []
    for rule in program.rules:
        body = list(rule.body)
        for place, literal in enumerate(rule.body):
            if not isinstance(literal, ir.ForeignAtom) or not _makes_terms(literal):
                continue
            inputs = tuple(dict.fromkeys(term for term in literal.inputs if isinstance(term, ir.Variable)))
            binding = tuple(atom for atom in body if isinstance(atom, ir.Atom) and set(inputs) & set(atom.terms))
            is_bound = set(inputs) <= {term for atom in binding for term in atom.terms}
            if not is_bound or len(binding) + 1 == len(body):
                continue
            asked = ir.Atom(f"{literal.predicate}#asked{len(added)}", inputs, literal.span)
            made = ir.Atom(f"{literal.predicate}#made{len(added)}", literal.terms, literal.span)
            relations += [_relation_of(asked), _relation_of(made)]
            outputs = tuple(map(_named, literal.outputs, range(len(literal.outputs))))
            head = tuple(map(_named, (*literal.inputs, *outputs), range(len(literal.terms))))
            # The answer does not depend on who asks: only the tags of the predicate itself count in its relation.
            added.append(ir.Rule(asked.relation, inputs, binding, span=rule.span, is_certain=True))
            called = replace(literal, outputs=outputs)
            added.append(ir.Rule(made.relation, head, (asked, called), span=rule.span))
            body[place] = made
        rules.append(replace(rule, body=tuple(body)))
    return replace(program, relations=tuple(relations), rules=(*rules, *added))


def _named(term: ir.Term, number: int) -> ir.Variable | ir.Constant:
    """The term, with a fresh variable if it is a wildcard."""
    return ir.Variable(f"#{number}", term.type) if isinstance(term, ir.Wildcard) else term


def _relation_of(atom: ir.Atom) -> ir.Relation:
    columns = tuple(term.type for term in atom.terms)
    return ir.Relation(atom.relation, columns, (None,) * len(columns), hidden=True)


def _makes_terms(literal: ir.ForeignAtom) -> bool:
    return not literal.is_negated and any(term.type is ValueType.ENTITY for term in literal.outputs)
