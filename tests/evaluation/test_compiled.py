"""The cache of compiled functions: what it keeps, what goes, what is compiled beside it."""

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.extend.backend import get_backend

import scallax
from scallax import Context, Reasoner, compiled_info, limit_compiled
from scallax.evaluation.cache import Holder, call
from tests.compilations import BOUNDS, counted_compilations, forget_compiled
from torch_bridge import Module

PATH = "type edge(i32, i32)\nrel path(x, y) = edge(x, y) or path(x, z) and edge(z, y)"
TWO = "type edge(i32, i32)\nrel path(x, z) = edge(x, y) and edge(y, z)"


@contextmanager
def limits(**bounds: int) -> Iterator[None]:
    """An empty cache, but for what is held, with other bounds."""
    gc.collect()
    forget_compiled()
    limit_compiled(**bounds)
    try:
        yield
    finally:
        limit_compiled(**BOUNDS)


def add(number: int, array: jax.Array) -> jax.Array:
    return array + number


def run(number: int, holder: Holder | None = None, size: int = 2) -> None:
    found = call(holder, add, (number,), np.zeros(size, np.int32))
    assert found.tolist() == [number] * size


def chain(size: int) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(size)]


def is_made(number: int) -> bool:
    """Whether a call has to compile."""
    made = compiled_info().made
    run(number)
    return compiled_info().made > made


def test_functions_used_least_recently_go_first():
    with limits(functions=2):
        held = compiled_info().functions
        for number in (0, 1, 0, 2):
            run(number)
        assert compiled_info().functions == held + 2
        assert not is_made(0)
        assert is_made(1)
        assert is_made(2)


def test_bytes_are_bounded():
    with limits():
        run(0)
        info = compiled_info()
        size = info.bytes - info.held_bytes
        assert size > 0
        limit_compiled(bytes=3 * size)
        for number in range(5):
            run(number)
        info = compiled_info()
        assert info.bytes - info.held_bytes == 3 * size
        # The last one stays, however large it is.
        limit_compiled(bytes=1)
        assert not is_made(4)


def test_what_is_held_stays_as_long_as_its_holder():
    with limits(functions=1):
        before = compiled_info()
        holder, other = Holder(), Holder()
        for number in range(3):
            run(number, holder)
        run(0, other)
        run(9)
        info = compiled_info()
        assert (info.functions, info.held_functions) == (before.functions + 4, before.held_functions + 3)
        assert not any(map(is_made, range(3)))
        del holder
        info = compiled_info()
        assert (info.functions, info.held_functions) == (before.functions + 2, before.held_functions + 1)
        assert not is_made(0)
        del other
        assert compiled_info().held_functions == before.held_functions


def test_far_too_many_held_functions_are_bounded_as_well(monkeypatch):
    with limits(functions=2):
        held = compiled_info().held_functions
        monkeypatch.setattr("scallax.evaluation.cache._MOST_FUNCTIONS", held + 4)
        holder = Holder()
        for number in range(7):
            run(number, holder)
        assert compiled_info().functions <= held + 4
        # The holder finds again what went.
        run(0, holder)


def test_nothing_is_left_of_what_a_reasoner_used_alone():
    with limits(functions=0):
        before, executables = compiled_info(), len(get_backend().live_executables())
        options = {"input_mappings": {"edge": chain(5)}, "output_relation": "path"}
        reasoner = Reasoner(TWO, provenance="diffaddmultprob", **options)
        module = Module.from_reasoner(reasoner)
        edge = np.full((2, 5), 0.5, np.float32)
        with counted_compilations() as compiled:
            jax.vjp(lambda p: reasoner(edge=p)[1], edge)[1](np.ones((2, 4), np.float32))  # noqa: F821  # deleted below
            module(edge=torch.full((2, 5), 0.5, requires_grad=True))[1].sum().backward()
        assert compiled
        made = compiled_info().made
        with counted_compilations() as compiled:
            module(edge=torch.full((2, 5), 0.5, requires_grad=True))[1].sum().backward()
            jax.vjp(lambda p: reasoner(edge=p)[1], edge)[1](np.ones((2, 4), np.float32))  # noqa: F821
        assert not compiled
        assert made == compiled_info().made
        assert compiled_info().held_functions > before.held_functions
        del reasoner, module
        gc.collect()
        after = compiled_info()
        assert (after.functions, after.held_functions) == (before.functions, before.held_functions)
        assert len(get_backend().live_executables()) == executables


