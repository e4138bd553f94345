"""A ground program divided into parts that share no random variable, each a formula over facts and other parts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scallax.circuits.knowledge.modules import Graph, Row
from scallax.grounding.derivations import ONE, ZERO, literal_operand, operand_literal
from scallax.language.records import record

# The code of a fact (an operand code), of a part's value (from 0), ONE or ZERO; and whether its complement is meant.
Signed = tuple[int, bool]
# Head, operands, and whether their complements are meant.
LocalRow = tuple[int, int, int, bool, bool]
# In place of a node: the disjunction of some terms.
_TERMS = -1


@record
class Disjunction:
    """One value: that some of the events happens, which are independent."""

    events: tuple[Signed, ...]


@record
class Formula:
    """Derivations whose operands are nodes, from 0, and leaves, which have the codes of literals.

    `leaves` are the codes of the facts and of the values that the leaves stand for. `groups` has for each leaf the
    first leaf of its exclusive group, itself if it is independent. `roots` are the operands of the formula's values.
    """

    rows: tuple[LocalRow, ...]
    num_nodes: int
    leaves: tuple[int, ...]
    groups: tuple[int, ...]
    roots: tuple[int, ...]


@dataclass(slots=True)
class Value:
    """Root `root` of part `part`, of `size` events or leaves, whose own depths are `below` at most.

    More than one may use a shared value.
    """

    part: int
    root: int
    below: int
    size: int
    is_shared: bool = False

    @property
    def depth(self) -> int:
        """The levels of its circuit if they are as few as they may be."""
        return self.below + max(1, (self.size - 1).bit_length())


@record
class Division:
    """The parts, each after those that it uses, their values, and what the program's outputs are."""

    parts: list[Disjunction | Formula]
    values: list[Value]
    outputs: list[Signed]


def divide(graph: Graph, most_depth: int | None = None) -> Division:
    """The parts of a program: each module is one or several, unless it is deeper than `most_depth`."""
    divider = _Divider(graph, most_depth)
    for node in graph.modules:
        divider.add_module(node)
    outputs = divider.add_outputs()
    _absorb(divider.parts, divider.values)
    return Division(divider.parts, divider.values, outputs)


class _Region:
    """Nodes that are not parts, in a numbering of their own, and the leaves that they use."""

    def __init__(self, graph: Graph, found: dict[int, Signed], nodes: Iterable[int]):
        self.nodes = {node: local for local, node in enumerate(nodes)}
        self.leaves: dict[int, int] = {}
        self._graph = graph
        self._found = found
        self._parents: list[int] = []
        self._rows: list[LocalRow] = []
        for node, local in self.nodes.items():
            for left, right, left_negated, right_negated in graph.rows[node]:
                (a, x), (b, y) = self.read(left, left_negated), self.read(right, right_negated)
                self._rows.append((local, a, b, x, y))

    def read(self, operand: int, negated: bool = False) -> Signed:
        """An operand in the region's numbering."""
        if operand in self.nodes:
            return self.nodes[operand], negated
        code, negated = _resolve(self._found, operand, negated)
        if code in (ONE, ZERO):
            return code, False
        return int(literal_operand(self.leaves.setdefault(code, len(self.leaves)))), negated

    def split(self, terms: Sequence[Sequence[int]]) -> list[tuple[list[int], list[LocalRow]]]:
        """Places of terms, which are operands of the region, and their rows, by what has random variables in common."""
        self._join(terms)
        found: dict[int, tuple[list[int], list[LocalRow]]] = {}
        for place, (operand, *_) in enumerate(terms):
            found.setdefault(self._top(self._place(operand)), ([], []))[0].append(place)
        for row in self._rows:
            label = self._top(row[0])
            if label in found:
                found[label][1].append(row)
        return list(found.values())

    def _join(self, terms: Sequence[Sequence[int]]) -> None:
        # Nodes come first, then leaves, then a number for each exclusive group.
        variables: dict[int, int] = {}
        self._parents = list(range(len(self.nodes) + 2 * len(self.leaves)))
        for code, leaf in self.leaves.items():
            if code < 0:
                variable = self._graph.variable(operand_literal(code))
                place = variables.setdefault(variable, len(self.nodes) + len(self.leaves) + len(variables))
                self._unite(len(self.nodes) + leaf, place)
        for head, left, right, _, _ in self._rows:
            for operand in (left, right):
                if operand not in (ONE, ZERO):
                    self._unite(head, self._place(operand))
        for term in terms:
            for operand in term[1:]:
                self._unite(self._place(term[0]), self._place(operand))

    def _place(self, operand: int) -> int:
        return operand if operand >= 0 else len(self.nodes) + operand_literal(operand)

    def _top(self, place: int) -> int:
        while self._parents[place] != place:
            self._parents[place] = self._parents[self._parents[place]]
            place = self._parents[place]
        return place

    def _unite(self, one: int, other: int) -> None:
        self._parents[self._top(one)] = self._top(other)


