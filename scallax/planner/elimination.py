"""Variable elimination: if a rule joins sums with further relations, equal sums of several facts are joined once.

`total(x + y + z) = a(x), b(y), c(z)` needs only the sum of x and y, so a hidden relation holds the sums. For n digits
there are 10^n combinations, but only 45 n^2 pairs of a sum and a digit. Abo Khamis, Ngo and Rudra, FAQ: Questions Asked
Frequently (PODS 2016), section 4: variables are eliminated one after the other, innermost sums first.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from scallax.language import ir
from scallax.language.bindings import atom_names, term_names, variable_names
from scallax.language.records import record
from scallax.language.values import ValueType
from scallax.planner.joins import can_fail

_ARITHMETIC = frozenset("+-*/%")
_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))


@record
class _Part:
    """An expression, and the body literals that are needed by nothing else than it and each other.

    Unless it `saturates`, bindings for which it leaves its type are of no use to the rule.
    """

    expression: ir.Binary
    body: tuple[ir.BodyLiteral, ...]
    saturates: bool


def eliminate_variables(program: ir.Program) -> ir.Program:
    """The program with relations for parts of rules that only one integer expression needs.

    The facts behind such a part and those behind the rest of the rule differ, because the relations are distinct and
    have no rules. So every tag stays the same if conjunction of such facts distributes over disjunction. Rules with
    tags or choices are left alone, because these tell the bindings of their variables apart. New rules come last.
    """
    derived = {rule.relation for rule in program.rules}
    relations, rules, added = list(program.relations), list(program.rules), []
    for index, rule in enumerate(program.rules):
        inner, part, depth = rule, _find_part(rule, derived), 0
        while part is not None:
            # The prefix of hidden relations, which no program can write.
            name = f"{rule.relation}#{index}.{depth}"
            relations.append(ir.Relation(name, (part.expression.type,), (None,), hidden=True))
            outer = _without(inner, part, name)
            if depth:
                added.append(outer)
            else:
                rules[index] = outer
            inner = _inside(part, name, rule)
            part, depth = _find_part(inner, derived), depth + 1
        if depth:
            added.append(inner)
    return replace(program, relations=tuple(relations), rules=(*rules, *added)) if added else program


def _inside(part: _Part, name: str, rule: ir.Rule) -> ir.Rule:
    """The rule of a part's hidden relation."""
    if part.saturates:
        return ir.Rule(name, (part.expression,), part.body, span=rule.span)
    value = ir.Variable(name, part.expression.type)
    equation = ir.Constraint(ir.Binary("==", value, part.expression, ValueType.BOOL), rule.span)
    return ir.Rule(name, (value,), (*part.body, equation), span=rule.span)


def _without(rule: ir.Rule, part: _Part, name: str) -> ir.Rule:
    """The rule with an atom of the hidden relation in the place of a part."""
    value = ir.Variable(name, part.expression.type)
    body: list[ir.BodyLiteral] = [ir.Atom(name, (value,))]
    for literal in rule.body:
        if isinstance(literal, ir.Constraint) and literal not in part.body:
            literal = replace(literal, condition=_replace(literal.condition, part.expression, value))
        if literal not in part.body:
            body.append(literal)
    return replace(rule, head=tuple(_replace(each, part.expression, value) for each in rule.head), body=tuple(body))


def _find_part(rule: ir.Rule, derived: Collection[str]) -> _Part | None:
    """The largest part of the body that can be eliminated."""
    if rule.tag is not None or rule.choice is not None or rule.is_certain:
        return None
    if not all(isinstance(literal, ir.Atom | ir.Constraint) for literal in rule.body):
        return None
    relations = [literal.relation for literal in rule.body if isinstance(literal, ir.Atom)]
    are_distinct = len(set(relations)) == len(relations)
    if len(relations) < 3 or not are_distinct or not set(relations).isdisjoint(derived):
        return None
    parts = [_part_of(rule, expression, saturates) for expression, saturates in _uses(rule).items()]
    return max((part for part in parts if part is not None), key=lambda part: len(part.body), default=None)


def _uses(rule: ir.Rule) -> dict[ir.Binary, bool]:
    """The sums in a rule, and whether all their uses saturate; none that holds where a sum leaves its type."""
    uses: dict[ir.Binary, bool] = {}
    excluded: set[ir.Binary] = set()
    for expression in rule.head:
        uses |= dict.fromkeys(_sums(expression), True)
    for literal in rule.body:
        match literal:
            case ir.Constraint(condition=ir.Binary(op="==" | "!=" as op) as condition, saturates=False):
                found = [*_sums(condition.left), *_sums(condition.right)]
                excluded.update(found if op == "!=" else ())
                uses |= dict.fromkeys(found, False)
            case ir.Constraint(condition=condition):
                uses = dict.fromkeys(_sums(condition), True) | uses
    return {expression: saturates for expression, saturates in uses.items() if expression not in excluded}


def _part_of(rule: ir.Rule, expression: ir.Binary, saturates: bool) -> _Part | None:
    """The part that an expression needs; None if it is all atoms or one, or another expression needs it too."""
    atoms = [literal for literal in rule.body if isinstance(literal, ir.Atom)]
    inside, names = _connected(atoms, variable_names(expression))
    if not 2 <= len(inside) < len(atoms):
        return None
    marker = ir.Variable("#", expression.type)
    conditions: list[ir.Constraint] = []
    needed: set[str] = set()
    for literal in rule.body:
        if isinstance(literal, ir.Constraint):
            if variable_names(literal.condition) <= names:
                conditions.append(literal)
            else:
                needed |= variable_names(_replace(literal.condition, expression, marker))
    for outer in rule.head:
        needed |= variable_names(_replace(outer, expression, marker))
    if not needed.isdisjoint(names):
        return None
    body = tuple(literal for literal in rule.body if literal in inside or literal in conditions)
    return _Part(expression, body, saturates)


def _connected(atoms: Sequence[ir.Atom], names: Collection[str]) -> tuple[list[ir.Atom], set[str]]:
    """The atoms that mention some variables, directly or through each other, and all variables of these atoms."""
    inside: list[ir.Atom] = []
    reached = set(names)
    while found := [atom for atom in atoms if atom not in inside and not reached.isdisjoint(term_names(atom.terms))]:
        inside += found
        reached |= atom_names(found)
    return inside, reached


def _sums(expression: ir.Expression) -> Iterator[ir.Binary]:
    """The integer subexpressions with two or more variables that are always computed, outermost first."""
    match expression:
        case ir.Binary(op=op) if op in _ARITHMETIC or op in _COMPARISONS:
            is_sum = op in _ARITHMETIC and expression.type.is_integer and len(variable_names(expression)) > 1
            # An expression may fail only for combinations that the rule itself meets.
            if is_sum and not can_fail(expression):
                yield expression
        case ir.Unary() | ir.Cast():
            pass
        case _:
            return
    for operand in ir.operands(expression):
        yield from _sums(operand)


def _replace(expression: ir.Expression, old: ir.Expression, new: ir.Variable) -> ir.Expression:
    """The expression with `new` in the place of `old`, where it is always computed."""
    if expression == old:
        return new
    if not isinstance(expression, ir.Binary | ir.Unary | ir.Cast):
        return expression
    return ir.with_operands(expression, lambda operand: _replace(operand, old, new))
