"""What the names of functions, predicates, aggregates and attributes in a program stand for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from scallax.errors import Diagnostic, InputError
from scallax.language.foreign import ForeignAggregate, ForeignAttribute, ForeignFunction, ForeignItem, ForeignPredicate
from scallax.language.functions import FUNCTIONS, Function
from scallax.language.predicates import PREDICATES, Predicate


@dataclass(frozen=True, slots=True)
class Library:
    """The built-in functions and predicates and foreign ones; aggregates and attributes are foreign ones only.

    Predicates with `type_params` stand under names such as `p<Tensor>`.
    """

    functions: Mapping[str, Function | ForeignFunction]
    predicates: Mapping[str, Predicate | ForeignPredicate]
    aggregates: Mapping[str, ForeignAggregate]
    attributes: Mapping[str, ForeignAttribute]

    @property
    def items(self) -> tuple[ForeignItem, ...]:
        """The foreign ones."""
        tables = (self.functions, self.predicates, self.aggregates, self.attributes)
        return tuple(item for table in tables for item in table.values() if isinstance(item, ForeignItem))

    @property
    def declarations(self) -> tuple[str, ...]:
        """The signatures of the foreign ones as texts, sorted."""
        return tuple(sorted(map(str, self.items)))

    def with_items(self, items: Iterable[ForeignItem]) -> "Library":
        """The library with more foreign ones. InputError if a name is taken, or something is no foreign item."""
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
        """The name under which a predicate stands that an atom with these type arguments means; None: a relation."""
        special = f"{name}<{', '.join(types)}>"
        if special in self.predicates:
            return special
        return name if name in self.predicates else None

    def is_predicate(self, name: str) -> bool:
        """Whether the name is that of a predicate, whatever its type arguments."""
        return name in self.predicates or any(other.startswith(f"{name}<") for other in self.predicates)


def _add(table: dict, name: str, item: ForeignItem, what: str) -> None:
    if name in table:
        if isinstance(table[name], ForeignItem):
            raise InputError(Diagnostic(f"`foreign` has the {what} twice", hint="give each name once; `name=` renames"))
        raise InputError(Diagnostic(f"the {what} is built in", hint="give the foreign one another name with `name=`"))
    table[name] = item


def read_foreign(items: object) -> Library:
    """The library of the argument `foreign`. InputError if it is no list of foreign items, or names are taken."""
    if isinstance(items, ForeignItem | str) or not isinstance(items, Iterable):
        raise InputError(f"`foreign` must be a list of foreign functions, predicates and the like, not {items!r}")
    return BUILT_IN.with_items(items)


BUILT_IN = Library(FUNCTIONS, PREDICATES, {}, {})
