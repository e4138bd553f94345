"""Functions that a former process has traced: their code for XLA in the cache folder, called as one operation.

Tracing and lowering would take most of the time until the first step of a process that finds its compiled code. So the
lowered code of a function is kept, under a digest of all that it was made of; what XLA makes of it is kept by JAX's
persistent compilation cache. `scallax.cache_compiled` turns on both.
"""

import dataclasses
import enum
import hashlib
import importlib
import json
import math
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, final

import jax
import numpy as np
from jax.core import ShapedArray, Tracer
from jax.experimental.compilation_cache import compilation_cache
from jax.extend.core import ClosedJaxpr, Jaxpr, Primitive, Var
from jax.extend.mlir import ir, passmanager
from jax.extend.mlir.dialects import func
from jax.interpreters import mlir

from scallax.circuits.constant_program import EmbeddedProgram
from scallax.evaluation.cache_folder import Folder, open_folder

# Beginnings of the names of options that do not change what a function is traced to.
_INERT = (
    "jax_compilation_cache",
    "jax_cpu_enable_async",
    "jax_debug_log",
    "jax_dump",
    "jax_enable_compilation",
    "jax_explain",
    "jax_log",
    "jax_num_cpu_devices",
    "jax_persistent_cache",
    "jax_raise_persistent",
    "jax_traceback",
)


class _NotStorable(Exception):
    """Something that code depends on is no plain value: nothing says whether it is the same in another process."""


@final
@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Code:
    """The lowered code of a function for a platform: of its flat arguments it takes those that it uses."""

    operations: int
    used: tuple[int, ...]
    outputs: tuple[ShapedArray, ...]
    tree: Any
    text: bytes


@final
class StoredFunction:
    """`function(*static, *arguments)` from the folder's code, which is made here if there is none.

    `operations` is the number of those that it was traced to.
    """

    __slots__ = ("_bound", "_codes", "_compiled", "_folder", "_platform", "operations")

    def __init__(self, folder: Folder, function: Callable[..., Any], static: tuple, arguments: tuple):
        self._folder = folder
        self._bound = function, static
        self._platform = _platform(arguments)
        self._codes: dict[str, _Code] = {}
        missed: list[str] = []
        self._compiled = self._compile(missed)
        traced = self._compiled.trace(*arguments)
        if self._codes:
            self.operations = next(iter(self._codes.values())).operations
            return
        self.operations = count_operations(traced.jaxpr.jaxpr)
        code = _lower(traced, self._platform, self.operations) if missed else None
        if code is not None:
            folder.write(missed[0], _encode(code))
            self._codes[missed[0]] = code
            self._compiled = self._compile([])

    def run(self, plain: Callable[..., Any], *arguments: Any) -> Any:
        """Its results; those of `plain`, which computes the same, if arguments are traced."""
        return (plain if is_traced(arguments) else self._compiled)(*arguments)

    def _compile(self, missed: list[str]) -> Any:
        """A new function for JAX, which keeps traces by function; lists the keys of code that there is not."""
        function, static = self._bound

        def plain(*arguments):
            return function(*static, *arguments)

        def run(*arguments):
            key = _key(function, static, arguments, self._platform)
            code = None if key is None else self._find(key)
            if code is None:
                missed.extend([] if key is None else [key])
                return plain(*arguments)
            leaves, structure = jax.tree.flatten(arguments)
            outputs = _stored_p.bind(
                *[leaves[i] for i in code.used],
                code=code,
                name=function.__name__,
                platform=self._platform,
                # For another platform, to which arrays are moved later.
                plain=lambda *used: jax.tree.leaves(
                    plain(*jax.tree.unflatten(structure, _fill(leaves, code.used, used)))
                ),
            )
            return _rebuild(code.tree, iter(outputs))

        run.__name__ = run.__qualname__ = function.__name__
        return jax.jit(run)

    def _find(self, key: str) -> _Code | None:
        found = self._codes.get(key)
        if found is None:
            content = self._folder.read(key)
            if content is not None:
                found = self._codes[key] = _decode(content)
        return found


def find_stored(function: Callable[..., Any], static: tuple, arguments: tuple) -> StoredFunction | None:
    """The function by way of the cache folder; None if there is no folder. The arguments are not traced."""
    folder = open_folder()
    _set_up_jax(folder)
    return None if folder is None else StoredFunction(folder, function, static, arguments)


