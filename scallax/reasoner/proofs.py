"""Proofs for people: which facts entail a tuple, by which rules, and how likely each proof is."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from scallax.errors import InputError, Span
from scallax.facts.mappings import show_tuple
from scallax.grounding.conjunction import NO_RULE
from scallax.grounding.derivations import ONE, literal_operand, operand_literal
from scallax.grounding.fixpoint import Grounding
from scallax.language import ir
from scallax.language.records import set_fields
from scallax.language.tag_domains import Domain
from scallax.language.values import Value
from scallax.reasoner.drawing import Node, draw_trees
from scallax.reasoner.proof_search import Search, Support, Tree

# Characters of a rule's text in a picture.
_LONGEST_RULE = 100

_ESCAPES = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160))}


@dataclass(frozen=True, slots=True)
class ProofFact:
    """A fact that a proof rests on, or, `is_negated`, one that must not hold.

    `probability` is the fact's, or what its tag is instead; None for a certain one. `relation` and `values` are those
    of the tuple; for the random choice of a tagged rule they are those that the rule derives with it, and `rule` is its
    place in the program.
    """

    relation: str
    values: tuple[Value, ...]
    is_negated: bool
    probability: float | None
    rule: str | None = None

    def __str__(self) -> str:
        shown = _show(self.relation, self.values)
        rule = "" if self.rule is None else f", the choice of the rule at {self.rule}"
        tag = "" if self.probability is None else f"{self.probability:.6g}::"
        return f"{'not ' if self.is_negated else ''}{tag}{shown}{rule}"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a proof: a tuple, or fact, by the rule at `rule` (None for a fact), from the steps below it.

    `rule_text` is the rule as it is written, on one line and cut where it is long.
    """

    text: str
    rule: str | None
    steps: tuple["Step", ...]
    rule_text: str | None = None

    def lines(self, indent: str = "") -> Iterator[str]:
        """The step and those below it as lines of text."""
        # Proofs may be deeper than functions can call each other; so below.
        waiting = [(self, indent)]
        while waiting:
            step, indent = waiting.pop()
            place = "" if step.rule is None else f"    by the rule at {step.rule}"
            yield f"{indent}{step.text}{place}"
            waiting += [(below, indent + "  ") for below in reversed(step.steps)]


@dataclass(frozen=True, slots=True)
class Proof:
    """A set of facts that entails a tuple; none can be left out.

    `weight` is the probability that all of them hold if they are independent; of costs their sum, of counts and other
    numbers their product. `tree` says how they hold.
    """

    weight: float
    facts: tuple[ProofFact, ...]
    tree: Step

    def __str__(self) -> str:
        return f"proof of weight {self.weight:.6g}\n" + "\n".join(self.tree.lines("  "))


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """The best proofs of a tuple, the likeliest first; prints as text, and shows as a picture in notebooks.

    `value` is the tuple's value under the reasoner's provenance, a bool, a number or a user's object; the probability
    given what was observed, if something was: the formulas `given`. No proofs: nothing derives the tuple.
    """

    relation: str
    values: tuple[Value, ...]
    value: Any
    proofs: tuple[Proof, ...]
    given: tuple[str, ...] = ()

    def __setstate__(self, values: Sequence[object]) -> None:
        set_fields(self, values)

    def __str__(self) -> str:
        head = f"{_show(self.relation, self.values)}: {_show_value(self.value)}"
        if self.given:
            head += f", given {', '.join(self.given)}"
        return "\n\n".join([head, *map(str, self.proofs)] if self.proofs else [f"{head}, no proof"])

    def __repr__(self) -> str:
        return str(self)

    def to_dot(self) -> str:
        """The proofs as one graph in Graphviz's language, a cluster each, with the texts of rules on the edges.

        A step that a proof uses several times is one node.
        """
        lines = ["digraph proofs {", "  rankdir=BT;", "  node [shape=box, style=rounded];"]
        for number, proof in enumerate(self.proofs):
            lines += [f"  subgraph cluster_{number} {{", f"    label={_quote(f'weight {proof.weight:.6g}')};"]
            lines += [f"    {line}" for line in _dot_lines(_picture(proof.tree), f"n{number}")]
            lines.append("  }")
        return "\n".join([*lines, "}"])

    def draw(self, path: str | Path) -> None:
        """Writes a picture of the proofs, PNG, SVG or PDF by the name's ending; needs Matplotlib (`scallax[draw]`)."""
        if not isinstance(path, str | Path):
            raise InputError(f"{path!r} is no path of a picture")
        path = Path(path)
        if path.suffix.lower() not in (".png", ".svg", ".pdf"):
            raise InputError(f"`{path}`: a picture is a file that ends in .png, .svg or .pdf")
        draw_trees(self._pictures(), path, path.suffix[1:].lower())

    def _pictures(self) -> list[tuple[str, Node]]:
        return [(f"weight {proof.weight:.6g}", _picture(proof.tree)) for proof in self.proofs]

    def _repr_svg_(self) -> str | None:
        """The picture that a notebook shows if Matplotlib is installed; otherwise it shows the text."""
        if not self.proofs:
            return None
        picture = io.StringIO()
        try:
            draw_trees(self._pictures(), picture, "svg")
        except InputError:  # Matplotlib is not installed
            return None
        return picture.getvalue()


