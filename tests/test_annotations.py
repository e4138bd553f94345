"""Annotations of arrays name types that are there when tests run, so that `conftest` has them checked at each call."""

import ast
import builtins
import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module

import jax
import numpy as np
import pytest

import scallax.evaluation
import scallax.kernels
import scallax.provenance
from scallax.kernels.array_namespace import array_namespace
from scallax.kernels.tiles import take_block


def array_annotations(module) -> Iterator[str]:
    """The annotations of a module that have an array type, as they are written."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        written = getattr(node, "returns" if isinstance(node, ast.FunctionDef) else "annotation", None)
        if isinstance(written, ast.AST):
            text = ast.unparse(written)
            if "[Array" in text or "[np.ndarray" in text:
                yield text


@pytest.mark.parametrize("package", [scallax.kernels, scallax.provenance, scallax.evaluation])
def test_a_checker_can_read_each_annotation_of_an_array(package):
    # A type that is not found is taken for any: nothing is checked then.
    found = 0
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = import_module(info.name)
        if "jaxtyping" in type(module.__loader__).__module__:
            for text in array_annotations(module):
                eval(text, vars(builtins) | vars(module))
                found += 1
    assert found > 0


@pytest.mark.parametrize("array", [np.zeros, jax.numpy.zeros])
def test_arrays_of_both_executors_are_checked(array):
    rows, operands = array((4, 3), np.float32), array(4, np.int32)
    xp = array_namespace(rows)
    (block,) = take_block(xp, rows, operands, 0, 2, 1)
    assert block.shape == (2, 3)
    with pytest.raises(TypeError, match="take_block"):
        take_block(xp, rows, array(4, np.float32), 0, 2, 1)
    with pytest.raises(TypeError, match="take_block"):
        take_block(xp, rows, operands[None], 0, 2, 1)
