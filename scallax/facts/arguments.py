"""The arguments of a reasoner, checked and brought into normal form."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from scallax.errors import Diagnostic, InputError, LateText, Source, near_name
from scallax.facts.mappings import (
    TAG_HINT,
    Entries,
    InputMapping,
    is_finite_number,
    is_value,
    read_entries,
    read_tuple,
    show_tuple,
)
from scallax.facts.specification import EXECUTORS, ON_IMPOSSIBLE, Specification, Tag
from scallax.language.tag_domains import Domain
from scallax.language.values import Value, ValueType
from scallax.provenance.traits import Traits

Outputs = tuple[tuple[str, Entries | None], ...]

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(::[A-Za-z_][A-Za-z0-9_]*)*\Z")
_PYTHON_TYPES = {int: "i32", float: "f32", str: "String", bool: "bool"}


def read_file(path: str | Path | None) -> Source | None:
    """The program's file; InputError if it cannot be read."""
    if path is None:
        return None
    if not isinstance(path, str | Path):
        raise InputError(f"the program file is {path!r}; it must be a path")
    try:
        return Source(Path(path).read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:  # no such file, no permission, not text
        raise InputError(f"the program file `{path}` cannot be read: {error}") from None


def specify(
    program: str | None,
    file: str | None,
    given: Mapping[str, Any],
    *,
    provenance: str,
    custom: str | None,
    traits: Traits,
) -> Specification:
    """The arguments of a reasoner in normal form; tuples are as given, not yet fitted to column types.

    Args:
        program: The program's text.
        file: The text of the program's file.
        given: Every keyword of `ProgramArguments`. `facts` are lists alone: what is read from tables comes later.
        provenance: The name of the provenance, `custom` for a user's own.
        custom: The qualified name of the class of the user's provenance.
        traits: The provenance's traits, such as the domain of a fact's tag.

    Returns:
        The specification, with relations sorted by name; `outputs` is empty where none are named.

    Raises:
        InputError: An argument is of another kind than it must be, or out of range.
    """
    if program is not None and not isinstance(program, str):
        raise InputError(f"`program` is a {type(program).__name__}; it must be the program's text")
    if program is not None and program.endswith(".scl") and "\n" not in program:
        raise InputError(Diagnostic(f"`program` is the name of a file, `{program}`", hint="give it as `file=`"))
    untagged = read_names(given["non_probabilistic"], "non_probabilistic")
    mappings = _read_input_mappings(
        read_by_relation(given["input_mappings"], "`input_mappings`"),
        read_by_relation(given["retain_topk"], "`retain_topk`"),
        untagged,
    )
    evidence = _read_evidence(read_by_relation(given["evidence"], "`evidence`"))
    if given["on_impossible"] not in ON_IMPOSSIBLE:
        known = " or ".join(map(repr, ON_IMPOSSIBLE))
        raise InputError(f"`on_impossible` is {given['on_impossible']!r}; it must be {known}")
    takes_tags = traits.takes_tagged_facts
    outputs, keyed = read_outputs(given["output_relation"], given["output_mapping"], given["output_mappings"])
    if not isinstance(given["log"], bool):
        raise InputError(f"`log` is {given['log']!r}; it must be True or False")
    for name in ("wmc_with_disjunctions", "absorb", "early_discard"):
        flag = given[name]
        if flag is not None and not isinstance(flag, bool):
            raise InputError(f"`{name}` is {flag!r}; it must be True, False or None")
    check_count("k", given["k"], 1)
    check_count("seed", given["seed"], 0)
    if given["seed"] >= 1 << 32:
        raise InputError(f"`seed` is {given['seed']}; it must be below 2^32")
    check_executor(given["executor"])
    for name, least in (("train_k", 1), ("test_k", 1), ("iter_limit", 0)):
        if given[name] is not None:
            check_count(name, given[name], least)
    return Specification(
        program=program,
        file=file,
        relations=_read_relations(given["relations"]),
        rules=read_names(given["rules"], "rules"),
        facts=tuple(
            (relation, _read_facts(relation, elements, takes_tags and relation not in untagged, traits.domain))
            for relation, elements in sorted(given["facts"].items())
        ),
        provenance=provenance,
        wmc_with_disjunctions=bool(given["wmc_with_disjunctions"]),
        absorb=given["absorb"] is not False,
        non_probabilistic=untagged,
        trainable=tuple(sorted(set(read_names(given["trainable"], "trainable")))),
        input_mappings=mappings,
        outputs=outputs,
        keyed=keyed,
        custom=custom,
        evidence=evidence,
        on_impossible=given["on_impossible"],
        log=given["log"],
        # Numbers and choices that are kept as they are.
        **{name: given[name] for name in ("k", "train_k", "test_k", "iter_limit", "early_discard", "seed", "executor")},
    )


def check_executor(executor: object, allowed: Sequence[str | None] = EXECUTORS) -> None:
    """InputError for what is none of the allowed ones."""
    if (executor is not None and not isinstance(executor, str)) or executor not in allowed:
        known = " or ".join(map(repr, allowed))
        hint = "JAX compiles a program before its first answer, and NumPy answers at once"
        if executor is None:
            hint = f"leave it out for {allowed[0]!r}; only contexts choose one by the size of a program"
        raise InputError(Diagnostic(f"`executor` is {executor!r}; it must be {known}", hint=hint))


def program_sources(specification: Specification, file_name: str = "<file>") -> list[Source]:
    """The program as texts to parse: imported files, the file, the program, then declarations and rules given apart."""
    sources = [Source(text, name) for name, text in specification.imports]
    if specification.file is not None:
        sources.append(Source(specification.file, file_name))
    if specification.program is not None:
        sources.append(Source(specification.program, "<program>"))
    for name, columns in specification.relations:
        sources.append(Source(f"type {name}({', '.join(columns)})", f"<relation {name}>"))
    for number, rule in enumerate(specification.rules, start=1):
        text = rule if re.match(r"\s*rel\b", rule) else f"rel {rule}"
        sources.append(Source(text, f"<rule {number}>"))
    return sources


def read_by_relation(given: object, what: str) -> dict[str, Any]:
    """An argument by relation, empty for None; InputError for anything but a dictionary with names for keys."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(f"{what} must be a dictionary by names of relations, not a {type(given).__name__}")
    for name in given:
        if not isinstance(name, str):
            raise InputError(f"{what} has the key {name!r}, which is no name of a relation")
    return dict(given)


def unknown_name(message: str, name: object, known: Iterable[str]) -> InputError:
    """An error about a name, with the nearest of the known ones as its hint."""
    known = list(known)
    listed = f"known: {', '.join(f'`{n}`' for n in known)}" if known else None
    return InputError(Diagnostic(message, hint=near_name(name, known) or listed))


def read_outputs(relation: str | None, mapping: object, mappings: Mapping[str, object] | None) -> tuple[Outputs, bool]:
    """The outputs, and whether they are returned as a dictionary. No outputs if every argument is None."""
    if mappings is not None:
        if relation is not None or mapping is not None:
            raise InputError("give `output_mappings` or `output_relation` and `output_mapping`, not both")
        if not isinstance(mappings, Mapping):
            raise InputError("`output_mappings` must be a dictionary from relations to mappings")
        if not mappings:
            return (), False
        return tuple((name, _read_output(name, entry)) for name, entry in mappings.items()), True
    if relation is None and mapping is not None:
        match mapping:
            case (str() as name, entry) if isinstance(mapping, tuple):
                relation, mapping = name, entry
            case _:
                raise InputError(
                    Diagnostic(
                        "`output_mapping` does not say which relation it is for",
                        hint='write `output_mapping=("relation", mapping)`, or give `output_relation` as well',
                    )
                )
    if relation is None:
        return (), False
    if not isinstance(relation, str):
        raise InputError(f"`output_relation` is {relation!r}; it must be the name of a relation")
    return ((relation, _read_output(relation, mapping)),), False


def _read_output(relation: str, mapping: object) -> Entries | None:
    if mapping is None:
        return None
    what = f"output mapping of `{relation}`"
    entries = read_entries(mapping, what)
    if isinstance(mapping, dict) or len(entries.shape) > 1 or is_value(mapping):
        raise InputError(
            f"{what}: give a range, a list of values or tuples, one tuple, or None for every possible tuple"
        )
    return entries


def _read_input_mappings(
    mappings: Mapping[str, object], retain_topk: Mapping[str, int], untagged: Sequence[str]
) -> tuple[tuple[str, InputMapping], ...]:
    read = {}
    for relation, mapping in mappings.items():
        if relation in untagged:
            raise InputError(
                f"`{relation}` is non-probabilistic, but its input mapping takes probabilities; "
                "leave it out of one of the two"
            )
        if mapping is not None and not isinstance(mapping, InputMapping):
            mapping = InputMapping(read_entries(mapping, f"input mapping of `{relation}`"))
        if mapping is not None and mapping.kind is not None:
            read[relation] = mapping
    for relation, k in retain_topk.items():
        if relation not in read:
            raise unknown_name(f"`retain_topk` names `{relation}`, which has no input mapping", relation, read)
        mapping = read[relation]
        read[relation] = InputMapping(mapping.entries, **{**mapping.options, "retain_k": k})
    return tuple(sorted(read.items()))


def _read_evidence(mappings: Mapping[str, object]) -> tuple[tuple[str, InputMapping], ...]:
    """The mappings of what calls may observe; None stands for the one tuple of a relation without columns."""
    read = {}
    for relation, mapping in mappings.items():
        what = f"evidence of `{relation}`"
        if isinstance(mapping, InputMapping):
            if mapping.kind is None or mapping.disjunctive or mapping.retention is not None or mapping.log:
                raise InputError(f"{what}: the mapping has no options; it says which tuples are observed")
            read[relation] = mapping
            continue
        read[relation] = InputMapping(Entries((), ((),)) if mapping is None else read_entries(mapping, what))
    return tuple(sorted(read.items()))


def _read_facts(
    relation: str, elements: Iterable, tagged: bool, domain: Domain
) -> tuple[tuple[Tag, tuple[Value, ...]], ...]:
    if isinstance(elements, str) or not isinstance(elements, Iterable):
        raise InputError(f"facts of `{relation}`: give a list of facts, not {elements!r}")
    facts = []
    for position, element in enumerate(elements):
        what = LateText("facts of `{}`: fact {}, {!r}", relation, position, element)
        tag = None
        if tagged:
            if not isinstance(element, tuple) or len(element) != 2:
                raise InputError(
                    Diagnostic(f"{what}, has no tag", hint="write `(probability, tuple)`, or `(None, tuple)`")
                )
            tag, element = element
            if tag is not None and not isinstance(tag, bool) and not is_finite_number(tag):
                message = f"{what}, has the tag {tag!r}; it must be a finite number, a bool or None"
                raise InputError(Diagnostic(message, hint=None if isinstance(tag, float) else TAG_HINT))
            if tag is not None and not domain.admits(tag):
                raise InputError(f"{what}, has the tag {tag!r}; it must be {domain.value}")
        values = read_tuple(element if isinstance(element, tuple) else (element,), what)
        facts.append((tag if tag is None or isinstance(tag, bool) else float(tag), values))
    return tuple(facts)


def _read_relations(items: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if items is None:
        return ()
    if isinstance(items, str) or not isinstance(items, Iterable):
        raise InputError(f"`relations` is {items!r}; it must be a list of pairs of a name and column types")
    return tuple(map(_read_relation, items))


def _read_relation(item: object) -> tuple[str, tuple[str, ...]]:
    match item:
        case (str() as name, types) if _IDENTIFIER.match(name):
            columns = types if isinstance(types, tuple | list) else (types,)
            return name, tuple(read_type(name, column) for column in columns)
        case _:
            raise InputError(f"`relations` holds {item!r}; every item must be a pair of a name and column types")


def read_type(relation: str, column: object) -> str:
    """The name of a column's type, given as a value type, an annotation with one, a type of Python or a name."""
    for part in (column, *get_args(column)):
        if isinstance(part, ValueType):
            return str(part)
    if isinstance(column, type) and column in _PYTHON_TYPES:
        return _PYTHON_TYPES[column]
    if isinstance(column, str) and _IDENTIFIER.match(column):
        return column
    raise InputError(f"relation `{relation}`: {column!r} is no column type; write a type's name such as `i32`")


def read_names(names: Sequence[str] | None, what: str) -> tuple[str, ...]:
    """Names that are given as a list, none for None; InputError for anything else."""
    names = () if names is None else names
    if isinstance(names, str) or not isinstance(names, Iterable) or not all(isinstance(n, str) for n in names):
        raise InputError(f"`{what}` must be a list of strings")
    return tuple(names)


def check_count(name: str, count: object, least: int) -> None:
    """InputError unless the argument is an integer that is large enough."""
    if isinstance(count, bool) or not isinstance(count, int) or count < least:
        raise InputError(f"`{name}` is {count!r}; it must be an integer of at least {least}")


def show_facts(relation: str, tuples: Sequence[tuple[Value, ...]], most: int = 5) -> str:
    """Tuples of a relation for a message: `sum_2(19)`, `sum_2(20)` and 3 more."""
    shown = ", ".join(f"`{relation}{show_tuple(t)}`" for t in tuples[:most])
    return shown if len(tuples) <= most else f"{shown} and {len(tuples) - most} more"