def explain_tuple(
    program: ir.Program,
    grounding: Grounding,
    relation: str,
    values: tuple[Value, ...],
    tags: np.ndarray,
    *,
    domain: Domain,
    value: Any,
    uses_exclusion: bool,
    k: int,
) -> Explanation:
    """The `k` best proofs of a tuple in a grounding whose certain tuples keep their derivations.

    `tags` float64 `[literals]` are those of its literals, NaN for certain ones; `domain` says what they are.
    """
    operand = int(grounding.operands(relation, [values])[0])
    groups = grounding.literals.group if uses_exclusion else np.full(len(grounding.literals), -1)
    search = Search(
        grounding.derivations, grounding.rules, *_weigh(domain, tags), groups, counts_facts=not len(grounding.literals)
    )
    names = Names(program, grounding, tags, domain)
    supports = [support for support in search.find(operand, k) if support.weight != 0]
    return Explanation(relation, values, value, tuple(names.proof(operand, support) for support in supports))


def _weigh(domain: Domain, tags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights of true literals and of false ones, whose products order proofs as their tags do."""
    certain = np.isnan(tags)
    match domain:
        case Domain.PROBABILITY:
            weights = np.where(certain, 1, tags)
            return weights, 1 - weights
        case Domain.COST:
            costs = np.where(certain, 0, tags)
            # All of them together must not underflow.
            scale = max(1.0, float(np.abs(costs[np.isfinite(costs)]).sum()) / 500)
            return np.exp(-costs / scale), (tags == np.inf).astype(float)
        case Domain.NATURAL:
            return np.where(certain, 1, tags), (tags == 0).astype(float)
        case _:
            # How a user's algebra orders tags is not known.
            return np.ones(len(tags)), np.zeros(len(tags))


class Names:
    """The names of a grounding's operands."""

    def __init__(self, program: ir.Program, grounding: Grounding, tags: np.ndarray, domain: Domain):
        self._spans = [rule.span for rule in program.rules]
        self._tags = tags
        self._domain = domain
        self._tuples: dict[int, tuple[str, tuple[Value, ...]]] = {}
        self._hidden = {relation.name for relation in program.relations if relation.hidden or "#" in relation.name}
        for name, relation in grounding.relations.items():
            operands = grounding.operands(name)
            for operand, values in zip(operands.tolist(), grounding.tuples(name), strict=True):
                if operand != ONE or relation.schema.constructor is None:
                    # The relation of a predicate has its name, and a mark behind it.
                    self._tuples[operand] = (name.partition("#made")[0], values)
        # The first use of a literal that is not the only one of a tuple, or of a conjunction of some operands.
        derivations = grounding.derivations
        self._users: dict[int, tuple[int, int]] = {}
        for operands in (derivations.left, derivations.right):
            for row, operand in enumerate(operands.tolist()):
                if not self._is_shown(operand):
                    self._users.setdefault(operand, (int(derivations.head[row]), int(grounding.rules[row])))

    def proof(self, operand: int, support: Support) -> Proof:
        """A proof with everything named."""
        facts = [
            self._fact(literal)
            for literal in sorted(support.literals, key=lambda literal: literal if literal >= 0 else ~literal)
        ]
        facts += [ProofFact(*self._tuples[node], False, None) for node in sorted(support.facts) if self._is_shown(node)]
        steps = [step for tree in support.tree for step in self._steps(tree)]
        weight = support.weight
        if self._domain is Domain.COST:
            weight = float(np.nansum([self._tags[literal] for literal in support.literals if literal >= 0]))
        if len(steps) == 1:
            return Proof(weight, tuple(facts), steps[0])
        return Proof(weight, tuple(facts), Step(_show(*self._tuples[operand]), None, tuple(steps)))

    def find(self, literal: int) -> ProofFact | None:
        """The fact or choice that a literal stands for; None if there is none, as for one that no derivation uses."""
        operand = int(literal_operand(literal))
        return self._fact(literal) if self._is_shown(operand) or operand in self._users else None

    def _is_shown(self, operand: int) -> bool:
        return operand in self._tuples and self._tuples[operand][0] not in self._hidden

    def _fact(self, literal: int) -> ProofFact:
        is_negated = literal < 0
        index = ~literal if is_negated else literal
        operand = int(literal_operand(index))
        probability = None if np.isnan(self._tags[index]) else float(self._tags[index])
        if self._is_shown(operand):
            return ProofFact(*self._tuples[operand], is_negated, probability)
        # A choice: of a rule, or among the tuples that an aggregate chooses from.
        head, place = operand, None
        while not self._is_shown(head) and head in self._users:
            head, rule = self._users[head]
            place = place or self._place(rule)
        return ProofFact(*self._tuples[head], is_negated, probability, place)

    def _place(self, rule: int) -> str | None:
        span: Span | None = self._spans[rule] if rule >= 0 else None
        return None if span is None else span.place

    def _text(self, rule: int) -> str | None:
        span: Span | None = self._spans[rule] if rule >= 0 else None
        return None if span is None else shorten(span.text, _LONGEST_RULE, placeholder=" …")

    def _steps(self, tree: Tree) -> list[Step]:
        """The step of a tree; instead of a hidden tuple, or of an intermediate one, those below it."""
        order, waiting = [], [tree]
        while waiting:
            order.append(waiting.pop())
            waiting += order[-1].children
        made: dict[Tree, list[Step]] = {}
        for part in reversed(order):
            if part not in made:
                made[part] = self._step(part, tuple(step for child in part.children for step in made[child]))
        return made[tree]

    def _step(self, tree: Tree, below: tuple[Step, ...]) -> list[Step]:
        if tree.operand < ONE:
            literal = int(operand_literal(tree.operand))
            return [Step(str(self._fact(~literal if tree.negated else literal)), None, below)]
        if not self._is_shown(tree.operand) or (tree.rule == NO_RULE and below and not tree.negated):
            return list(below)
        relation, values = self._tuples[tree.operand]
        text = f"{'not ' if tree.negated else ''}{_show(relation, values)}"
        return [Step(text, self._place(tree.rule), below, self._text(tree.rule))]


def _show(relation: str, values: tuple[Value, ...]) -> str:
    """A tuple on one line: control characters of strings as they are escaped."""
    return f"{relation}{show_tuple(values)}".translate(_ESCAPES)


def _show_value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.6g}"
        case _:
            return str(value)


