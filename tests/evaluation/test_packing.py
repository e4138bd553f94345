"""Trees of arrays as few arrays."""

import jax
import numpy as np

from scallax.evaluation import packing
from scallax.evaluation.packing import pack, unpack


def tree() -> dict:
    rng = np.random.default_rng(0)
    return {
        "flags": rng.integers(0, 2, 7).astype(bool),
        "numbers": rng.integers(-5, 5, (2, 3)).astype(np.int32),
        "words": np.array([0, 1, 0xFFFFFFFF], np.uint32),
        "priors": np.array([0.25, -np.inf, np.nan, -0.0], np.float32),
        "none": np.zeros(0, np.int32),
        "count": np.int32(3),
        "large": np.arange(20, dtype=np.int32),
    }


def test_a_packed_tree_has_the_same_bits(monkeypatch):
    monkeypatch.setattr(packing, "_LARGE", 20)
    given = tree()
    packed = pack(given)
    assert [array.size for array in jax.tree.leaves(packed)] == [7 + 6 + 3 + 4 + 1, 20]
    for found in (unpack(packed), jax.jit(unpack)(packed)):
        assert jax.tree.structure(found) == jax.tree.structure(given)
        for name, array in found.items():
            assert array.dtype == given[name].dtype
            np.testing.assert_array_equal(np.asarray(array).tobytes(), given[name].tobytes())


def test_trees_of_equal_shapes_share_a_form():
    first, second = tree(), tree()
    second["numbers"] = second["numbers"] + 1
    assert pack(first).form is pack(second).form
    second["numbers"] = second["numbers"][:1]
    assert pack(first).form is not pack(second).form
