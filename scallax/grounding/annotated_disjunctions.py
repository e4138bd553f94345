"""Literals of disjunctive heads: an exclusive group for each binding of a body, with one for each alternative."""

from collections.abc import Mapping, Sequence
from dataclasses import field

import numpy as np

from scallax.errors import Diagnostic, GroundingError
from scallax.grounding.canonical_literals import Bindings
from scallax.grounding.conjunction import DerivationBuilder
from scallax.grounding.derivations import operand_literal
from scallax.grounding.expressions import Evaluation
from scallax.grounding.symbols import Symbols, decode_column
from scallax.kernels.row_sets import Buffer, RowTable
from scallax.language import ir
from scallax.language.records import record
from scallax.language.tag_domains import ROUNDING
from scallax.language.values import ValueType
from scallax.planner.samples import SAMPLE


@record
class ChoiceReading:
    """How a provenance reads the alternatives of heads.

    Alternatives with probabilities have these as priors if the provenance `uses_tags`, or the logits that begin at the
    position in `parameters` by the number of the choice. Others have the prior 1/n if that is `uniform`, else 1: they
    exclude each other, and take nothing from the tag of the body, which is how the language counts groups by default.
    Only if they are `exclusive` do alternatives exclude each other, and only then have those without probabilities
    literals at all.
    """

    uses_tags: bool = True
    exclusive: bool = True
    uniform: bool = False
    parameters: Mapping[int, int] = field(default_factory=dict)


class Choices:
    """The bindings of each disjunctive rule that were met, and their literals."""

    __slots__ = ("_choices", "_first_literals", "_reading", "_tables")

    def __init__(self, reading: ChoiceReading):
        self._reading = reading
        self._choices: dict[int, ir.Choice] = {}
        self._tables: dict[int, RowTable] = {}
        self._first_literals: dict[int, Buffer] = {}

    def fresh(self) -> "Choices":
        """The same kind of choices, without any binding."""
        return Choices(self._reading)

    @property
    def are_exclusive(self) -> bool:
        """Whether anything excludes anything."""
        return self._reading.exclusive

    def operands(
        self, builder: DerivationBuilder, rule: ir.Rule, evaluation: Evaluation, symbols: Symbols
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Operand codes int64 `[rows]` of the literal of a rule's alternative, and a mask of the rows that have a tag.

        Equal bindings share a group. None: the alternative has no literal; all rows have a tag. GroundingError for
        probabilities that add up to more than 1.
        """
        choice, reading = rule.choice, self._reading
        if choice is None or not (reading.exclusive or (reading.uses_tags and choice.probabilities)):
            return None, None
        self._choices[choice.number] = choice
        # A value that a number lacks is missing for each alternative, one that a head lacks for that alone: so first.
        priors = self._priors(choice, evaluation)
        is_tag = ~np.isnan(priors)
        bindings = [evaluation.codes(part) for part in choice.bindings]
        table = self._tables.setdefault(choice.number, RowTable(len(bindings)))
        first = self._first_literals.setdefault(choice.number, Buffer())
        known = table.size
        rows = table.insert(bindings, evaluation.num_rows)
        if table.size > known:
            # The first row of each new binding.
            met, fresh = np.empty(table.size - known, np.int64), np.flatnonzero(rows >= known)[::-1]
            met[rows[fresh] - known] = fresh
            fitting = np.where(is_tag[met], priors[met], 0.0)
            if choice.probabilities:
                _check_sums(rule, choice, [column[met] for column in bindings], fitting, symbols)
            parameters = reading.parameters if choice.probabilities else {}
            first.append(
                builder.add_choices(
                    fitting,
                    is_exclusive=reading.exclusive,
                    is_random=len(choice.probabilities) > 0,
                    parameter=parameters.get(choice.number, -1),
                )
            )
        # Operand codes of literals count downwards.
        own = is_tag[:, choice.alternative]
        return first.values[rows] - choice.alternative, None if own.all() else own

    def _priors(self, choice: ir.Choice, evaluation: Evaluation) -> np.ndarray:
        """The tags `[rows, alternatives]`, NaN for none."""
        if not choice.probabilities or not self._reading.uses_tags:
            prior = 1 / choice.count if self._reading.uniform and not choice.probabilities else 1.0
            return np.full((evaluation.num_rows, choice.count), prior)
        # Tags are f32 numbers in the language.
        columns = [evaluation.native(part).astype(np.float32) for part in choice.probabilities]
        priors = np.stack(columns, 1).astype(np.float64)
        if evaluation.missing is not None:
            priors[evaluation.missing] = np.nan
        return priors

    def by_choice(self) -> list[Bindings]:
        """The literals of each choice, choices in order; those of one group are in that of the alternatives."""
        found = []
        for number, choice in sorted(self._choices.items()):
            rows = np.repeat(np.arange(self._tables[number].size), choice.count)
            literals = operand_literal(self._first_literals[number].values[rows])
            literals += np.tile(np.arange(choice.count), self._tables[number].size)
            columns = [column[rows] for column in self._tables[number].columns]
            found.append(Bindings(literals, columns, [part.type for part in choice.bindings]))
        return found


def _check_sums(
    rule: ir.Rule, choice: ir.Choice, codes: Sequence[np.ndarray], probabilities: np.ndarray, symbols: Symbols
) -> None:
    """GroundingError for the first binding whose probabilities, a row of them, add up to more than 1."""
    sums = probabilities.sum(1)
    if not np.any(sums > 1 + ROUNDING):
        return
    place = int(np.argmax(sums > 1 + ROUNDING))
    shown = []
    for part, column in zip(choice.bindings, codes, strict=True):
        if isinstance(part, ir.Variable) and (part.name == SAMPLE or "#" not in part.name):
            (value,) = decode_column(column[place : place + 1], part.type, symbols)
            text = str(np.float32(value)) if part.type is ValueType.F32 else ir.print_value(value, part.type)
            shown.append(f"the sample {text}" if part.name == SAMPLE else f"{part.name} = {text}")
    message = f"the alternatives of this rule for `{rule.relation}` add up to {sums[place]:.7g}, more than 1"
    message += f" for {', '.join(shown)}" if shown else ""
    hint = "at most one alternative holds: make the probabilities smaller, or divide them by their sum"
    raise GroundingError(Diagnostic(message, rule.span, hint))
