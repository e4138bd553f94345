"""Relational algebra of rule bodies: left-deep pipelines over tables whose columns are variables."""

import enum
from dataclasses import field, replace

from scallax.errors import Span
from scallax.language import ir
from scallax.language.ir import print_expression, print_reduce
from scallax.language.library import BUILT_IN, Library
from scallax.language.records import record
from scallax.language.values import ValueType


class Version(enum.Enum):
    """The part of a relation in the current stratum that a scan sees."""

    TOTAL = "total"
    OLD = "old"
    DELTA = "delta"

    def __str__(self) -> str:
        return self.value


Argument = ir.Variable | ir.Constant


@record
class Join:
    """Joins the table with a relation. With the table of one row and no column it is a scan.

    `key` gives the relation's columns that must equal a bound variable or a constant, `fresh` those that bind a
    variable, and `same` the pairs of columns that must be equal. `literal` is the position in the body. `project`: a
    later join multiplies rows that agree in `keep`, so such rows are merged unless an operand tells them apart.
    """

    literal: int
    relation: str
    version: Version
    key: tuple[tuple[int, Argument], ...]
    fresh: tuple[tuple[int, str], ...]
    same: tuple[tuple[int, int], ...]
    project: bool
    keep: tuple[str, ...]

    @property
    def variables(self) -> frozenset[str]:
        """The variables of the atom."""
        bound = [value.name for _, value in self.key if isinstance(value, ir.Variable)]
        return frozenset([*bound, *(name for _, name in self.fresh)])

    def __str__(self) -> str:
        inside = [f"{column}={print_expression(value)}" for column, value in self.key]
        inside += [f"{column}->{name}" for column, name in self.fresh]
        inside += [f"{first}={second}" for first, second in self.same]
        return f"{'join and project' if self.project else 'join'} {self.version} {self.relation}({', '.join(inside)})"


@record
class AntiJoin:
    """Removes rows with a certain matching tuple; a row with a possible one carries the negation of that tuple.

    Columns of the relation that `key` does not name may hold any value. If one of `computed` leaves its integer type,
    nothing matches.
    """

    literal: int
    relation: str
    key: tuple[tuple[int, Argument], ...]
    computed: tuple[ir.Expression, ...]
    keep: tuple[str, ...]

    def __str__(self) -> str:
        inside = [f"{column}={print_expression(value)}" for column, value in self.key]
        return f"antijoin {self.relation}({', '.join(inside)}){_within(self.computed)}"


@record
class Select:
    """Keeps the rows for which a condition over bound variables holds; `saturates` is as in an `ir.Constraint`."""

    condition: ir.Expression
    saturates: bool
    keep: tuple[str, ...]

    def __str__(self) -> str:
        return f"select {print_expression(self.condition)}"


@record
class Extend:
    """Binds a variable to the value of an expression over bound variables.

    Unless it `saturates`, it removes rows in which an integer leaves its type in the computation.
    """

    variable: ir.Variable
    expression: ir.Expression
    saturates: bool
    keep: tuple[str, ...]

    def __str__(self) -> str:
        return f"extend {self.variable.name} := {print_expression(self.expression)}"


@record
class Destructure:
    """Keeps the rows whose `subject` is a term of the constructor, and binds the term's arguments.

    `key`, `fresh` and `same` are as in a `Join`, over the arguments.
    """

    subject: Argument
    constructor: str
    key: tuple[tuple[int, Argument], ...]
    fresh: tuple[tuple[int, str], ...]
    same: tuple[tuple[int, int], ...]
    keep: tuple[str, ...]

    def __str__(self) -> str:
        inside = [f"{column}={print_expression(value)}" for column, value in self.key]
        inside += [f"{column}->{name}" for column, name in self.fresh]
        inside += [f"{first}={second}" for first, second in self.same]
        return f"destructure {print_expression(self.subject)} as {self.constructor}({', '.join(inside)})"


@record
class Reduce:
    """Computes the groups and results of an aggregate; the only step of its pipeline."""

    reduce: ir.Reduce
    keep: tuple[str, ...]

    def __str__(self) -> str:
        return f"reduce {print_reduce(self.reduce)}"


