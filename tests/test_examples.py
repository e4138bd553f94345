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
# What the accuracy printed last, that of the trained network, is at least.
LEAST_ACCURACY = {
    "cross_framework.py": 95,
    "digit_sum_flax.py": 95,
    "digit_sum_torch.py": 95,
    "handwritten_formulas.py": 70,
}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_runs(name, tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *OPTIONS.get(name, [])],
        cwd=tmp_path,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if name in LEAST_ACCURACY:
        assert float(re.findall(r"accuracy (\d+\.\d)%", done.stdout)[-1]) >= LEAST_ACCURACY[name], done.stdout
