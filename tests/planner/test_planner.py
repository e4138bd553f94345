"""Strata, semi-naive versions and join orders, as printed text."""

from pathlib import Path

import pytest

from scallax.circuits.compile import analyse_program
from scallax.context.explain_plan import explain_plan
from scallax.errors import Source, StratificationError
from scallax.language import ir
from scallax.planner.algebra import Join
from scallax.planner.joins import plan_joins
from scallax.planner.plan import plan
from scallax.planner.strata import stratify
from tests.random_programs import random_case

FIXTURES = Path(__file__).parents[1] / "fixtures"


def _programs(stage: str) -> list[Path]:
    return sorted((FIXTURES / stage).glob("*.scl"))


def print_plan(program: ir.Program) -> str:
    """The strata with the pipelines of their rules, all relations taken as equally large."""
    lines: list[str] = []
    for stratum in plan(program, [relation.name for relation in program.relations]).strata:
        lines.append(f"stratum {', '.join(stratum.relations)}")
        for version in (*stratum.once, *stratum.each_round):
            lines += [f"  {line}" for line in str(plan_joins(version, {})).splitlines()] + [""]
    return "\n".join(lines).rstrip() + "\n"


@pytest.mark.parametrize("path", _programs("plan"), ids=lambda path: path.stem)
def test_plans_are_as_written(path: Path):
    assert print_plan(analyse_program([Source(path.read_text(), path.name)])) == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", _programs("explanations"), ids=lambda path: path.stem)
def test_explanations_are_as_written(path: Path):
    assert f"{explain_plan(path.read_text())}\n" == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", _programs("strata"), ids=lambda path: path.stem)
def test_negative_cycles_are_reported_as_written(path: Path):
    program = analyse_program([Source(path.read_text(), path.name)])
    with pytest.raises(StratificationError) as caught:
        plan(program, [])
    assert f"{caught.value}\n" == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("seed", range(20))
def test_strata_come_after_what_they_read(seed: int):
    program = random_case(seed, negation=True, num_literals=0).program
    strata = stratify(program)
    position = {name: i for i, names in enumerate(strata) for name in names}
    assert sorted(position) == sorted(relation.name for relation in program.relations)
    for rule in program.rules:
        for literal in rule.body:
            if isinstance(literal, ir.Atom):
                assert position[literal.relation] <= position[rule.relation]
            if isinstance(literal, ir.NegatedAtom):
                assert position[literal.relation] < position[rule.relation]


def test_only_what_outputs_need_is_planned():
    program = analyse_program([Source("rel a = {1}\nrel b(x) = a(x)\nrel c(x) = b(x)\nrel d(x) = a(x)\n")])
    planned = plan(program, ["b"])
    assert [relation.name for relation in planned.relations] == ["a", "b"]
    assert [stratum.relations for stratum in planned.strata] == [("a",), ("b",)]


def test_a_long_chain_of_relations_is_stratified():
    text = "rel r0 = {1}\n" + "".join(f"rel r{i + 1}(x) = r{i}(x)\n" for i in range(3000))
    assert len(stratify(analyse_program([Source(text)]))) == 3001


def test_the_smaller_relation_is_joined_first():
    program = analyse_program(
        [Source("type a(i32, i32), b(i32, i32), c(i32, i32)\nrel r(x, z) = a(x, y), b(y, w), c(w, z)\n")]
    )
    (version,) = plan(program, ["r"]).strata[-1].once
    sizes = {"a": 10_000, "b": 10_000, "c": 10}
    steps = plan_joins(version, sizes).steps
    assert [step.relation for step in steps if isinstance(step, Join)] == ["c", "b", "a"]