def is_traced(arguments: tuple) -> bool:
    """Whether some array is traced."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arguments))


def count_operations(jaxpr: Jaxpr) -> int:
    """The operations of a trace, those of loops, branches and functions in it counted once."""
    return len(jaxpr.eqns) + sum(map(count_operations, _parts(jaxpr)))


def _parts(jaxpr: Jaxpr) -> Iterable[Jaxpr]:
    for equation in jaxpr.eqns:
        for parameter in equation.params.values():
            for part in parameter if isinstance(parameter, tuple | list) else (parameter,):
                if isinstance(part, ClosedJaxpr):
                    yield part.jaxpr
                elif isinstance(part, Jaxpr):
                    yield part


_stored_p = Primitive("stored_function")
_stored_p.multiple_results = True


@_stored_p.def_abstract_eval
def _(*_, code: _Code, **__) -> list[ShapedArray]:
    return list(code.outputs)


def _lower_stored(context: mlir.LoweringRuleContext, *arrays: Any, code: _Code, name: str, platform: str, plain: Any):
    module = context.module_context
    if tuple(context.platforms or module.platforms) != (platform,):
        return mlir.lower_fun(plain)(context, *arrays)
    with module.context:
        stored = ir.Module.parse(code.text)
    name = mlir.merge_mlir_modules(module.module, f"stored{name}", stored, dst_symtab=module.symbol_table)
    kinds = [mlir.aval_to_ir_type(module, aval) for aval in context.avals_out]
    return func.CallOp(kinds, ir.FlatSymbolRefAttr.get(name), list(arrays)).results


mlir.register_lowering(_stored_p, _lower_stored)


@dataclasses.dataclass(slots=True)
class _JaxCache:
    """The folder that JAX's cache was given here, and the least time of compiling that it had been given before."""

    folder: str | None = None
    seconds: float = 1.0


_jax_cache = _JaxCache()


def _set_up_jax(folder: Folder | None) -> None:
    """Has JAX keep compiled code in the folder, or no more, unless the process has given it a folder of its own."""
    path = str(folder.path) if folder is not None and folder.exists else None
    now = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue] (set at run time)
    if path == _jax_cache.folder or now != _jax_cache.folder:
        return
    if _jax_cache.folder is None:
        _jax_cache.seconds = jax.config.jax_persistent_cache_min_compile_time_secs  # pyright: ignore[reportAttributeAccessIssue]
    # A folder that can only be read is never written to.
    is_written = folder is not None and folder.can_write
    seconds = _jax_cache.seconds if path is None else 0.0 if is_written else math.inf
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", path)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
    _jax_cache.folder = path


def _platform(arguments: tuple) -> str:
    arrays = (leaf for leaf in jax.tree.leaves(arguments) if isinstance(leaf, jax.Array))
    return next((device.platform for array in arrays for device in array.devices()), jax.default_backend())


def _fill(leaves: list, used: tuple[int, ...], arrays: Iterable[Any]) -> list:
    """The leaves with arrays in the place of those that are used, and zeros for the others."""
    filled = [np.zeros(leaf.shape, leaf.dtype) for leaf in leaves]
    for i, array in zip(used, arrays, strict=True):
        filled[i] = array
    return filled


def _lower(traced: Any, platform: str, operations: int) -> _Code | None:
    """The code of a trace; None if it calls back into this process, or its results are no plain tree of arrays."""
    closed = traced.jaxpr
    if closed.effects or _calls_back(closed.jaxpr):
        return None
    try:
        tree = _describe_tree(traced.out_tree)
    except _NotStorable:
        return None
    module = traced.lower(lowering_platforms=(platform,)).compiler_ir()
    used = _used_inputs(closed.jaxpr)
    main = ir.SymbolTable(module.operation)["main"]
    if len(main.regions[0].blocks[0].arguments) != len(used):
        return None
    with module.context:
        passmanager.PassManager.parse("builtin.module(strip-debuginfo)").run(module.operation)
    outputs = tuple(ShapedArray(aval.shape, aval.dtype, weak_type=aval.weak_type) for aval in closed.out_avals)
    return _Code(operations, used, outputs, tree, mlir.module_to_bytecode(module))


def _calls_back(jaxpr: Jaxpr) -> bool:
    return any("callback" in equation.primitive.name for equation in jaxpr.eqns) or any(map(_calls_back, _parts(jaxpr)))


def _used_inputs(jaxpr: Jaxpr) -> tuple[int, ...]:
    """The inputs that the outputs depend on; JAX leaves the others out."""
    live = {var for var in jaxpr.outvars if isinstance(var, Var)}
    for equation in reversed(jaxpr.eqns):
        if not live.isdisjoint(equation.outvars):
            live.update(var for var in equation.invars if isinstance(var, Var))
    return tuple(i for i, var in enumerate(jaxpr.invars) if var in live)


