"""Grounding against naive evaluation, world by world."""

import itertools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scallax.grounding.derivations import ONE, ZERO, operand_literal
from scallax.grounding.fixpoint import Grounding, ground
from scallax.grounding.grounding_options import GroundingOptions
from scallax.planner.plan import plan
from tests.oracles import naive_datalog, rule_matches
from tests.random_programs import Case, random_case


def ground_case(case: Case, **options) -> Grounding:
    sets, literals = case.fact_sets()
    outputs = [relation.name for relation in case.program.relations]
    return ground(plan(case.program, outputs), sets, literals, GroundingOptions(**options))


def node_values(grounding: Grounding, literals: list[bool]) -> dict[int, bool]:
    """The truth of every operand code in one world: least fixpoints, negated nodes completed first."""
    d = grounding.derivations
    rows = list(zip(*(a.tolist() for a in (d.head, d.left, d.left_negated, d.right, d.right_negated)), strict=True))
    level = [0] * d.num_nodes
    changed = True
    while changed:
        changed = False
        for head, left, left_negated, right, right_negated in rows:
            for operand, negated in ((left, left_negated), (right, right_negated)):
                if operand >= 0 and level[head] < level[operand] + negated:
                    level[head] = level[operand] + negated
                    changed = True
    truth = [False] * d.num_nodes

    def holds(operand: int, negated: bool) -> bool:
        value = operand == ONE or (truth[operand] if operand >= 0 else literals[operand_literal(operand)])
        return value != negated

    for current in range(max(level, default=0) + 1):
        changed = True
        while changed:
            changed = False
            for head, left, left_negated, right, right_negated in rows:
                if level[head] == current and not truth[head]:
                    truth[head] = holds(left, left_negated) and holds(right, right_negated)
                    changed |= truth[head]
    values = dict(enumerate(truth))
    return values | {-3 - i: value for i, value in enumerate(literals)} | {ONE: True, ZERO: False}


@pytest.mark.parametrize("collapse", [True, False])
@pytest.mark.parametrize("seed", [*range(40), 1003, 1009])
def test_every_world_of_a_random_program_has_its_tuples(seed: int, collapse: bool):
    case = random_case(seed, negation=seed % 2 == 0, num_literals=4)
    grounding = ground_case(case, collapse_certain=collapse)
    for bits in itertools.product([False, True], repeat=case.num_literals):
        expected = naive_datalog(case.program, case.world(list(bits)))
        values = node_values(grounding, list(bits))
        for name, tuples in expected.items():
            possible = grounding.tuples(name)
            actual = {t for t, code in zip(possible, grounding.operands(name).tolist(), strict=True) if values[code]}
            assert actual == tuples, name


@pytest.mark.parametrize("seed", range(60))
def test_every_world_of_a_random_program_with_ranges_and_calls_has_its_tuples(seed: int):
    case = random_case(seed, negation=seed % 2 == 0, num_literals=3, with_builtins=True)
    grounding = ground_case(case)
    for bits in itertools.product([False, True], repeat=case.num_literals):
        expected = naive_datalog(case.program, case.world(list(bits)))
        values = node_values(grounding, list(bits))
        for name, tuples in expected.items():
            possible = grounding.tuples(name)
            actual = {t for t, code in zip(possible, grounding.operands(name).tolist(), strict=True) if values[code]}
            assert actual == tuples, name


@pytest.mark.parametrize("seed", range(1, 80, 2))
def test_a_tuple_is_certain_iff_it_holds_without_any_literal(seed: int):
    case = random_case(seed, negation=False, num_literals=5)
    grounding = ground_case(case)
    expected = naive_datalog(case.program, case.world([False] * case.num_literals))
    for name, tuples in expected.items():
        codes = grounding.operands(name)
        certain = {t for t, code in zip(grounding.tuples(name), codes.tolist(), strict=True) if code == ONE}
        assert certain == tuples
        assert not set(grounding.derivations.head.tolist()) & set(codes[codes == ONE].tolist())


@pytest.mark.parametrize("seed", range(40))
def test_every_match_of_a_body_is_one_derivation(seed: int):
    case = random_case(seed, negation=False, num_literals=0)
    grounding = ground_case(case, collapse_certain=False)
    database = naive_datalog(case.program, case.world([]))
    tuple_nodes = {code for name in database for code in grounding.operands(name).tolist() if code >= 0}
    of_tuples = np.isin(grounding.derivations.head, list(tuple_nodes))
    for index, rule in enumerate(case.program.rules):
        matches = {(head, tuples) for head, tuples, _ in rule_matches(rule, database)}
        assert np.count_nonzero(of_tuples & (grounding.rules == index)) == len(matches)


@pytest.mark.parametrize("seed", range(40))
def test_no_derivation_is_listed_twice(seed: int):
    grounding = ground_case(random_case(seed, negation=True, num_literals=5))
    d = grounding.derivations
    made = grounding.rules >= 0
    columns = (d.head, d.left, d.left_negated, d.right, d.right_negated, grounding.rules)
    rows = list(zip(*(column[made].tolist() for column in columns), strict=True))
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("seed", range(0, 40, 4))
def test_operands_are_well_formed(seed: int):
    grounding = ground_case(random_case(seed, negation=True, num_literals=6))
    d = grounding.derivations
    for operands, negated in ((d.left, d.left_negated), (d.right, d.right_negated)):
        assert operands.dtype == np.int64
        assert np.all(operands < d.num_nodes)
        assert np.all(operands != ZERO)
        assert np.all(operand_literal(operands[operands <= -3]) < len(grounding.literals))
        assert not np.any(negated & (operands == ONE))
        assert np.all(np.isin(operands[operands >= 0], d.head)), "a node that is used has a derivation"
    assert np.all((d.left != ONE) | (d.right == ONE)), "one operand stands on the left"


def test_grounding_does_not_depend_on_the_hash_seed():
    script = (
        "import hashlib; from tests.random_programs import random_case\n"
        "from tests.grounding.test_grounding import ground_case\n"
        "digest = hashlib.sha256()\n"
        "for seed in range(10):\n"
        "    d = ground_case(random_case(seed, negation=True, num_literals=6)).derivations\n"
        "    for column in (d.head, d.left, d.right, d.left_negated, d.right_negated):\n"
        "        digest.update(column.tobytes())\n"
        "print(digest.hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_grounding_survives_pickling():
    case = random_case(0, negation=True, num_literals=5)
    grounding = ground_case(case)
    restored = pickle.loads(pickle.dumps(grounding))
    for relation in case.program.relations:
        assert restored.tuples(relation.name) == grounding.tuples(relation.name)
        assert np.array_equal(restored.operands(relation.name), grounding.operands(relation.name))
    assert np.array_equal(restored.derivations.head, grounding.derivations.head)