def ask_context(size: int) -> None:
    context = Context("minmaxprob")
    context.add_program(PATH)
    context.add_facts("edge", [(0.5, edge) for edge in chain(size)])
    context.run()
    assert len(list(context.relation("path"))) == size * (size + 1) // 2


def ask_context_of_arrays(size: int) -> None:
    def total(tags):
        context = Context("diffminmaxprob")
        context.add_program("type e(i32)\nrel r(x) = e(x)\nrel s(x) = e(x), e(0)")
        context.add_facts("e", [(tag, (i,)) for i, tag in enumerate(tags)])
        context.run()
        return sum(tag for tag, _ in context.relation("r"))

    assert jax.grad(total)([jnp.float32(0.5)] * size) == [1] * size


def ask_reasoner(size: int) -> None:
    reasoner = Reasoner(
        "type a(i32), b(i32)\nrel s(x) = a(x), b(x)\nrel t() = b(x)",
        provenance="diffaddmultprob",
        input_mappings={"a": range(size)},
        output_mappings={"s": range(size), "t": ()},
        trainable=["b"],
        facts={"b": [(1 / size, (i,)) for i in range(size)]},
    )
    p = np.full((2, size), 0.5, np.float32)
    results, pull = jax.vjp(lambda p: reasoner(a=p), p)
    assert results["t"].shape == (2,)
    pull(jax.tree.map(lambda part: np.ones(part.shape, np.float32), results))
    chosen = reasoner(a=p, output_relations=["s", "s"], output_mappings={"s": list(range(size))})
    np.testing.assert_array_equal(chosen, results["s"])
    reasoner.probabilities()
    scallax.jacobian(reasoner, {"a": p})
    reasoner.explain("s", 0, {"a": p})


def ask_module(size: int) -> None:
    mapped = Module(
        "type a(i32)\nrel s(x) = a(x)\nrel t() = a(x)",
        provenance="diffaddmultprob",
        input_mappings={"a": range(size)},
        output_mappings={"s": range(size), "t": ()},
    )
    results = mapped(a=torch.full((2, size), 1 / size, requires_grad=True))
    (results["s"].sum() + results["t"].sum()).backward()


def ask_facts(size: int) -> None:
    program = "type e(i32)\nrel r(x) = e(x), e(0)\nrel s(x) = e(x)\nquery r\nquery s"
    reasoner = Reasoner(program, provenance="diffminmaxprob")
    facts = [(i,) for i in range(size)]

    def values(*tags):
        given = [list(zip(tags, facts, strict=True)), [(tags[0], facts[0])]]
        return [part for _, part in reasoner(e=given).values()]

    found, pull = jax.vjp(values, *map(np.float32, [0.5] * size))
    assert [part.shape for part in found] == [(2, size)] * 2
    pull([np.ones(part.shape, np.float32) for part in found])
    grounding = reasoner.ground({"e": [facts, facts[:1]]})
    jax.vjp(lambda tags: reasoner.evaluate_grounded(grounding, tags)["r"][1], np.full(size + 1, 0.5, np.float32))
    reasoner(e=[[(0.5, fact) for fact in facts]] * 2, output_relations=["r", "s"])
    torch_tags = [(torch.tensor(0.5, requires_grad=True), fact) for fact in facts]
    Module.from_reasoner(reasoner)(e=[torch_tags])["r"][1].sum().backward()


def ask_tensors(size: int) -> None:
    program = "type x(i: i32, v: Tensor)\nrel r(i) = x(0, a), x(i, b), 0 < i, soft_eq<Tensor>(a * 2.0, b - a)"
    reasoner = Reasoner(program, provenance="diffaddmultprob", output_relation="r", non_probabilistic=["x"])
    constants = [(i, np.full(2, i, np.float32)) for i in range(1, size)]
    _, pull = jax.vjp(lambda tensor: reasoner(x=[[(0, tensor), *constants]])[1], np.ones(2, np.float32))
    pull(np.ones((1, size - 1), np.float32))