@record
class Generate:
    """Joins the table with the tuples that a foreign predicate computes from each row's inputs.

    `inputs` are the first arguments; `types` are those of all arguments. The positions count outputs: `bound` gives
    those that must equal a bound variable or a constant, `fresh` those that bind a variable, `same` the pairs that must
    be equal. If it `is_negated`, it keeps the rows without such a tuple instead, and `computed` is as in an `AntiJoin`.
    """

    literal: int
    predicate: str
    is_negated: bool
    types: tuple[ValueType, ...]
    inputs: tuple[Argument, ...]
    bound: tuple[tuple[int, Argument], ...]
    fresh: tuple[tuple[int, str], ...]
    same: tuple[tuple[int, int], ...]
    computed: tuple[ir.Expression, ...]
    keep: tuple[str, ...]
    span: Span | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        inside = [print_expression(value) for value in self.inputs]
        inside += [f"{position}={print_expression(value)}" for position, value in self.bound]
        inside += [f"{position}->{name}" for position, name in self.fresh]
        inside += [f"{first}={second}" for first, second in self.same]
        verb = "generate no" if self.is_negated else "generate"
        return f"{verb} {self.predicate}({', '.join(inside)}){_within(self.computed)}"


def _within(computed: tuple[ir.Expression, ...]) -> str:
    return f" with {', '.join(map(print_expression, computed))} in range" if computed else ""


Step = Join | AntiJoin | Generate | Select | Extend | Destructure | Reduce


@record
class Pipeline:
    """The steps of one version of a rule, from the table of one row and no column to the bindings of its body.

    The `keep` of a step names the variables that later steps, the head or the tag still need.
    """

    rule: ir.Rule
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        head = f"project {self.rule.relation}({', '.join(map(print_expression, self.rule.head))})"
        if self.rule.tag is not None:
            head += f" tagged {print_expression(self.rule.tag)}"
        return "\n".join([*(f"{step} keep ({', '.join(step.keep)})" for step in self.steps), head])


@record
class DeltaRule:
    """One semi-naive version of a rule, with the version of its relation that each body literal sees.

    Every literal but the recursive ones sees TOTAL. In a plan `by_content`, the literals of a tagged rule are numbered
    by the values of the variables in `label`.
    """

    rule: ir.Rule
    index: int
    versions: tuple[Version, ...]
    label: tuple[ir.Variable, ...] = ()

    @property
    def delta(self) -> int | None:
        """The body position that sees the delta; None for a rule that is evaluated only once."""
        return self.versions.index(Version.DELTA) if Version.DELTA in self.versions else None


class Growth(enum.Enum):
    """The reason why a recursion ends.

    FINITE: its values are those of the tuples below. COMPARED: it makes values, and the rules compare them with others.
    OPEN: the rules show no reason.
    """

    FINITE = "finite"
    COMPARED = "compared"
    OPEN = "open"


@record
class Stratum:
    """One relation, or several that depend on each other.

    `once` is evaluated in the first round only, `each_round` in every round.
    """

    relations: tuple[str, ...]
    once: tuple[DeltaRule, ...]
    each_round: tuple[DeltaRule, ...]
    growth: Growth = Growth.FINITE


@record
class Plan:
    """The computation of some outputs: the needed relations, and strata in the order of their evaluation.

    Every relation is in one stratum. `derived` are the relations with a rule, `lifted` those with a sample column.
    `by_content`: results must not depend on what else is computed, so literals, nodes and derivations are ordered by
    their content and not as they are found. `aggregates`: some rule has an aggregate, perhaps in a part that `restrict`
    removed.
    """

    relations: tuple[ir.Relation, ...]
    strata: tuple[Stratum, ...]
    derived: frozenset[str]
    variants: tuple[ir.Variant, ...] = ()
    # Terms that exist before anything is derived.
    terms: tuple[str, ...] = ()
    lifted: frozenset[str] = frozenset()
    aggregates: bool = False
    by_content: bool = False
    library: Library = field(default=BUILT_IN, compare=False, repr=False)

    def restrict(self, relations: frozenset[str]) -> "Plan":
        """The part of the plan that computes some relations; every stratum must be whole."""
        return replace(
            self,
            relations=tuple(relation for relation in self.relations if relation.name in relations),
            strata=tuple(stratum for stratum in self.strata if relations.issuperset(stratum.relations)),
        )
