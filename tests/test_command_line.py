"""The command line: what it prints, its exit codes, and what it does not import."""

import io
import json
import os
import select
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

import scallax
import torch_bridge
from scallax.__main__ import main
from scallax.context.listing import frame
from scallax.context.options import Options
from scallax.context.repl import Session, completer, interact
from scallax.errors import ScallaxError, Source
from scallax.syntax.parser import is_unfinished

PROGRAM = """type edge(from: i32, to: i32)
rel edge = {0.5::(0, 1), 0.25::(1, 2), false::(2, 3)}
rel path(x, z) = edge(x, z) or path(x, y) and edge(y, z)
@hidden rel secret(1)
rel always()
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "graph.scl"
    path.write_text(PROGRAM)
    return str(path)


def output(capsys, *arguments: str) -> str:
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def failure(capsys, *arguments: str) -> tuple[int, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    return code, captured.err


def test_relations_are_printed_by_name_and_tuples_in_order(file: str, capsys):
    assert output(capsys, "run", file, "--format", "csv", "-p", "unit") == (
        "always\nedge,0,1\nedge,1,2\nedge,2,3\npath,0,1\npath,0,2\npath,0,3\npath,1,2\npath,1,3\npath,2,3\n"
    )


def test_imports_and_files_of_facts(tmp_path: Path, capsys):
    (tmp_path / "lib.scl").write_text("type T = C(i32) | D()\nrel n(new C(x)) = b(x)\n")
    (tmp_path / "b.csv").write_text("0.5,1\n0.25,2\n")
    main_file = tmp_path / "main.scl"
    main_file.write_text('import "lib.scl"\n@file("b.csv", has_probability=true) type b(i32)\nquery n\n')
    file = str(main_file)
    assert output(capsys, "run", file, "--format", "csv", "-p", "unit") == "n,C(1)\nn,C(2)\n"
    assert output(capsys, "run", file, "--format", "csv", "-p", "topkproofs") == "n,0.5,C(1)\nn,0.25,C(2)\n"
    assert output(capsys, "check", file) == ""
    assert "rule for n" in output(capsys, "plan", file)


def test_false_facts_do_not_hold_under_bool(file: str, capsys):
    text = output(capsys, "run", file, "--format", "json", "--provenance", "bool", "--query", "path", "-q", "secret")
    assert json.loads(text) == {"path": {"tuples": [[0, 1], [0, 2], [1, 2]]}, "secret": {"tuples": [[1]]}}


@pytest.mark.parametrize("provenance", ["unit", "bool"])
def test_answers_without_jax_are_those_of_the_reasoner(provenance: str, tmp_path: Path, capsys):
    text = """rel a = {true::1, false::2, 0.5::3, 4, 0.0::5}
rel b = {false::4, 3, 5}
rel c(x) = a(x), not b(x)
rel false::d(x) = a(x)
rel x > 3 :: e(x) = a(x)
rel x - 3 :: f(x) = a(x), not e(x)
rel g(x) = a(x), not f(x)
"""
    (tmp_path / "a.scl").write_text(text)
    answers = json.loads(output(capsys, "run", str(tmp_path / "a.scl"), "-p", provenance, "--format", "json"))
    reasoner = scallax.Reasoner(text, provenance=provenance, output_mappings=dict.fromkeys(answers))
    for name, (tuples, holds) in reasoner().items():
        true = [list(values) for values, holds in zip(tuples, holds[0], strict=True) if holds]
        assert answers[name]["tuples"] == true, name


def test_tags_are_numbers(file: str, capsys):
    text = output(capsys, "run", file, "--format", "json", "-p", "topkproofs", "-k", "2", "--query", "path")
    assert json.loads(text) == {
        "path": {
            "tuples": [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]],
            "tags": [0.5, 0.125, 0.125, 0.25, 0.25, 1.0],
        }
    }


def test_tables_have_the_declared_columns(file: str, capsys):
    lines = output(capsys, "run", file, "--query", "edge", "-p", "minmaxprob").splitlines()
    assert lines[0] == "edge: 3 tuples"
    assert [cell.strip() for cell in lines[2].strip("┃").split("┃")] == ["tag", "from", "to"]
    assert [cell.strip() for cell in lines[4].strip("│").split("│")] == ["0.5", "0", "1"]


def test_queries_of_the_program_are_what_is_printed(tmp_path: Path, capsys):
    path = tmp_path / "a.scl"
    path.write_text('rel a = {("x, y", true), ("", false)}\nrel b(1)\nquery a(x, true)\n')
    assert output(capsys, "run", str(path), "--format", "csv") == '"a(x, true)","x, y",true\n'


def test_infinite_values_are_texts_in_json(tmp_path: Path, capsys):
    path = tmp_path / "a.scl"
    path.write_text("type a(f64)\nrel a(1.0)\nrel b(x / 0.0, -x / 0.0) = a(x)\nquery b\n")
    assert output(capsys, "run", str(path), "--format", "json") == '{"b": {"tuples": [["inf", "-inf"]]}}\n'


def test_a_plan_has_the_rows(file: str, capsys):
    text = output(capsys, "plan", file, "--query", "path")
    assert text.rstrip("\n") == scallax.explain_plan(PROGRAM, ["path"]).replace("<program>", file)
    assert (
        scallax.explain_plan(PROGRAM, ["path"])
        == """stratum edge (3 tuples)