def ask_objects(size: int) -> None:
    context = Context("proofs")
    context.add_program("type e(i32)\nrel t(x) = x := uniform<2>(y: e(y))")
    context.add_facts("e", [(i,) for i in range(size)])
    context.run()
    assert len(list(context.relation("t"))) == 2


OURS = {f"jit({name})" for name in ("_evaluate", "_forward", "_pull_back", "_linearize", "_take_columns", "_gather")}
OURS |= {"jit(_find_probabilities)", "jit(probabilities)", "jit(open_gates)", "jit(_compare)", "jit(_combine)"}
# The caller's own: JAX adds up what reaches an input on several ways.
THEIRS = {"jit(add)", "jit(add_any)"}


@pytest.mark.parametrize(
    "ask", [ask_context, ask_context_of_arrays, ask_reasoner, ask_module, ask_facts, ask_tensors, ask_objects]
)
def test_only_functions_of_the_cache_depend_on_a_program(ask):
    # Functions that depend on no program, such as a scalar's conversion, are compiled once.
    ask(3)
    made = compiled_info().made
    with counted_compilations() as compiled:
        ask(13)
    assert set(compiled) <= OURS | THEIRS
    # Each is compiled for values, and under `jax.vjp` for what is kept and for gradients.
    assert len(compiled) <= 3 * (compiled_info().made - made)


def test_a_working_set_within_the_bounds_is_compiled_once():
    with limits(functions=3):
        for _ in range(2):
            with counted_compilations() as compiled:
                for size in (3, 13):
                    ask_context(size)
            gc.collect()
        assert not compiled


def test_threads_that_call_a_function_first_compile_it_once():
    errors: list[BaseException] = []
    start = threading.Barrier(4)

    def work() -> None:
        try:
            start.wait()
            for _ in range(3):
                run(77, size=5)
        except BaseException as error:
            errors.append(error)

    with limits(), counted_compilations() as compiled:
        together(work)
    assert not errors
    assert len(compiled) == 1


def together(work) -> None:
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_share_a_cache_that_keeps_nothing():
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for number in (1, 2, 1):
                run(number)
            run(3, Holder())
        except BaseException as error:
            errors.append(error)

    with limits(functions=0):
        held = compiled_info().functions
        together(work)
        assert compiled_info().functions == held
    assert not errors


@pytest.mark.parametrize("bounds", [{"functions": -1}, {"bytes": 1.5}, {"functions": True}])
def test_a_bound_is_an_integer_from_0(bounds: dict):
    with pytest.raises(scallax.InputError, match="which is no bound"):
        limit_compiled(**bounds)


def mapped_pieces() -> int:
    """The pieces of memory that the process maps."""
    return len(Path("/proc/self/maps").read_bytes().splitlines())


def resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