def _resolve(found: dict[int, Signed], operand: int, negated: bool) -> Signed:
    """The value of an operand that is no node without a part; constants are not negated."""
    if operand >= 0:
        operand, complement = found[operand]
        negated ^= complement
    if negated and operand in (ONE, ZERO):
        return (ZERO if operand == ONE else ONE), False
    return operand, negated


class _Divider:
    def __init__(self, graph: Graph, most_depth: int | None):
        self.parts: list[Disjunction | Formula] = []
        self.values: list[Value] = []
        self._graph = graph
        self._outputs = set(graph.outputs)
        self._most_depth = most_depth
        # The values of the modules that are parts, and of those that are too deep.
        self._found: dict[int, Signed] = {}
        self._deep: set[int] = set()

    def add_module(self, node: int) -> None:
        inner = self._search([node])
        if not self._deep.isdisjoint(inner):
            self._deep.add(node)
            return
        num_parts, num_values = len(self.parts), len(self.values)
        signed = self._join_terms(self._graph.rows[node]) if len(inner) == 1 else None
        found = {node: signed} if signed else self._divide(node, inner)
        code, _ = found[node]
        if code >= 0:
            if self._most_depth is not None and self.values[code].depth > self._most_depth:
                self._deep.add(node)
                del self.parts[num_parts:], self.values[num_values:]
                return
            self.values[code].is_shared |= self._graph.uses[node] > 1
        self._found.update(found)

    def add_outputs(self) -> list[Signed]:
        """The values of the outputs; those that are no parts yet become parts by what they share."""
        missing = [node for node in dict.fromkeys(self._graph.outputs) if node >= 0 and node not in self._found]
        region = _Region(self._graph, self._found, self._search(missing, past_deep=True))
        for places, rows in region.split([[region.nodes[node]] for node in missing]):
            self._found.update(self._add_formula(region, rows, [missing[place] for place in places]))
        return [_resolve(self._found, operand, False) for operand in self._graph.outputs]

    def _search(self, nodes: Iterable[int], past_deep: bool = False) -> list[int]:
        """The nodes and those below them that are no parts, as a search depth first meets them."""
        met: dict[int, None] = {}
        waiting = list(nodes)[::-1]
        while waiting:
            node = waiting.pop()
            if node < 0 or node in self._found or node in met:
                continue
            met[node] = None
            if past_deep or node not in self._deep:
                waiting += [operand for row in reversed(self._graph.rows[node]) for operand in row[1::-1]]
        return list(met)

    def _join_terms(self, rows: Sequence[Row]) -> Signed | None:
        """The disjunction of rows whose operands are leaves; None if some of them share a random variable."""
        events: dict[tuple[Signed, ...], None] = {}
        for left, right, left_negated, right_negated in rows:
            for operand in (left, right):
                if operand >= 0 and operand not in self._found:
                    return None
            pair = _resolve(self._found, left, left_negated), _resolve(self._found, right, right_negated)
            term = _drop_certain(pair)
            if not term:
                return ONE, False
            if (ZERO, False) not in term:
                events[term] = None
        variables = [self._variable(code) for term in events for code, _ in term]
        if len(set(variables)) < len(variables):
            return None
        return self._disjoin([self._conjoin(term) for term in events])

    def _divide(self, node: int, inner: Sequence[int]) -> dict[int, Signed]:
        """The formula of a module, and those of the outputs among its inner nodes.

        It is the disjunction of its rows, of which those that share nothing with others are parts of their own.
        """
        rows = self._graph.rows[node]
        if any(node in row[:2] for other in inner for row in self._graph.rows[other]):
            # A cycle.
            region = _Region(self._graph, self._found, inner)
            ((_, rows),) = region.split([[region.nodes[node]]])
            return self._add_formula(region, rows, [node, *self._outputs_of(region, rows, inner[1:])])
        region = _Region(self._graph, self._found, inner[1:])
        terms = [_drop_certain((region.read(left, a), region.read(right, b))) for left, right, a, b in rows]
        if not all(terms):
            return {node: (ONE, False)}
        terms = [term for term in terms if (ZERO, False) not in term]
        found: dict[int, Signed] = {}
        events = []
        for places, own in region.split([[code for code, _ in term] for term in terms]):
            joined = [terms[place] for place in places]
            event = self._conjoin_leaves(region, joined[0]) if len(joined) == 1 and not own else None
            if event is None:
                found |= self._add_formula(region, own, self._outputs_of(region, own, inner), joined)
                event = found.pop(_TERMS)
            events.append(event)
        found[node] = self._disjoin(events)
        return found

    def _outputs_of(self, region: _Region, rows: Sequence[LocalRow], nodes: Iterable[int]) -> list[int]:
        """The nodes that are outputs and have rows among these."""
        heads = {row[0] for row in rows}
        return [node for node in nodes if node in self._outputs and region.nodes.get(node) in heads]

    def _conjoin_leaves(self, region: _Region, term: Sequence[Signed]) -> Signed | None:
        """The conjunction of leaves of a region; None if they share a random variable."""
        codes = list(region.leaves)
        signed = [(codes[operand_literal(operand)], negated) for operand, negated in term]
        if len({self._variable(code) for code, _ in signed}) < len(signed):
            return None
        return self._conjoin(signed)

    def _conjoin(self, term: Sequence[Signed]) -> Signed:
        if len(term) == 1:
            return term[0]
        code, negated = self._disjoin([(code, not negated) for code, negated in term])
        return code, not negated

    def _disjoin(self, events: Sequence[Signed]) -> Signed:
        """The disjunction of independent events."""
        if not events:
            return ZERO, False
        if len(events) == 1:
            return events[0]
        below, size = 0, 0
        for code, negated in events:
            if code < 0:
                size += 1
            elif _is_absorbed(self.parts, self.values, code, negated):
                below = max(below, self.values[code].below)
                size += self.values[code].size
            else:
                below = max(below, self.values[code].depth)
                size += 1
        return self._add(Disjunction(tuple(events)), below, size, 1)[0], False

    def _add_formula(
        self,
        region: _Region,
        rows: Sequence[LocalRow],
        roots: Sequence[int],
        terms: Sequence[Sequence[Signed]] = (),
    ) -> dict[int, Signed]:
        """A part of rows that share nothing with others: what the nodes `roots` are, and terms, as _TERMS."""
        nodes: dict[int, int] = {}
        leaves: dict[int, int] = {}

        def read(operand: int) -> int:
            if operand >= 0:
                return nodes.setdefault(operand, len(nodes))
            if operand in (ONE, ZERO):
                return operand
            return int(literal_operand(leaves.setdefault(operand_literal(operand), len(leaves))))

        own: list[LocalRow] = []
        if terms:
            nodes[_TERMS] = 0
            for term in terms:
                (left, a), (right, b) = term if len(term) == 2 else (*term, (ONE, False))
                own.append((0, read(left), read(right), a, b))
        own += [(read(head), read(left), read(right), a, b) for head, left, right, a, b in rows]
        codes = list(region.leaves)
        used = tuple(codes[leaf] for leaf in leaves)
        first_of: dict[int, int] = {}
        groups = tuple(first_of.setdefault(self._variable(code), leaf) for leaf, code in enumerate(used))
        named = [*([_TERMS] if terms else []), *roots]
        places = tuple(0 if node == _TERMS else read(region.nodes[node]) for node in named)
        below = max((self.values[code].depth for code in used if code >= 0), default=0)
        codes = self._add(Formula(tuple(own), len(nodes), used, groups, places), below, len(used), len(places))
        return {node: (code, False) for node, code in zip(named, codes, strict=True)}

    def _variable(self, code: int) -> int:
        return code if code >= 0 else self._graph.variable(operand_literal(code))

    def _add(self, part: Disjunction | Formula, below: int, size: int, num_roots: int) -> Sequence[int]:
        start = len(self.values)
        self.values += [Value(len(self.parts), root, below, size) for root in range(num_roots)]
        self.parts.append(part)
        return range(start, len(self.values))


def _is_absorbed(parts: Sequence[Disjunction | Formula], values: Sequence[Value], code: int, negated: bool) -> bool:
    """Whether an event of a disjunction is a disjunction that nothing else uses: its events are those of the other."""
    return (
        code >= 0 and not negated and not values[code].is_shared and isinstance(parts[values[code].part], Disjunction)
    )


def _absorb(parts: list[Disjunction | Formula], values: Sequence[Value]) -> None:
    """Gives disjunctions the events of those that only they use, which have none left."""
    for place in reversed(range(len(parts))):
        part = parts[place]
        if isinstance(part, Disjunction):
            events: list[Signed] = []
            waiting = list(part.events)[::-1]
            while waiting:
                code, negated = waiting.pop()
                other = parts[values[code].part] if _is_absorbed(parts, values, code, negated) else None
                if isinstance(other, Disjunction):
                    waiting += reversed(other.events)
                    parts[values[code].part] = Disjunction(())
                else:
                    events.append((code, negated))
            parts[place] = Disjunction(tuple(events))


def _drop_certain(term: Iterable[Signed]) -> tuple[Signed, ...]:
    return tuple(signed for signed in dict.fromkeys(term) if signed[0] != ONE)
