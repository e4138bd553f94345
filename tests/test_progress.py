"""Long work is told of: in the log, and on the last line of a terminal."""

import io
import logging
import threading

import numpy as np
import pytest

from scallax import Context, Reasoner
from scallax.__main__ import main
from scallax.context.status_line import shown_work
from scallax.evaluation.cache import call
from scallax.kernels.long_work import LongWork
from tests.compilations import forget_compiled

PATH = "rel edge = {(0, 1), (1, 2)}\nrel path(x, y) = edge(x, y) or path(x, z) and edge(z, y)\nquery path"
TWO = "rel a = {0.5::0, 0.5::1}\nrel b(x) = a(x), a(0)\nrel c() = b(0) and b(1) or a(1) and b(0)\nquery c"


@pytest.fixture
def all_is_long(monkeypatch):
    monkeypatch.setattr("scallax.kernels.long_work.SECONDS", 0.0)


def run(provenance: str, text: str) -> None:
    context = Context(provenance)
    context.add_program(text)
    context.run()


def messages(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == name]


def test_long_grounding_is_logged(all_is_long, caplog):
    with caplog.at_level(logging.INFO, "scallax"):
        run("unit", PATH)
    told = messages(caplog, "scallax")
    assert "grounding: stratum 2 of 2, 5 tuples and 0 derivations so far" in told
    assert told[-1].startswith("grounded 5 tuples and 0 derivations in ")


def test_long_knowledge_compilation_is_logged(all_is_long, caplog):
    with caplog.at_level(logging.INFO, "scallax"):
        run("exact", TWO)
    records = [record for record in caplog.records if record.name == "scallax.circuits.knowledge.compiler"]
    shares = [(record.done, record.total) for record in records if hasattr(record, "total")]
    assert shares == sorted(shares)
    assert all(0 <= done <= total for done, total in shares)
    assert shares[-1][0] == shares[-1][1]
    assert records[0].getMessage() == f"knowledge compilation: {shares[0][0]} of {shares[0][1]} nodes"
    assert records[-1].getMessage().startswith(f"knowledge compilation of {shares[0][1]} nodes in ")


def test_short_work_and_a_log_that_nobody_reads_say_nothing(caplog, monkeypatch):
    with caplog.at_level(logging.INFO, "scallax"):
        run("unit", PATH)
    monkeypatch.setattr("scallax.kernels.long_work.SECONDS", 0.0)
    run("unit", PATH)
    assert caplog.records == []


def triple(array):
    return array * 3


def test_a_compilation_is_logged_before_it_is_waited_for(caplog):
    forget_compiled()
    with caplog.at_level(logging.INFO, "scallax"):
        call(None, triple, (), np.zeros(3, np.float32))
        first, last = messages(caplog, "scallax.evaluation.cache")
        assert first == "compiling `triple`"
        assert last.startswith("compiled `triple` in ")
        assert last.endswith(": 1 operations")
        call(None, triple, (), np.zeros(3, np.float32))
        assert len(messages(caplog, "scallax.evaluation.cache")) == 2
        caplog.clear()
        reasoner = Reasoner(
            "rel r() = a(0) and a(1)", provenance="minmaxprob", input_mappings={"a": [0, 1]}, output_relation="r"
        )
        reasoner(a=np.full((6, 2), 0.5, np.float32))
        told = messages(caplog, "scallax.evaluation.cache")[0]
    assert told.startswith("compiling the forward pass under `minmaxprob` of ")
    assert told.endswith(" derivations for batch 6")


class Terminal(io.StringIO):
    """A terminal that lets a test wait for a drawing."""

    def __init__(self):
        super().__init__()
        self.is_drawn = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if "[00:0" in text:
            self.is_drawn.set()
        return super().write(text)


def test_a_terminal_shows_what_is_waited_for(all_is_long):
    logger, terminal = logging.getLogger("scallax.work"), Terminal()
    with shown_work(terminal):
        work = LongWork(logger, "washing")
        assert terminal.is_drawn.wait(60)
        assert terminal.getvalue().startswith("\r\x1b[Kwashing [00:0")
        terminal.is_drawn.clear()
        work.tell(lambda: "washing: 1 of 4 plates", 1, 4)
        assert terminal.is_drawn.wait(60)
        logger.warning("no soap")
    drawn = terminal.getvalue()
    assert "\r\x1b[K 25%|█████               | washing: 1 of 4 plates [00:0" in drawn
    assert "\r\x1b[Kwarning: no soap\n" in drawn
    # Nothing is left of the line, nor of the handler.
    assert drawn.endswith(("\r\x1b[K", "no soap\n"))
    work.tell(lambda: "washing: 2 of 4 plates")
    assert terminal.getvalue() == drawn
    assert not logger.isEnabledFor(logging.INFO)


def test_the_command_line_says_what_takes_long_if_it_is_asked(all_is_long, capsys, tmp_path):
    file = tmp_path / "path.scl"
    file.write_text(PATH)
    assert main(["run", str(file)]) == 0
    assert capsys.readouterr().err == ""
    assert main(["run", "--verbose", str(file)]) == 0
    assert "grounding: stratum 2 of 2, 5 tuples and 0 derivations so far\n" in capsys.readouterr().err
    assert main(["plan", "-v", str(file)]) == 0
    assert "grounded 5 tuples" in capsys.readouterr().err