def program(number: int) -> tuple[str, list[tuple[int, int]]]:
    """The paths of a length, from 1 to 7, over 2 to 400 edges: another program for each number below 2,793."""
    length = 1 + (number + number // 399) % 7
    steps = [f"rel p{n}(x, y) = p{n - 1}(x, z), edge(z, y)" for n in range(1, length)]
    names = f"rel path(x, y) = p{length - 1}(x, y)"
    text = "\n".join(["type edge(i32, i32)\nrel p0(x, y) = edge(x, y)", *steps, names])
    return text, chain(2 + 37 * number % 399)


def soak_context(number: int) -> None:
    text, edges = program(number)
    context = Context("minmaxprob")
    context.add_program(text)
    context.add_facts("edge", [(0.5, edge) for edge in edges])
    context.run()
    list(context.relation("path"))


def soak_reasoner(number: int) -> None:
    text, edges = program(number)
    mappings = {"input_mappings": {"edge": edges}, "output_mapping": ("path", [(0, n) for n in range(1, 8)])}
    reasoner = Reasoner(text, provenance="diffminmaxprob", **mappings)
    jax.grad(lambda p: reasoner(edge=p).sum())(np.full((2, len(edges)), 0.5, np.float32))


def soak_module(number: int) -> None:
    text, edges = program(number)
    mappings = {"input_mappings": {"edge": edges}, "output_mapping": ("path", [(0, n) for n in range(1, 8)])}
    module = Module(text, provenance="diffaddmultprob", **mappings)
    module(edge=torch.full((2, len(edges)), 0.5, requires_grad=True)).sum().backward()


def soak_facts(number: int) -> None:
    text, edges = program(number)
    module = Module(text, provenance="diffminmaxprob", output_relation="path")
    tags = torch.full((len(edges),), 0.5, requires_grad=True)
    module(edge=[list(zip(tags, edges, strict=True))])[1].sum().backward()


SOAKS = [soak_context, soak_reasoner, soak_module, soak_facts]


@pytest.mark.nightly
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what a process maps")
@pytest.mark.filterwarnings("ignore:no rule can derive")
def test_a_process_that_meets_thousands_of_programs_stays_as_large_as_it_was():
    sizes = []
    for number in range(4000):
        SOAKS[number % len(SOAKS)](number // len(SOAKS))
        if number + 1 in (2000, 4000):
            gc.collect()
            sizes.append((mapped_pieces(), resident_pages()))
    (maps, pages), (later_maps, later_pages) = sizes
    assert later_maps == pytest.approx(maps, rel=0.05)
    assert later_pages == pytest.approx(pages, rel=0.05)


@pytest.mark.nightly
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells what is resident")
def test_a_hundred_thousand_steps_leave_memory_as_it_was_after_the_first():
    command = [sys.executable, "-m", "tests.soak", "100000", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sizes = list(map(float, done.stdout.split()))
    # Compiled functions are not all of one size.
    assert max(sizes[3:]) < 1.05 * max(sizes[:3])


def fail_at_first(array: jax.Array) -> jax.Array:
    if not FAILURES:
        FAILURES.append(threading.current_thread())
        raise ArithmeticError("it is traced")
    return array + 1


FAILURES: list[threading.Thread] = []


def test_an_error_of_a_thread_that_compiles_reaches_who_joins_it():
    FAILURES.clear()
    with limits(), ThreadPoolExecutor(1) as pool:
        with pytest.raises(ArithmeticError, match="it is traced"):
            pool.submit(call, None, fail_at_first, (), np.zeros(3, np.int32)).result()
        # Nothing is left locked or half made.
        assert call(None, fail_at_first, (), np.zeros(3, np.int32)).tolist() == [1, 1, 1]
        assert pool.submit(call, None, fail_at_first, (), np.zeros(3, np.int32)).result().tolist() == [1, 1, 1]


COMPILES = """
import os, sys, threading, warnings
import jax, numpy as np, scallax
reasoner = scallax.Reasoner("rel r(x + y) = a(x), b(y)", provenance="difftopkproofs", output_relation="r",
    input_mappings={"a": range(4), "b": range(4)})
p, compiles, way = np.full((2, 4), 0.25, np.float32), threading.Event(), sys.argv[1]
jax.monitoring.register_event_listener(lambda *_, **__: compiles.set())
def answer():
    print("answer", reasoner(a=p, b=p)[1].shape, flush=True)
thread = threading.Thread(target=answer, daemon=way == "daemon")
thread.start()
assert compiles.wait()
if way == "fork":
    warnings.simplefilter("ignore")
    child = os.fork()
    if not child:
        try:
            reasoner(a=p, b=p)
        except scallax.UnsupportedError:
            print("refused", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
sys.exit(7 if way == "raise" else 0)
"""


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("way", "code", "said"),
    [
        ("daemon", 0, [[], ["answer (2, 7)"]]),
        ("wait", 0, [["answer (2, 7)"]]),
        ("raise", 7, [["answer (2, 7)"]]),
        ("fork", 0, [["refused", "answer (2, 7)"], ["answer (2, 7)", "refused"]]),
    ],
)
def test_a_process_that_ends_or_forks_while_a_thread_compiles(way, code, said):
    done = subprocess.run([sys.executable, "-c", COMPILES, way], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines() in said