stratum path (6 tuples)
  rule for path at <program>:3:1: 3 rows
    join total edge(0->x, 1->z) keep (x, z)
    project path(x, z)
  rule for path at <program>:3:1: 3 rows, each round
    join delta path(0->x, 1->y) keep (x, y)
    join total edge(0=y, 1->z) keep (x, z)
    project path(x, z)"""
    )


def test_errors_of_all_files_are_reported(file: str, tmp_path: Path, capsys):
    (tmp_path / "a.scl").write_text("rel a(x) = b(y)\n")
    (tmp_path / "b.scl").write_text("rel a(x) = b(x), not a(x)\nrel b(1)\n")
    code, text = failure(capsys, "check", str(tmp_path / "a.scl"), file, str(tmp_path / "b.scl"))
    assert code == 1
    assert f"{tmp_path / 'a.scl'}:1:7: `x` appears in the head" in text
    assert f"{tmp_path / 'b.scl'}:1:18: `a` depends on its own negation" in text
    assert output(capsys, "check", file) == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "{}", "--query", "pth"], "did you mean `path`?"),
        (["run", "{}", "--provenance", "topkprofs"], "did you mean `topkproofs`?"),
        (["run", "{}", "--provenance", "topkproofs", "--k", "0"], "`k` is 0"),
        (["run", "{}.missing"], "cannot be read: No such file or directory"),
        (["run", "{}", "--format", "xml"], "invalid choice: 'xml'"),
        (["run", "{}", "--iter-limit", "-1"], "invalid"),
        (["rum", "{}"], "invalid choice: 'rum'"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_usage_is_code_2(arguments: list[str], message: str, file: str, capsys):
    code, text = failure(capsys, *(argument.format(file) for argument in arguments))
    assert code == 2
    assert message in text


def test_bytes_that_are_no_text_are_refused(tmp_path: Path, capsys):
    (tmp_path / "a.scl").write_bytes(b"rel a(\xff)")
    assert failure(capsys, "run", str(tmp_path / "a.scl"))[1].startswith(f"`{tmp_path / 'a.scl'}` is not UTF-8 text")


@pytest.mark.parametrize(
    ("option", "limit"),
    [
        ("--limit-tuples=40", "40 tuples"),
        ("--limit-rounds=40", "40 rounds"),
        ("--limit-seconds=0.05", "0.05 seconds"),
        ("--iter-limit=9", None),
    ],
)
def test_limits_end_a_recursion(option: str, limit: str | None, tmp_path: Path, capsys):
    path = tmp_path / "a.scl"
    path.write_text("type n(i64)\nrel n(0)\nrel n(x + 1) = n(x)\n")
    if limit is None:
        assert output(capsys, "run", str(path), "--format", "csv", option).split() == [f"n,{i}" for i in range(11)]
        return
    code, text = failure(capsys, "run", str(path), option)
    assert code == 1
    assert f"{path}:3:1: grounding passed its limit of {limit}: this rule for `n` grew by 1" in text
    name = option.removeprefix("--limit-").partition("=")[0]
    assert f"raise the limit: `limits=scallax.Limits({name}=…)`, `--limit-{name}` on the command line" in text


def test_warnings_do_not_fail(tmp_path: Path, capsys):
    (tmp_path / "a.scl").write_text("rel a(x) = bb(x)\nrel b(1)\n")
    assert main(["run", str(tmp_path / "a.scl"), "--format", "csv"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "b,1\n"
    assert captured.err.startswith("warning: ")
    assert "`bb` is empty" in captured.err


def test_numbers_that_are_no_probabilities_are_warned_of(tmp_path: Path, capsys):
    (tmp_path / "a.scl").write_text("rel a = {1.5::1}\nrel b = {0.7::1; 0.6::2}\n")
    arguments = [str(tmp_path / "a.scl"), "--format", "csv"]
    assert main(["run", *arguments, "-p", "unit"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["run", *arguments, "-p", "topkproofs"]) == 0
    assert capsys.readouterr().err.count("warning: ") == 1
    for others in (["run", *arguments, "-p", "topkproofs", "--wmc-with-disjunctions"], ["check", arguments[0]]):
        assert main(others) == 0
        errors = capsys.readouterr().err
        assert "a.scl:1:10: the tag 1.5 of `a(1)` is outside [0, 1]" in errors
        assert "a.scl:2:10: exclusive facts of `b` add up to 1.3, more than 1" in errors


def test_answers_with_a_file_are_written_and_not_printed(tmp_path: Path, capsys):
    (tmp_path / "a.scl").write_text('rel a = {0.5::1}\n@file("a.csv", has_probability=true) query a\nquery a(1)\n')
    file = str(tmp_path / "a.scl")
    assert output(capsys, "run", file, "--format", "csv", "-p", "minmaxprob") == "a(1),0.5,1\n"
    assert (tmp_path / "a.csv").read_text() == "0.5,1\n"
    (tmp_path / "a.csv").unlink()
    # Relations that are asked for by name are printed.
    assert output(capsys, "run", file, "--format", "csv", "-q", "a", "-p", "unit") == "a,1\n"
    assert not (tmp_path / "a.csv").exists()
    session = Session(Options())
    (tmp_path / "b.csv").write_text("before")
    session.enter(f'rel b(1) @file("{tmp_path / "b.csv"}") query b')
    assert (tmp_path / "b.csv").read_text() == "1\n"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "text", ["rel 0.5::a(1)", "rel a(1) rel 0.5::b(x) = a(x)", '@file("{}/a.csv", has_probability=true) type a(i32)']
)
def test_tags_that_nobody_asked_for_are_not_dropped_in_silence(text: str, tmp_path: Path, capsys):
    (tmp_path / "a.csv").write_text("0.5,1\n")
    (tmp_path / "a.scl").write_text(text.replace("{}", str(tmp_path)))
    for provenance, count in (([], 1), (["-p", "unit"], 0), (["-p", "minmaxprob"], 0)):
        assert main(["run", str(tmp_path / "a.scl"), "--format", "csv", *provenance]) == 0
        assert capsys.readouterr().err.count("warning: the program has probabilities") == count
    session = Session(Options(), tells_of_tags=True)
    session.enter((tmp_path / "a.scl").read_text())
    session.enter("rel 0.25::more(1)")
    assert capsys.readouterr().err.count("`--provenance topkproofs` computes probabilities") == 1


def test_tables_are_framed(file: str, capsys):
    text = output(capsys, "run", file, "-q", "edge", "-q", "always", "-p", "minmaxprob")
    assert (
        text
        == """edge: 3 tuples