def _encode(code: _Code) -> bytes:
    outputs = [(aval.shape, str(aval.dtype), aval.weak_type) for aval in code.outputs]
    head = json.dumps([code.operations, code.used, outputs, code.tree]).encode()
    return len(head).to_bytes(4, "little") + head + code.text


def _decode(content: bytes) -> _Code:
    size = 4 + int.from_bytes(content[:4], "little")
    operations, used, outputs, tree = json.loads(content[4:size])
    avals = tuple(ShapedArray(tuple(shape), np.dtype(dtype), weak_type=weak) for shape, dtype, weak in outputs)
    return _Code(operations, tuple(used), avals, tree, content[size:])


def _describe_tree(tree: Any) -> Any:
    """A tree of (named) tuples, lists and None: 0 for an array, None, or a list that begins with a node's kind."""
    data = tree.node_data()
    if data is None:
        return 0
    kind = data[0]
    if kind is type(None):
        return None
    is_named = issubclass(kind, tuple) and hasattr(kind, "_fields") and _is_known(kind)
    if kind not in (tuple, list) and not is_named:
        raise _NotStorable
    return [f"{kind.__module__}:{kind.__qualname__}", *map(_describe_tree, tree.children())]


def _rebuild(tree: Any, arrays: Iterator[Any]) -> Any:
    if not isinstance(tree, list):
        return None if tree is None else next(arrays)
    module, _, name = tree[0].partition(":")
    parts = [_rebuild(part, arrays) for part in tree[1:]]
    if module == "builtins":
        return tuple(parts) if name == "tuple" else parts
    return getattr(importlib.import_module(module), name)(*parts)


def _key(function: Callable[..., Any], static: tuple, arguments: tuple, platform: str) -> str | None:
    """The name of the file of a function's code, under JAX's options of this moment; None if it is not to be stored."""
    leaves, structure = jax.tree.flatten(arguments)
    avals = [jax.typeof(leaf) for leaf in leaves]
    meshes = [jax.sharding.get_abstract_mesh(), *(aval.sharding.mesh for aval in avals)]
    if not all(mesh.empty for mesh in meshes):
        return None
    options = jax.config.values  # pyright: ignore[reportAttributeAccessIssue] (set at run time)
    content = hashlib.sha256()
    try:
        _feed(content, (function, static, structure, platform))
        _feed(content, [(aval.shape, np.dtype(aval.dtype), aval.weak_type) for aval in avals])
    except (_NotStorable, TypeError):  # TypeError: a dtype of JAX's own, as of random keys
        return None
    for name in sorted(options):
        if not name.startswith(_INERT):
            content.update(f"{name}={options[name]!r};".encode())
    return f"{function.__name__.strip('_')}-{content.hexdigest()[:40]}"


def _feed(content: Any, value: Any) -> None:
    """Adds a value to a digest; _NotStorable for one that is not plain, as an object with code of the caller's."""
    match value:
        case None | bool() | int() | float() | complex() | str() | bytes() | np.dtype():
            content.update(f"{type(value).__name__}:{value!r};".encode())
        case enum.Enum():
            content.update(f"{type(value).__qualname__}.{value.name};".encode())
        case tuple() | list():
            content.update(f"{type(value).__qualname__}{len(value)}(".encode())
            for part in value:
                _feed(content, part)
        case dict():
            _feed(content, list(value.items()))
        case np.ndarray() | np.generic():
            content.update(f"array:{value.dtype}{value.shape};".encode() + value.tobytes())
        case EmbeddedProgram():
            content.update(value.digest)
        case jax.tree_util.PyTreeDef():
            data = value.node_data()
            _feed(content, (value.num_leaves, data, value.children()))
        case types.ModuleType():
            content.update(f"module:{value.__name__};".encode())
        case type() | types.FunctionType() if _is_known(value):
            content.update(f"{value.__module__}.{value.__qualname__};".encode())
        case _ if dataclasses.is_dataclass(value) and _is_known(type(value)):
            _feed(content, (type(value), [getattr(value, field.name) for field in dataclasses.fields(value)]))
        case _:
            raise _NotStorable


def _is_known(item: type | types.FunctionType) -> bool:
    """Whether the folder is kept by versions of the item's module, and the item is found by its name there."""
    package = item.__module__.partition(".")[0]
    return package in ("builtins", "jax", "numpy", "scallax") and "<" not in item.__qualname__
