"""The functions, predicates, aggregates and attributes that a program can name."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from scallax.errors import Diagnostic, InputError
from scallax.language.foreign import ForeignAggregate, ForeignAttribute, ForeignFunction, ForeignItem, ForeignPredicate
from scallax.language.functions import FUNCTIONS, Function
from scallax.language.predicates import PREDICATES, Predicate
from scallax.language.records import record


@record
class Library:
    """The built-in functions and predicates, and the foreign items; aggregates and attributes are always foreign here.

    Predicates with `type_params` have names such as `p<Tensor>`.
    """

    functions: Mapping[str, Function | ForeignFunction]
    predicates: Mapping[str, Predicate | ForeignPredicate]
    aggregates: Mapping[str, ForeignAggregate]
    attributes: Mapping[str, ForeignAttribute]

    @property
    def items(self) -> tuple[ForeignItem, ...]:
        """The foreign items."""
        tables = (self.functions, self.predicates, self.aggregates, self.attributes)
        return tuple(item for table in tables for item in table.values() if isinstance(item, ForeignItem))

    @property
    def declarations(self) -> tuple[str, ...]:
        """The signatures of the foreign items as texts, sorted."""
        return tuple(sorted(map(str, self.items)))

    def with_items(self, items: Iterable[ForeignItem]) -> "Library":
        """The library with further foreign items. InputError if a name is taken, or an object is not a foreign item."""
        functions, predicates = dict(self.functions), dict(self.predicates)
        aggregates, attributes = dict(self.aggregates), dict(self.attributes)
        for item in items:
            match item:
                case ForeignFunction(signature=signature):
                    _add(functions, signature.name, item, f"function `${signature.name}`")
                case ForeignPredicate(signature=signature):
                    _add(predicates, signature.name, item, f"predicate `{signature.name}`")
                case ForeignAggregate(signature=signature):
                    _add(aggregates, signature.name, item, f"aggregate `{signature.name}`")
                case ForeignAttribute(name=name):
                    _add(attributes, name, item, f"attribute `@{name}`")
                case _:
                    hint = "decorate it with `scallax.foreign_function`, `foreign_predicate` or the like"
                    message = (
                        f"`foreign` holds {item!r}, which is no foreign function, predicate, aggregate or attribute"
                    )
                    raise InputError(Diagnostic(message, hint=hint))
        return replace(self, functions=functions, predicates=predicates, aggregates=aggregates, attributes=attributes)

    def predicate_name(self, name: str, types: Iterable[str] = ()) -> str | None:
        """The full name of the predicate that an atom with these type arguments refers to; None if it is a relation."""
        special = f"{name}<{', '.join(types)}>"
        if special in self.predicates:
            return special
        return name if name in self.predicates else None

    def is_predicate(self, name: str) -> bool:
        """Whether there is a predicate of this name, with any type arguments."""
        return name in self.predicates or any(other.startswith(f"{name}<") for other in self.predicates)


def _add(table: dict, name: str, item: ForeignItem, what: str) -> None:
    if name in table:
        if isinstance(table[name], ForeignItem):
            raise InputError(Diagnostic(f"`foreign` has the {what} twice", hint="give each name once; `name=` renames"))
        raise InputError(Diagnostic(f"the {what} is built in", hint="give the foreign one another name with `name=`"))
    table[name] = item


def read_foreign(items: object) -> Library:
    """The library for the argument `foreign`. InputError if it is no list of foreign items, or two share a name."""
    if isinstance(items, ForeignItem | str) or not isinstance(items, Iterable):
        raise InputError(f"`foreign` must be a list of foreign functions, predicates and the like, not {items!r}")
    return BUILT_IN.with_items(items)


BUILT_IN = Library(FUNCTIONS, PREDICATES, {}, {})
