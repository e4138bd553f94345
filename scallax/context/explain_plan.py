"""Plans as text: the strata of a program, with the join order of every rule and the number of rows that it gave."""

from collections.abc import Sequence
from dataclasses import replace

from scallax.circuits.compile import analyse_program, compile_plan
from scallax.context.answers import check_outputs, default_outputs
from scallax.context.checked_programs import check_program
from scallax.context.options import Options
from scallax.errors import InputError, Source, checks_call, counted
from scallax.facts.arguments import read_names
from scallax.grounding.fixpoint import Grounding
from scallax.grounding.limits import Limits, check_limits
from scallax.language import ir
from scallax.language.foreign import ForeignItem
from scallax.language.library import read_foreign
from scallax.planner.algebra import DeltaRule, Stratum
from scallax.planner.joins import plan_joins
from scallax.syntax.imports import read_imports


@checks_call
def explain_plan(
    program: str,
    outputs: Sequence[str] | None = None,
    *,
    foreign: Sequence[ForeignItem] = (),
    limits: Limits | None = None,
) -> str:
    """Shows the plan that computes some relations of a program, with row counts. The program is grounded for this.

    Each stratum names its relations with their numbers of tuples. Under it stands every version of its rules, with the
    steps of its join and the number of rows that the rule gave in all its versions: bindings of its body, before equal
    tuples are merged.

    Args:
        program: The program as text.
        outputs: The relations that are asked for. Default: the program's queries, or all relations that are not hidden
            if it has none.
        foreign: The foreign functions, predicates, aggregates and attributes that the program uses.
        limits: The limits of grounding.

    Returns:
        The plan as a text of several lines.

    Raises:
        InputError: An argument is of a wrong kind, or an output is not a relation of the program.
        ScallaxError: The program is wrong; the error is that of running it.

    Example:
        >>> import scallax
        >>> print(scallax.explain_plan("rel edge = {(0, 1), (1, 2)}  rel two(x, z) = edge(x, y), edge(y, z)", ["two"]))
        stratum edge (2 tuples)
        stratum two (1 tuple)
          rule for two at <program>:1:30: 1 row
            join total edge(0->x, 1->y) keep (x, y)
            join total edge(0=y, 1->z) keep (x, z)
            project two(x, z)
    """
    if not isinstance(program, str):
        raise InputError(f"the program is {program!r}; it must be a text")
    if outputs is not None:
        outputs = read_names(outputs, "outputs")
    source = Source(program)
    options = Options(limits=check_limits(limits))
    checked = analyse_program([*read_imports([source]), source], library=read_foreign(foreign))
    return explain(checked, default_outputs(checked) if outputs is None else outputs, options)


def explain(program: ir.Program, outputs: Sequence[str], options: Options) -> str:
    """`explain_plan` of a checked program; of the options, the limits count."""
    check_outputs(outputs, [relation.name for relation in program.relations])
    checked = check_program(program, replace(options, provenance="unit"))
    grounding = checked.ground(outputs)
    lines: list[str] = []
    for stratum in compile_plan(program, checked.provenance.traits, outputs, options.iter_limit).strata:
        relations = (f"{name} ({counted(grounding.relations[name].size, 'tuple')})" for name in stratum.relations)
        lines.append(f"stratum {', '.join(relations)}")
        for version in (*stratum.once, *stratum.each_round):
            lines += [f"  {line}" for line in _explain_version(version, stratum, grounding)]
    return "\n".join(lines)


def _explain_version(version: DeltaRule, stratum: Stratum, grounding: Grounding) -> list[str]:
    # The sizes that grounding had when it planned this stratum.
    sizes = {
        literal.relation: grounding.relations[literal.relation].size
        for literal in version.rule.body
        if isinstance(literal, ir.Atom) and literal.relation not in stratum.relations
    }
    rows = counted(grounding.rule_rows.get(version.index, 0), "row")
    place = "" if version.rule.span is None else f" at {version.rule.span.place}"
    delta = "" if version.delta is None else ", each round"
    steps = str(plan_joins(version, sizes)).splitlines()
    return [f"rule for {version.rule.relation}{place}: {rows}{delta}", *(f"  {step}" for step in steps)]
