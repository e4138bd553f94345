"""Every script in `examples/` runs as it is in a minute, and learns what it says: long ones by night, else a little."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
# Fewer passes over the pairs than by default, to the same accuracy.
OPTIONS = {"digit_sum_torch.py": ["--epochs", "2"]}
# Scripts that learn for long: how long, and what is there instead in every run. `make nightly` runs them as they are.
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


def run(script: Path, folder: Path, *options: str, **environment: str) -> str:
    """The output of a script, which ends without an error."""
    done = subprocess.run(
        [sys.executable, script, *options],
        cwd=folder,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "XDG_CACHE_HOME": str(folder / "cache"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_example(name: str, folder: Path, **environment: str) -> None:
    printed = run(EXAMPLES / name, folder, *OPTIONS.get(name, []), **environment)
    assert set(PRINTS.get(name, ())) <= set(printed.splitlines()), printed
    if name in LEAST_ACCURACY:
        assert float(re.findall(r"accuracy (\d+\.\d)%", printed)[-1]) >= LEAST_ACCURACY[name], printed


@pytest.mark.nightly
@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_as_users_run_it(name: str, tmp_path):
    check_example(name, tmp_path, XLA_FLAGS="")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SHORT])
def test_an_example_runs(name: str, tmp_path):
    check_example(name, tmp_path)


@pytest.mark.parametrize("name", SHORT)
def test_an_example_runs_for_a_few_steps(name: str, tmp_path):
    text = (EXAMPLES / name).read_text()
    for long, short in SHORT[name].items():
        assert text.count(long) == 1, f"{name} no longer has `{long}`"
        text = text.replace(long, short)
    script = tmp_path / name
    script.write_text(text)
    assert "accuracy" in run(script, tmp_path)
