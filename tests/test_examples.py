"""Every script in `examples/` runs and learns what it says: by night as users run it, else the long ones for little."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
# Fewer passes over the pairs than by default, to much the same accuracy.
OPTIONS = {"digit_sum_torch.py": ["--epochs", "1"], "learn_from_observations.py": ["--quick"]}
# Scripts that learn for long: how long, and the text there instead in every run. `make nightly` runs them as they are.
SHORT = {
    "compare_digits.py": {"= 500, 64, 5, 1000": "= 2, 8, 5, 10"},
    "cross_framework.py": {"= 32, 6400, 5000, 1, 6": "= 32, 64, 100, 1, 1", "after > before and after >= 0.95": "True"},
    "digit_sum_flax.py": {"= 32, 6400, 5000": "= 32, 64, 100", "default=5": "default=1"},
    "grid_world.py": {"= 100, 64, 1000": "= 2, 8, 10"},
    "handwritten_formulas.py": {"= 6400": "= 32"},
    "kinship_stories.py": {"= 250, 16, 300": "= 2, 4, 3"},
    "maze_marks.py": {"= 4, 6, 200, 32, 500": "= 3, 4, 2, 8, 10"},
    "scene_graph.py": {"= 150, 20, 0.3": "= 2, 1, 0.3"},
}
PRINTS = {
    "learn_from_observations.py": ["step   0: mean log-likelihood -1.22297"],
    "foreign_functions.py": [
        "km {('Lisbon', 1387): 0.201, ('London', 0): 0.747, ('Lublin', 1438): 0.201, ('Lyon', 0): 0.6504}",
        "usual {(0,): 0.6188, (694,): 0.0642, (719,): 0.0642, (1387,): 0.1325, (1412,): 0.0043, (1438,): 0.0021}",
        "gradient [1.286, 1.708]",
    ],
    "custom_provenance.py": [
        "known costs of trips: [3.0, 4.5, 3.5, 3.5, 5.0]",
        "loss after training: 0.0000",
        "learned costs of trips: [3.0, 4.5, 3.5, 3.5, 5.0]",
        "from 0 to 3 for 4.5 by roads of [1.0, 2.0, 1.5]",
    ],
}
# The least accuracy of the trained network, which is printed last.
LEAST_ACCURACY = {
    "compare_digits.py": 85,
    "cross_framework.py": 95,
    "digit_sum_flax.py": 95,
    "digit_sum_torch.py": 95,
    "grid_world.py": 85,
    "handwritten_formulas.py": 85,
    "kinship_stories.py": 85,
    "maze_marks.py": 85,
    "scene_graph.py": 85,
}


NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))
# Scripts that share a process in every run: most of a short script's time goes into imports and compilations. The
# workers of `handwritten_formulas.py` are forked, which comes before JAX starts.
TOGETHER = [
    [
        "handwritten_formulas.py",
        "compare_digits.py",
        "kinship_stories.py",
        "maze_marks.py",
        "rule_weight.py",
        "scene_graph.py",
    ],
    [
        "cross_framework.py",
        "custom_provenance.py",
        "digit_sum_flax.py",
        "digit_sum_torch.py",
        "foreign_functions.py",
        "grid_world.py",
        "learn_from_observations.py",
    ],
]
# Runs a list of scripts with their options, each as the main program, and prints a line before each.
IN_TURN = """
import json, runpy, sys
for script, *options in json.loads(sys.argv[1]):
    print("=====", script, flush=True)
    sys.argv = [script, *options]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
"""


def run(folder: Path, *arguments: str | Path, **environment: str) -> str:
    """The output of Python, which ends without an error."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "XDG_CACHE_HOME": str(folder / "cache"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_printed(name: str, printed: str) -> None:
    """A script that was run as it is has printed and learned what it should."""
    assert set(PRINTS.get(name, ())) <= set(printed.splitlines()), printed
    if name in LEAST_ACCURACY:
        assert float(re.findall(r"accuracy (\d+\.\d)%", printed)[-1]) >= LEAST_ACCURACY[name], printed


@pytest.mark.nightly
@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_as_users_run_it(name: str, tmp_path):
    check_printed(name, run(tmp_path, EXAMPLES / name, *OPTIONS.get(name, []), XLA_FLAGS=""))


def short_script(name: str, folder: Path) -> Path:
    """The script as it is, or one in `folder` that learns for little."""
    if name not in SHORT:
        return EXAMPLES / name
    text = (EXAMPLES / name).read_text()
    for long, short in SHORT[name].items():
        assert text.count(long) == 1, f"{name} no longer has `{long}`"
        text = text.replace(long, short)
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("names", TOGETHER, ids=["first", "second"])
def test_examples_run_one_after_another(names: list[str], tmp_path):
    scripts = [[str(short_script(name, tmp_path)), *OPTIONS.get(name, [])] for name in names]
    printed = run(tmp_path, "-c", IN_TURN, json.dumps(scripts))
    parts = re.split(r"^=====.*\n", printed, flags=re.MULTILINE)[1:]
    for name, part in zip(names, parts, strict=True):
        if name in SHORT:
            assert "accuracy" in part, f"{name} printed {part!r}"
        else:
            check_printed(name, part)


def test_every_example_is_run():
    assert sorted(itertools.chain.from_iterable(TOGETHER)) == NAMES