┏━━━━━━┳━━━━━━┳━━━━┓
┃ tag  ┃ from ┃ to ┃
┡━━━━━━╇━━━━━━╇━━━━┩
│ 0.5  │ 0    │ 1  │
│ 0.25 │ 1    │ 2  │
│ 1.0  │ 2    │ 3  │
└──────┴──────┴────┘
always: 1 tuple
┏━━━━━┓
┃ tag ┃
┡━━━━━┩
│ 1.0 │
└─────┘
"""
    )


def test_narrow_tables_fold():
    rows = [["abcdefg", "1"], ["你好吗", "2\n3"], ["\x1b[1m", "\u0301e"], ["", "4"]]
    lines = list(frame(["text", "n"], rows, 12, False, "utf-8"))
    assert lines == [
        "┏━━━━━━┳━━━┓",
        "┃ text ┃ n ┃",
        "┡━━━━━━╇━━━┩",
        "│ abcd │ 1 │",
        "│ efg  │   │",
        "│ 你好 │ 2 │",
        "│ 吗   │ 3 │",
        "│ \\x1b │ \u0301e │",
        "│ [1m  │   │",
        "│      │ 4 │",
        "└──────┴───┘",
    ]
    # No narrower than two cells a column, and in signs that the terminal has.
    assert list(frame(["text"], [["ab"]], 1, True, "ascii")) == [
        "+----+",
        "| \x1b[1mte\x1b[0m |",
        "| \x1b[1mxt\x1b[0m |",
        "+----+",
        "| ab |",
        "+----+",
    ]


def test_floats_have_the_digits_of_their_type(tmp_path: Path, capsys):
    (tmp_path / "a.scl").write_text("type a(f32, f64)\nrel a(0.1, 0.1)\nrel a(1.0, 100000000000000000000.0)\n")
    file = str(tmp_path / "a.scl")
    assert output(capsys, "run", file, "--format", "csv") == "a,0.1,0.1\na,1,100000000000000000000\n"
    assert output(capsys, "run", file, "--format", "json") == '{"a": {"tuples": [[0.1, 0.1], [1.0, 1e+20]]}}\n'
    assert " 0.1 " in output(capsys, "run", file)


UNCLOSED = """<stdin>:1:6: the `(` is never closed
  rel a(
       ^
hint: the item ends at <stdin>:1:7; a `)` is missing before it
"""


def test_a_program_on_the_standard_input():
    for arguments, text, expected in (
        (["run", "-", "--format", "csv"], "rel a(1)", (0, "a,1\n", "")),
        (["check", "-"], "rel a(1)", (0, "", "")),
        (["run", "-", "--format", "csv"], "\ufeffrel a(1)\r\nrel b(2)\r\n", (0, "a,1\nb,2\n", "")),
        (["run", "-"], "rel a(", (1, "", UNCLOSED)),
    ):
        process = command("-m", "scallax", *arguments)
        out, err = process.communicate(text)
        assert (process.returncode, out, err) == expected


def command(*arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_small_program_runs_without_slow_imports(tmp_path: Path):
    """Modules that take long to import, or that a small program needs none of, are not imported to run one."""
    script = """
import sys
import scallax
slow = ["jax", "jaxlib", "numpy", "torch", "scipy", "lark", "jaxtyping", "rich", "prompt_toolkit", "pygments"]
slow += ["unittest", "asyncio", "sqlite3", "concurrent", "multiprocessing", "importlib.resources", "importlib.metadata"]
slow += ["hashlib", "ml_dtypes", "numpy.random", "email", "socket", "subprocess", "tempfile", "zipfile", "numpy.ma"]
print([name for name in slow if name in sys.modules])
from scallax.__main__ import main
slow.remove("numpy")
codes = [main(["run", sys.argv[1], "--provenance", provenance]) for provenance in ("unit", "bool", "topkproofs")]
context = scallax.Context("minmaxprob")
context.add_relation("a", int)
context.add_facts("a", [(0.5, (1,)), (0.25, (2,))])
context.add_rule("b(x) = a(x), not a(x + 1)")
context.run()
print([name for name in slow if name in sys.modules], codes, list(context.relation("b")))
"""
    file = tmp_path / "a.scl"
    # With a cycle, whose components are searched for.
    file.write_text(
        "rel a = {0.5::(1, 2), (2, 1)}\nrel p(x, y) = a(x, y) or (p(x, z) and a(z, y))\nrel q(x) = a(x, _), not p(x, x)"
    )
    out, err = command("-c", script, str(file)).communicate()
    assert err == ""
    assert out.startswith("[]\n")
    assert out.endswith("[] [0, 0, 0] [(0.5, (1,)), (0.25, (2,))]\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
@pytest.mark.parametrize("form", ["table", "json"])
def test_a_full_disk_is_one_error(form: str, file: str):
    arguments = [sys.executable, "-m", "scallax", "run", file, "-p", "unit", "--format", form]
    with open("/dev/full", "w") as full:
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "the output cannot be written: No space left on device\n"


def test_the_version_is_printed(capsys):
    assert output(capsys, "--version") == f"scallax {version('scallax')}\n"


@pytest.mark.parametrize("package", [scallax, torch_bridge])
def test_public_names(package):
    assert all(hasattr(package, name) for name in package.__all__)
    assert package.__version__ == version("scallax")
    assert Path(package.__file__).with_name("py.typed").exists()
    # Python's own `bool` is not hidden by `from scallax import *`.
    assert "bool" not in package.__all__


def test_a_closed_pipe_and_an_interrupt_leave_no_traceback():
    closed = command("-m", "scallax", "run", "-", "--format", "csv")
    assert closed.stdin is not None
    assert closed.stdout is not None
    assert closed.stderr is not None
    closed.stdout.close()
    closed.stdin.write("rel a(0)\nrel a(x + 1) = a(x), x < 5000\n")
    closed.stdin.close()
    assert closed.wait() == 141
    assert closed.stderr.read() == ""
    closed.stderr.close()
    # A shell that ignores interrupts, as one that runs scripts in the background does, passes that on to its children.
    heeded = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    with command("-u", "-c", f"{heeded}; from scallax.__main__ import main; exit(main(['repl']))") as interrupted:
        assert interrupted.stdin is not None
        assert interrupted.stdout is not None
        assert interrupted.stderr is not None
        interrupted.stdin.write("rel a(1)\n:relations\n")
        interrupted.stdin.flush()
        assert interrupted.stdout.readline() == "type a(i32)\n"
        interrupted.send_signal(signal.SIGINT)
        assert interrupted.wait() == 130
        assert interrupted.stderr.read() == ""


ENTRIES = """rel edge(1, 2)
rel edge(2, 3)
rel path(x, z) = edge(x, z) or
  path(x, y) and edge(y, z)
query path(1, x)
rel bad(x) = edge(x, y), nope(

rel path("a", 1)
:relations
query path
:nothing
:plan path
:quit
query edge
"""


def test_the_prompt_answers_queries_and_survives_errors():
    out, err = command("-m", "scallax", "repl").communicate(ENTRIES)
    assert "path(1, x): 2 tuples" in out
    assert "type edge(i32, i32)\ntype path(i32, i32)\n" in out
    assert "path: 3 tuples" in out
    assert "stratum path (3 tuples)" in out
    assert "edge: " not in out
    assert "<entry 5>:1:30: the `(` is never closed" in err
    assert 'from `"a"` at <entry 6>:1:10' in err
    assert "there is no command `:nothing`" in err


def test_commands_of_the_prompt(tmp_path: Path, capsys):
    saved, other = tmp_path / "saved.scl", tmp_path / "other.scl"
    other.write_text("rel weight = {2.5}\nquery weight")
    session = Session(Options("topkproofs"))
    session.enter(PROGRAM)
    session.enter("rel nothing(7)\nquery path(0, x)")
    session.enter(":undo")
    session.enter(f":load {other}")
    session.enter(f":save {saved}")
    assert saved.read_text() == f"{PROGRAM}rel weight = {{2.5}}\n"
    capsys.readouterr()
    session.enter(":explain path(0, 2)")
    assert capsys.readouterr().out.startswith("path(0, 2): 0.125\n\nproof of weight 0.125\n")
    for text, message in (
        (":explain path(0)", "`tuple_of_path` has 2 columns, found 1"),
        (':explain path(0, "a")', "String"),
        (":explain path(0, x)", "`x`"),
        (":explain path(0, 1), edge(0, 1)", "<tuple>:2:"),
        (":explain", "names no tuple"),
        (":explain pth(0, 1)", "did you mean `path`?"),
        (f":save {saved}", "exists"),
        (f":save {tmp_path}/no/folder", "cannot be written"),
        (":save", "needs the name of a file"),
        (f":load {tmp_path}/none.scl", "cannot be read"),
        (":load", "needs the name of a file"),
    ):
        with pytest.raises(ScallaxError) as caught:
            session.enter(text)
        assert message in str(caught.value)
    assert [relation.name for relation in session.relations()] == ["always", "edge", "path", "secret", "weight"]
    for _ in range(2):
        session.enter(":undo")
    with pytest.raises(ScallaxError, match="no entry to undo"):
        session.enter(":undo")


def test_a_plain_prompt_without_its_package(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "prompt_toolkit", None)
    monkeypatch.setattr("sys.stdin", Terminal("rel distance(1,\n2)\nquery distance\n"))
    interact(Options(), lambda error: pytest.fail(str(error)))
    out, err = capsys.readouterr()
    assert "distance: 1 tuple\n" in out
    assert err.startswith("a plain prompt: ")


class Terminal(io.StringIO):
    """A standard input that says it is a terminal; the prompt reads from elsewhere."""

    def isatty(self) -> bool:
        return True


def test_the_prompt_reads_over_lines_and_remembers(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", Terminal())
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        typed.send_text("rel distance(1,\r 2)\rquery distance\r:quit\r")
        interact(Options(), lambda error: pytest.fail(str(error)))
    assert "distance: 1 tuple\n" in capsys.readouterr().out
    assert "+query distance" in (tmp_path / "scallax" / "history").read_text()


def test_a_home_that_cannot_be_written_only_costs_the_history(tmp_path: Path, capsys, monkeypatch):
    (tmp_path / "scallax").write_text("a file where the folder would be")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", Terminal())
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        typed.send_text("rel distance(1, 2)\rquery distance\r:quit\r")
        interact(Options(), lambda error: pytest.fail(str(error)))
    out, err = capsys.readouterr()
    assert "distance: 1 tuple\n" in out
    assert "not kept for the next time" in err


# Typed keys and the text that is waited for after them: keys that have a meaning count once the prompt is there.
TYPED = (
    # An entry of two lines, and a command.
    (b"rel distance(1,\r2)\r:relations\r", ("type distance(i32, i32)", "scallax>")),
    # Completion.
    (b"query dis\t", ("tance",)),
    (b"\r", ("distance: 1 tuple", "scallax>")),
    # Ctrl-C drops an entry, an error does not end the session, Ctrl-D does.
    (b"rel a(\x03query nothing\r", ("unknown relation `nothing`", "scallax>")),
    (b"\x04", ()),
)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_prompt_in_a_terminal(tmp_path: Path):
    terminal, end = os.openpty()
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path), "TERM": "xterm"}
    arguments = [sys.executable, "-m", "scallax", "repl"]
    with subprocess.Popen(arguments, stdin=end, stdout=end, stderr=end, env=environment) as process:
        os.close(end)
        try:
            read_until(terminal, "scallax>")
            for typed, shown in TYPED:
                os.write(terminal, typed)
                rest = ""
                for text in shown:
                    rest = read_until(terminal, text, rest)
            assert process.wait() == 0
        finally:
            process.kill()
            os.close(terminal)


def read_until(terminal: int, text: str, seen: str = "") -> str:
    """Reads what a program writes to its terminal until the text is there, and returns what came after it."""
    while text not in seen:
        readable, _, _ = select.select([terminal], [], [], 3000)
        assert readable, f"no {text!r} in {seen!r}"
        seen += os.read(terminal, 1 << 16).decode()
        if "\x1b[6n" in seen:  # the question where the cursor is
            seen = seen.replace("\x1b[6n", "")
            os.write(terminal, b"\x1b[1;1R")
    return seen[seen.index(text) + len(text) :]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("que", ["query"]),
        ("query dis", ["distance"]),
        (":q", [":quit"]),
        (":plan d", ["distance"]),
        ("rel 0.5::dis", ["distance"]),
    ],
)
def test_words_are_completed(text: str, words: list[str]):
    session = Session(Options())
    session.enter("rel distance(1, 2)")
    found = completer(session).get_completions(Document(text), CompleteEvent())
    assert [completion.text for completion in found] == words


@pytest.mark.parametrize(
    ("text", "unfinished"),
    [
        ("", False),
        ("rel a(1)", False),
        ("rel a(1) rel b(", True),
        ("rel a(1)\n@hidden", True),
        ('rel a("x', True),
        ("rel a(1) /* x", True),
        ("rel a(x) =", True),
        ("rel a(x) b(", False),
        ("rel a = {1,", True),
    ],
)
def test_unfinished_items(text: str, unfinished: bool):
    assert is_unfinished(Source(text)) is unfinished
