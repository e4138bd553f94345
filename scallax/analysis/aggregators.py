"""The aggregators: the inputs and results of each, and the checks of their uses."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from scallax.analysis.names import Names
from scallax.errors import (
    Diagnostic,
    NameResolutionError,
    Problem,
    ScallaxError,
    Span,
    TypeInferenceError,
    counted,
    near_name,
)
from scallax.language.records import record
from scallax.language.values import Scalar
from scallax.syntax import ast
from scallax.syntax.ast import ConstantKind


@record
class Aggregator:
    """The inputs and results of an aggregator.

    `results` are, in order, of the kinds `usize`, `bool`, `arguments` and `values` (all of these, with their types), or
    `result`, a type that a foreign aggregate declares. `values` tells the kind of the bound values: `any`, `number`,
    `float` or `String`; all kinds but `any` take one value. `parameters` are types by name, the first ones positional;
    `needs` are the parameters without a default.
    """

    results: tuple[str, ...]
    values: str = "any"
    least_values: int = 1
    most_values: int | None = None
    least_arguments: int = 0
    most_arguments: int | None = None
    may_be_discrete: bool = False
    parameters: tuple[tuple[str, type], ...] = ()
    needs: tuple[str, ...] = ()


_BEST = Aggregator(("arguments", "values"), may_be_discrete=True)
_WHERE_BEST = Aggregator(("arguments",), least_arguments=1, may_be_discrete=True)
_FOLD = Aggregator(("values",), "number", may_be_discrete=True)
_WEIGHTED = Aggregator(("values",), "float", may_be_discrete=True)
_TRUTH = Aggregator(("bool",), least_values=0, most_arguments=0, may_be_discrete=True)
_CHOICE = Aggregator(("values",), most_arguments=0, parameters=(("k", int),))
_RETAGGED = Aggregator(("values",), most_arguments=0)
_DIRECTION = (("desc", bool), ("asc", bool))

AGGREGATORS = {
    "count": Aggregator(("usize",), most_arguments=0, may_be_discrete=True),
    "sum": _FOLD,
    "prod": _FOLD,
    "avg": _FOLD,
    "weighted_sum": _WEIGHTED,
    "weighted_avg": _WEIGHTED,
    "min": _BEST,
    "max": _BEST,
    "argmin": _WHERE_BEST,
    "argmax": _WHERE_BEST,
    "exists": _TRUTH,
    "forall": replace(_TRUTH, may_be_discrete=False),
    "string_join": Aggregator(
        ("values",), "String", may_be_discrete=True, parameters=(("separator", str), ("all", bool))
    ),
    "sort": Aggregator(("usize", "arguments", "values"), parameters=_DIRECTION),
    "argsort": Aggregator(("usize", "arguments"), least_arguments=1, parameters=_DIRECTION),
    "enumerate": Aggregator(("usize", "values"), most_arguments=0),
    "rank": Aggregator(("usize", "values"), most_arguments=0, parameters=_DIRECTION),
    "unique": _RETAGGED,
    "top": _CHOICE,
    "uniform": replace(_CHOICE, needs=("k",)),
    "categorical": replace(_CHOICE, needs=("k",)),
    "normalize": _RETAGGED,
    "softmax": _RETAGGED,
    "disjunct": Aggregator(("arguments", "values")),
}


@dataclass(slots=True)
class UseChecks:
    """Checks the uses of aggregators in a program, and collects the problems."""

    names: Names
    problems: list[Problem] = field(default_factory=list)

    def report(self, kind: type[ScallaxError], message: str, span: Span, hint: str | None = None) -> None:
        """Adds a problem, unless it is there already."""
        problem = (kind, Diagnostic(message, span, hint))
        if problem not in self.problems:
            self.problems.append(problem)

    def check(self, aggregate: ast.Aggregate) -> tuple[Aggregator, tuple[tuple[str, Scalar], ...]] | tuple[None, None]:
        """The aggregator and its parameters; None, with the problems reported, if the use does not fit."""
        op, span = aggregate.op, aggregate.span
        aggregator = self.aggregator(op)
        if aggregator is None:
            known = [*AGGREGATORS, *self.names.library.aggregates]
            hint = near_name(op, known) or f"there are {', '.join(f'`{name}`' for name in known)}"
            self.report(NameResolutionError, f"unknown aggregate `{op}`", span, hint)
            return None, None
        before = len(self.problems)
        if aggregate.is_discrete and not aggregator.may_be_discrete:
            self.report(TypeInferenceError, f"`{op}` has no form with `!`", span, f"write `{op}` without the `!`")
        count = len(aggregate.arguments)
        if count < aggregator.least_arguments:
            message = f"`{op}` needs an argument in brackets"
            self.report(TypeInferenceError, message, span, f"name what to return: `{op}[a](…)`")
        if aggregator.most_arguments is not None and count > aggregator.most_arguments:
            self.report(TypeInferenceError, f"`{op}` takes no arguments in brackets", span, "leave them out")
        values = len(aggregate.bindings)
        if values < aggregator.least_values:
            wanted = "a binding" if aggregator.least_values == 1 else f"{aggregator.least_values} bindings"
            self.report(TypeInferenceError, f"`{op}` needs {wanted}", span, f"name what to aggregate: `{op}(x: …)`")
        elif aggregator.most_values is not None and values > aggregator.most_values:
            wanted = counted(aggregator.most_values, "binding")
            hint = f"it is `{self.names.library.aggregates[op].signature.text}`"
            self.report(TypeInferenceError, f"`{op}` takes {wanted}, found {values}", span, hint)
        elif aggregator.values != "any" and values != 1:
            hint = "put what only tells tuples apart in brackets: " + f"`{op}[a](x: …)`"
            self.report(TypeInferenceError, f"`{op}` takes one binding, found {values}", span, hint)
        if op == "forall" and not isinstance(aggregate.body, ast.Implies):
            hint = "write what it is for and what shall hold: `forall(x: a(x) implies b(x))`"
            self.report(TypeInferenceError, "the body of `forall` is no implication", span, hint)
        parameters = self.parameters(aggregate, aggregator)
        return (aggregator, parameters) if len(self.problems) == before else (None, None)

    def aggregator(self, op: str) -> Aggregator | None:
        """The aggregator with a name, built in or foreign."""
        foreign = self.names.library.aggregates.get(op)
        if foreign is None:
            return AGGREGATORS.get(op)
        count = len(foreign.signature.parameters)
        return Aggregator(
            ("result",) * len(foreign.results),
            least_values=count,
            most_values=count,
            most_arguments=0,
            may_be_discrete=True,
            parameters=tuple((name, type(default)) for name, default in foreign.options),
        )

    def parameters(self, aggregate: ast.Aggregate, aggregator: Aggregator) -> tuple[tuple[str, Scalar], ...]:
        kinds = dict(aggregator.parameters)
        free = [name for name, kind in aggregator.parameters if kind is not bool]
        found: dict[str, Scalar] = {}
        for parameter in aggregate.parameters:
            value, name, span = parameter.value, parameter.keyword, parameter.span
            if name is None and isinstance(value, ast.Name) and value.name not in self.names.constants:
                name, value = value.name, ast.Constant(True, ConstantKind.BOOL, span)
            elif name is None:
                name = free.pop(0) if free else None
                if name is None:
                    message = f"`{aggregate.op}` takes no such parameter"
                    self.report(TypeInferenceError, message, span, _known_parameters(kinds))
                    continue
            if name not in kinds:
                message = f"`{aggregate.op}` has no parameter `{name}`"
                self.report(NameResolutionError, message, span, near_name(name, kinds) or _known_parameters(kinds))
                continue
            read = self.parameter(aggregate.op, name, value, kinds[name], span)
            if read is not None:
                found[name] = read
        for name in aggregator.needs:
            if name not in found:
                message = f"`{aggregate.op}` needs the parameter `{name}`"
                self.report(TypeInferenceError, message, aggregate.span, f"write `{aggregate.op}<3>(…)`")
        return tuple(found.items())

    def parameter(self, op: str, name: str, value: object, kind: type, span: Span) -> Scalar | None:
        """The value of a parameter of an aggregate, which must be of a kind; None after a report."""
        if isinstance(value, ast.Name):
            value = self.names.constants.get(value.name, value)
        if not isinstance(value, ast.Constant) or type(value.value) is not kind:
            wanted = {int: "an integer", float: "a float", str: "a string", bool: "`true` or `false`"}[kind]
            self.report(TypeInferenceError, f"the parameter `{name}` of `{op}` must be {wanted}", span)
            return None
        if op in AGGREGATORS and isinstance(value.value, int) and value.value < 0:
            message = f"the parameter `{name}` of `{op}` is negative"
            self.report(TypeInferenceError, message, span, "give a number of at least 0")
            return None
        return value.value

    def num_results(self, aggregate: ast.Aggregate) -> int:
        aggregator = self.aggregator(aggregate.op)
        if aggregator is None:
            return 1
        sizes = {"arguments": len(aggregate.arguments), "values": len(aggregate.bindings)}
        return sum(sizes.get(kind, 1) for kind in aggregator.results)


def _known_parameters(kinds: Collection[str]) -> str:
    return f"it has {', '.join(f'`{name}`' for name in kinds)}" if kinds else "it has no parameters"
