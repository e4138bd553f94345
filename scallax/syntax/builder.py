"""Turns parse trees of items into the syntax tree, and settles or refuses what the grammar leaves open."""

import re
from collections.abc import Sequence
from typing import Any

from scallax.errors import Diagnostic, ParseError, Source, Span
from scallax.language.times import parse_datetime, parse_duration
from scallax.syntax import ast
from scallax.syntax.ast import ConstantKind
from scallax.syntax.tokens import Token, Tree

_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "0": "\0", '"': '"', "'": "'", "\\": "\\"}
_CONJUNCTIVE, _DISJUNCTIVE = False, True

# A `Tree` or a `Token`, or None for an optional part that is absent: the tree does not say which child is which.
_Node = Any


def build_item(source: Source, tree: _Node) -> ast.Item:
    """The item of a parse tree. ParseError for constructs that the grammar accepts but the language does not."""
    *attributes, declaration = tree.children
    builder = _Builder(source)
    if attributes and declaration.data == "evidence_item":
        hint = "attributes belong to relations and queries"
        raise builder.error("an attribute stands before evidence", attributes[0], hint)
    return ast.Item(builder.declaration(declaration), tuple(map(builder.attribute, attributes)))


class _Builder:
    """Builds the items of one source, with a method for each kind of node."""

    def __init__(self, source: Source):
        self.source = source

    def span(self, part: _Node) -> Span:
        return Span(self.source, part.start, part.end)

    def error(self, message: str, part: _Node, hint: str | None = None) -> ParseError:
        return ParseError(Diagnostic(message, self.span(part), hint))

    # Items

    def attribute(self, tree: _Node) -> ast.Attribute:
        name, arguments = tree.children
        parts = [] if arguments is None else _parts(arguments)
        return ast.Attribute(str(name), tuple(map(self.attribute_argument, parts)), self.span(tree))

    def attribute_argument(self, tree: _Node) -> ast.AttributeArgument:
        keyword, value = tree.children
        return ast.AttributeArgument(self.attribute_value(value), None if keyword is None else str(keyword))

    def attribute_value(self, tree: _Node) -> ast.Constant | tuple:
        if tree.data == "literal":
            return self.literal(tree)
        return tuple(self.attribute_value(part) for part in tree.children if isinstance(part, Tree))

    def declaration(self, tree: _Node) -> ast.Declaration:
        span = self.span(tree)
        parts = _parts(tree)
        match tree.data:
            case "import_item":
                return ast.Import(_unquote(parts[0]), span)
            case "subtype":
                return ast.TypeAlias(str(parts[0]), self.type(parts[2]), True, span)
            case "alternatives":
                return self.alternatives(parts[0], parts[1:], span)
            case "relation_types":
                is_extern = isinstance(parts[0], Token)
                relations = parts[1:] if is_extern else parts
                return ast.RelationTypes(tuple(map(self.relation_type, relations)), is_extern, span)
            case "function_type":
                name, *columns, result = parts
                return ast.FunctionType(str(name), tuple(map(self.column, columns)), self.type(result), span)
            case "const_item":
                return ast.ConstantDeclarations(tuple(map(self.constant, parts)), span)
            case "query_item":
                return ast.Query(self.query_target(parts[0]), span)
            case "evidence_item":
                return ast.Evidence(self.evidence(parts[1]), span)
            case _:
                return self.relation_item(tree)

    def alternatives(self, name: Token, parts: Sequence[_Node], span: Span) -> ast.Declaration:
        kinds = {part.data for part in parts}
        if len(parts) == 1 and parts[0].data != "variant":
            (part,) = parts
            if part.data == "primitive_alternative" or part.children[1] is None:
                token = part.children[0]
                assert isinstance(token, Token)
                return ast.TypeAlias(str(name), ast.TypeName(str(token), self.span(token)), False, span)
        if kinds == {"enum_member"} and len(parts) > 1:
            return ast.EnumType(str(name), tuple(map(self.enum_member, parts)), span)
        if kinds == {"variant"} and len(parts) > 1:
            return ast.DataType(str(name), tuple(map(self.variant, parts)), span)
        if len(parts) == 1:
            raise self.error(f"type `{name}` has one alternative only", parts[0], "give at least two, separated by `|`")
        odd = next(part for part in parts if part.data != parts[0].data or part.data == "primitive_alternative")
        hint = "write `A | B` for an enum, or `A(i32) | B()`, all with parentheses, for a data type"
        raise self.error(f"the alternatives of type `{name}` are of different kinds", odd, hint)

    def enum_member(self, tree: _Node) -> ast.EnumMember:
        name, number = tree.children
        return ast.EnumMember(str(name), None if number is None else self.literal(number), self.span(tree))

    def variant(self, tree: _Node) -> ast.Variant:
        name, *columns = _parts(tree)
        return ast.Variant(str(name), tuple(map(self.type, columns)), self.span(tree))

    def type(self, tree: _Node) -> ast.TypeName:
        return ast.TypeName(str(tree.children[0]), self.span(tree))

    def relation_type(self, tree: _Node) -> ast.RelationType:
        name, *columns = _parts(tree)
        return ast.RelationType(str(name), tuple(map(self.column, columns)), self.span(tree))

    def column(self, tree: _Node) -> ast.Column:
        adornment, name, type = tree.children
        return ast.Column(
            self.type(type),
            None if name is None else str(name),
            None if adornment is None else str(adornment),
            self.span(tree),
        )

    def constant(self, tree: _Node) -> ast.ConstantDeclaration:
        name, type, value = tree.children
        return ast.ConstantDeclaration(
            str(name), None if type is None else self.type(type), self.expression(value), self.span(tree)
        )

    def evidence(self, tree: _Node) -> ast.Formula:
        formula = self.formulas(tree)
        name = formula.operand if isinstance(formula, ast.Not) else formula
        if isinstance(name, ast.Name):
            raise self.error(f"`{name.name}` is no formula", tree, f"write `{name.name}()`, or give it its arguments")
        return formula

    def query_target(self, tree: _Node) -> ast.Name | ast.Application:
        target = self.expression(tree)
        if isinstance(target, ast.Name | ast.Application):
            return target
        raise self.error("the query names no relation", tree, "write `query p` or `query p(1, x)`")

    def relation_item(self, tree: _Node) -> ast.Declaration:
        tag, head, right = tree.children
        span = self.span(tree)
        tag = None if tag is None else self.expression(tag)
        if right is None:
            if head.data == "heads" and len(head.children) == 1:
                return ast.Fact(self.atom(head.children[0], "a fact"), tag, span)
            heads, is_disjunctive, probabilities = self.heads(head)
            if not probabilities:
                hint = (
                    "write one `rel` for each fact; facts that exclude each other have tags: `{0.3::a(1); 0.7::b(1)}`"
                )
                raise self.error("the rule has several heads and no body", head, hint)
            return ast.Rule(heads, ast.And((), span), tag, is_disjunctive, span, probabilities)
        is_name = head.data == "heads" and len(head.children) == 1 and head.children[0].data == "name"
        (right,) = right.children
        if right.data != "formulas":
            if not is_name:
                raise self.error("the set of facts is given to no relation's name", head, "write `rel name = {…}`")
            if tag is not None:
                raise self.error("the set of facts has a tag", tree.children[0], "tag its elements: `{0.5::1}`")
            (name,) = head.children[0].children
            elements = tuple(map(self.element, _parts(right)))
            return ast.FactSet(str(name), elements, right.data == "exclusive_braces", span)
        body = self.formulas(right, self.aggregate_rule if is_name else None)
        if is_name:
            (name,) = head.children[0].children
            if isinstance(body, ast.Aggregate):
                return ast.ReduceRule(str(name), body, span)
            hint = f"write `{name}(…)` with the arguments of the head, or facts in braces"
            raise self.error(f"`{name}` has no arguments", head, hint)
        heads, is_disjunctive, probabilities = self.heads(head)
        return ast.Rule(heads, body, tag, is_disjunctive, span, probabilities)

    def aggregate_rule(self, tree: _Node) -> ast.Aggregate | None:
        """The aggregate of a rule whose head has no arguments; None if the body has nothing to aggregate."""
        inside = tree.children[4] if tree.data == "application" else None
        if inside is None or all(part.data in _EXPRESSIONS for part in _parts(inside)[-1].children):
            return None
        return self.aggregate(tree)

    def heads(self, tree: _Node) -> tuple[tuple[ast.Application, ...], bool, tuple[ast.Expression, ...]]:
        """The heads of a rule, whether they are alternatives, and the probabilities of these."""
        if tree.data == "heads":
            return tuple(self.atom(part, "a head") for part in tree.children), _CONJUNCTIVE, ()
        (braces,) = tree.children if tree.data == "head" else (tree,)
        parts = _parts(braces)
        if not parts:
            raise self.error("the rule has no head", tree, "write `rel p(x) = …`")
        heads = tuple(self.atom(part.children[1], "a head") for part in parts)
        tags = [part.children[0] for part in parts if part.children[0] is not None]
        is_disjunctive = braces.data == "exclusive_braces"
        if not tags:
            return heads, _DISJUNCTIVE if is_disjunctive else _CONJUNCTIVE, ()
        if not is_disjunctive and len(parts) > 1:
            hint = "separate heads that exclude each other by `;`; the tag of a rule stands before its heads"
            raise self.error("one of several heads that all hold has a tag", tags[0], hint)
        for part in parts:
            if part.children[0] is None:
                hint = "give each alternative a tag, or none of them"
                raise self.error("the alternative has no tag, and another one has", part, hint)
        return heads, _DISJUNCTIVE, tuple(map(self.expression, tags))

    def atom(self, tree: _Node, what: str) -> ast.Application:
        if tree.data in _EXPRESSIONS or tree.data == "application":
            atom = self.expression(tree)
            if isinstance(atom, ast.Application):
                return atom
        hint = "write `p(1, 2)`"
        if tree.data == "binary":
            hint = "write `=` or `:-` between the head of a rule and its body"
        raise self.error(f"{what} must be a relation with arguments", tree, hint)

    def element(self, tree: _Node) -> ast.Element:
        tag, values = tree.children
        tag = None if tag is None else self.expression(tag)
        if values.data == "group":
            parts = _parts(values)
            inside = parts[0].children if parts else []
            return ast.Element(tuple(map(self.expression, inside)), tag, self.span(tree))
        return ast.Element((self.expression(values),), tag, self.span(tree))

    # Formulas

    def formulas(self, tree: _Node, aggregate=None):
        """A comma list as one formula. With `aggregate`, a single part that can be an aggregate becomes one."""
        parts = tree.children
        if len(parts) == 1:
            found = aggregate(parts[0]) if aggregate is not None else None
            return self.formula(parts[0]) if found is None else found
        for part in parts:
            if part.data in ("disjunction", "implication"):
                word = "or" if part.data == "disjunction" else "implies"
                raise self.error(
                    f"`,` and `{word}` stand side by side without parentheses",
                    part,
                    f"put the part with `{word}` in parentheses",
                )
        return ast.And(tuple(map(self.formula, parts)), self.span(tree))

    def formula(self, tree: _Node) -> ast.Formula:
        span = self.span(tree)
        parts = tree.children
        match tree.data:
            case "implication":
                return ast.Implies(self.formula(parts[0]), self.formula(parts[1]), span)
            case "disjunction":
                return ast.Or(tuple(map(self.formula, parts)), span)
            case "conjunction":
                return ast.And(tuple(map(self.formula, parts)), span)
            case "negated":
                return ast.Not(self.formula(parts[0]), span)
            case "group" if parts[0] is not None and not _is_expression(tree):
                return self.formulas(parts[0])
            case "reduction":
                return self.reduction(tree)
            case "application" if parts[0] in ("exists", "forall"):
                aggregate = self.aggregate(tree)
                if aggregate is None:
                    raise self.error(f"`{parts[0]}` has nothing to bind", tree, f"write `{parts[0]}(x: …)`")
                return ast.Quantified(aggregate, span)
            case "range":
                name, start, dots, stop = parts
                variable = self.variable_name(name, "the variable of a range")
                bounds = self.expression(start), self.expression(stop)
                return ast.RangeOver(variable, *bounds, str(dots) == "..=", span)
            case "case":
                return ast.Case(str(parts[0]), self.expression(parts[1]), span)
            case "application" if parts[1] is not None or parts[3] is not None or _has_bindings(parts[4]):
                hint = f"give its result a name: `n := {parts[0]}(…)`"
                raise self.error(f"the result of `{parts[0]}` is not used", tree, hint)
            case _:
                return self.expression(tree)

    def reduction(self, tree: _Node) -> ast.Reduce:
        left, right = tree.children
        aggregate = self.aggregate(right) if right.data == "application" else None
        if aggregate is None:
            hint = "write `==` to compare or to compute, `:=` before an aggregate"
            raise self.error("`=` is no comparison", tree, hint)
        return ast.Reduce(self.results(left), aggregate, self.span(tree))

    def results(self, tree: _Node) -> tuple[str | None, ...]:
        parts = [tree]
        if tree.data == "group":
            parts = tree.children[0].children if tree.children[0] is not None else []
        return tuple(
            None if part.data == "wildcard" else self.variable_name(part, "a result of an aggregate") for part in parts
        )

    def variable_name(self, tree: _Node, what: str) -> str:
        if tree.data != "name":
            raise self.error(f"{what} must be a name", tree, "name it, and say in an equality what it shall be")
        return str(tree.children[0])

    def aggregate(self, tree: _Node) -> ast.Aggregate | None:
        """The aggregate that an application stands for; None if it has no formula inside."""
        name, bang, parameters, arguments, inside = tree.children
        if inside is None:
            return None
        return self.aggregation(str(name), inside, self.span(tree), bang is not None, parameters, arguments)

    def aggregation(
        self,
        op: str,
        tree: _Node,
        span: Span,
        is_discrete: bool = False,
        parameters: _Node = None,
        arguments: _Node = None,
    ) -> ast.Aggregate:
        parts = _parts(tree)
        grouping = None
        if len(parts) == 4:
            where = Span(self.source, self.span(parts[2]).start, self.span(parts[3]).end)
            grouping = ast.Grouping(self.bindings(parts[2]), self.formulas(parts[3]), where)
        return ast.Aggregate(
            op,
            is_discrete,
            self.parameters(parameters),
            () if arguments is None else tuple(map(str, arguments.children)),
            () if len(parts) == 1 else self.bindings(parts[0]),
            self.formulas(parts[0] if len(parts) == 1 else parts[1]),
            grouping,
            span,
        )

    def bindings(self, tree: _Node) -> tuple[ast.Binding, ...]:
        found = []
        for part in tree.children:
            match part.data:
                case "name":
                    found.append(ast.Binding(str(part.children[0]), None, self.span(part)))
                case "typed_binding":
                    name, type = part.children
                    found.append(ast.Binding(str(name), self.type(type), self.span(part)))
                case _:
                    raise self.error("a binding must be a name", part, "write `x`, or `(x: i32)`")
        return tuple(found)

    def parameters(self, tree: _Node) -> tuple[ast.Parameter, ...]:
        found = []
        for part in () if tree is None else tree.children:
            if not isinstance(part, Tree):
                continue
            keyword, value = part.children
            if isinstance(value, Token):
                value = ast.TypeName(str(value), self.span(value))
            elif value.data == "literal":
                value = self.literal(value)
            else:
                value = ast.Name(str(value.children[0]), self.span(value))
            found.append(ast.Parameter(value, None if keyword is None else str(keyword), self.span(part)))
        return tuple(found)

    # Expressions

    def expression(self, tree: _Node) -> ast.Expression:
        span = self.span(tree)
        parts = tree.children
        match tree.data:
            case "conditional":
                condition, then, otherwise = map(self.expression, parts)
                return ast.Conditional(condition, then, otherwise, span)
            case "binary":
                left, op, right = parts
                return ast.Binary(str(op), self.expression(left), self.expression(right), span)
            case "cast":
                return ast.Cast(self.expression(parts[0]), self.type(parts[1]), span)
            case "unary_operation":
                return self.unary(tree)
            case "literal_value":
                return self.literal(tree)
            case "name":
                return ast.Name(str(parts[0]), span)
            case "wildcard":
                return ast.Wildcard(span)
            case "group" if _is_expression(tree):
                return self.expression(parts[0].children[0])
            case "application" if parts[1] is None and parts[3] is None and not _has_bindings(parts[4]):
                inside = () if parts[4] is None else parts[4].children[0].children
                arguments = tuple(map(self.expression, inside))
                return ast.Application(str(parts[0]), arguments, self.parameters(parts[2]), span)
            case "call" | "new":
                arguments = () if parts[1] is None else tuple(map(self.expression, parts[1].children))
                return (ast.Call if tree.data == "call" else ast.New)(str(parts[0]), arguments, span)
            case _:
                hint = "formulas stand in the body of a rule, not inside expressions or arguments"
                if tree.data == "application":
                    hint = f"bind the result of `{parts[0]}` to a variable, `n := {parts[0]}(…)`, and use that"
                raise self.error("expected an expression, found a formula", tree, hint)

    def unary(self, tree: _Node) -> ast.Expression:
        op, operand = tree.children
        inner = self.expression(operand)
        if op == "-" and operand.data == "literal_value" and isinstance(inner, ast.Constant):
            negative = _negative(inner, self.span(tree))
            if negative is not None:
                return negative
        return ast.Unary(str(op), inner, self.span(tree))

    def literal(self, tree: _Node) -> ast.Constant:
        span = self.span(tree)
        minus = None
        if tree.data == "literal":
            minus, tree = tree.children
        (token,) = tree.children
        match token.type:
            case "INTEGER":
                literal = ast.Constant(int(token), ConstantKind.INTEGER, span)
            case "FLOAT":
                literal = ast.Constant(float(token), ConstantKind.FLOAT, span)
            case "TRUTH":
                literal = ast.Constant(token == "true", ConstantKind.BOOL, span)
            case "CHAR":
                literal = ast.Constant(_unescape(token[1:-1]), ConstantKind.CHAR, span)
            case "STRING":
                literal = ast.Constant(_unquote(token), ConstantKind.STRING, span)
            case "SYMBOL":
                literal = ast.Constant(_unquote(token[1:]), ConstantKind.SYMBOL, span)
            case "DATETIME":
                literal = ast.Constant(_unquote(token[1:]), ConstantKind.DATETIME, span)
                if parse_datetime(str(literal.value)) is None:
                    raise self.error(
                        f"`{token}` is no date", token, 'write it as t"2020-01-31" or t"2020-01-31 23:59:00"'
                    )
            case _:
                literal = ast.Constant(_unquote(token[1:]), ConstantKind.DURATION, span)
                if parse_duration(str(literal.value)) is None:
                    hint = 'write numbers with units, as in d"1y 2M 3w 4d 5h 6m 7s"; `M` is months, `m` minutes'
                    raise self.error(f"`{token}` is no duration", token, hint)
        if literal.kind is ConstantKind.CHAR and len(str(literal.value)) != 1:
            raise self.error(f"`{token}` is not one character", token, "write a string in double quotes")
        if minus is None:
            return literal
        negative = _negative(literal, span)
        if negative is None:
            raise self.error("a sign stands before a value that is no number", tree, "remove the sign")
        return negative


def _negative(literal: ast.Constant, span: Span) -> ast.Constant | None:
    """The literal with a minus sign before it; None if it is not a number."""
    if isinstance(literal.value, bool) or not isinstance(literal.value, int | float):
        return None
    return ast.Constant(-literal.value, literal.kind, span)


def _is_expression(group: _Node) -> bool:
    """Whether a parenthesis holds one expression; its outermost operator tells."""
    inside = group.children[0]
    if inside is None or len(inside.children) != 1:
        return False
    (part,) = inside.children
    if part.data == "group":
        return _is_expression(part)
    return part.data in _EXPRESSIONS


_EXPRESSIONS = frozenset(
    {"conditional", "binary", "cast", "unary_operation", "literal_value", "name", "wildcard", "call", "new"}
)


def _parts(tree: _Node) -> list[_Node]:
    return [part for part in tree.children if part is not None]


def _has_bindings(aggregation: _Node) -> bool:
    return aggregation is not None and len(_parts(aggregation)) > 1


def _unquote(token: str) -> str:
    length = 3 if token.startswith('"""') else 1
    return _unescape(token[length:-length])


def _unescape(text: str) -> str:
    """Replaces known escapes; other backslashes stay."""
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), text, flags=re.DOTALL)
