"""Every script in `examples/` runs as it is in a minute, and learns what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
# Fewer passes over the pairs than by default, to the same accuracy.
OPTIONS = {"digit_sum_torch.py": ["--epochs", "2"]}
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
# What the accuracy printed last, that of the trained network, is at least.
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


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_runs(name, tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *OPTIONS.get(name, [])],
        cwd=tmp_path,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(PRINTS.get(name, ())) <= set(done.stdout.splitlines()), done.stdout
    if name in LEAST_ACCURACY:
        assert float(re.findall(r"accuracy (\d+\.\d)%", done.stdout)[-1]) >= LEAST_ACCURACY[name], done.stdout