def _picture(root: Step) -> Node:
    """The steps as a tree to draw, in which equal steps are one node."""
    order, waiting = [], [root]
    while waiting:
        order.append(waiting.pop())
        waiting += order[-1].steps
    # Equal steps have equal texts, rules and nodes below: to compare the steps would call as deep as the proof is.
    made: dict[int, Node] = {}
    nodes: dict[tuple, Node] = {}
    for step in reversed(order):
        below = tuple(made[id(other)] for other in step.steps)
        key = (step.text, step.rule_text, *map(id, below))
        made[id(step)] = nodes.setdefault(key, Node(step.text, below, step.rule_text))
    return made[id(root)]


def _dot_lines(root: Node, name: str) -> Iterator[str]:
    names = {id(root): name}
    waiting = [root]
    yield f"{name} [label={_quote(root.label)}];"
    while waiting:
        node = waiting.pop()
        for number, below in enumerate(node.children):
            is_new = id(below) not in names
            lower = names.setdefault(id(below), f"{name}_{len(names) - 1}")
            if is_new:
                waiting.append(below)
                yield f"{lower} [label={_quote(below.label)}];"
            # The rule is written on the first of the edges to its conclusion.
            label = f" [label={_quote(node.reason)}]" if node.reason is not None and not number else ""
            yield f"{lower} -> {names[id(node)]}{label};"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
