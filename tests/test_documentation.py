"""The names that both READMEs and `docs/` give exist: dotted paths of the package, and files of the repository."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "tests" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# `scallax.nn.Reasoner`, wherever it stands; `from scallax.x import a, b` in an example.
DOTTED = re.compile(r"\b(?:scallax|torch_bridge)(?:\.[A-Za-z_]\w*)+")
IMPORTED = re.compile(r"from ((?:scallax|torch_bridge)[\w.]*) import (\w+(?:, \w+)*)")
FILE = re.compile(r"`((?:\w+/)*\w+\.py)`")


def resolve(path: str) -> object:
    """The module or object of a dotted path. AttributeError or ImportError if there is none."""
    package, *names = path.split(".")
    found: object = import_module(package)
    for name in names:
        package = f"{package}.{name}"
        if not hasattr(found, name):
            try:
                import_module(package)
            except ModuleNotFoundError as error:
                if error.name != package:
                    raise
        found = getattr(found, name)
    return found


def test_a_path_that_leads_nowhere_is_found():
    assert resolve("scallax.nn.Reasoner") is import_module("scallax.nn").Reasoner
    for path in ("scallax.nowhere", "scallax.nn.Nothing", "scallax.Reasoner.nothing"):
        with pytest.raises((AttributeError, ImportError)):
            resolve(path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_name_of_a_page_leads_somewhere(page: Path):
    text = page.read_text()
    paths = set(DOTTED.findall(text))
    paths |= {f"{module}.{name}" for module, names in IMPORTED.findall(text) for name in names.split(", ")}
    lost = []
    for path in sorted(paths):
        try:
            resolve(path)
        except (AttributeError, ImportError) as error:
            lost.append(f"{path}: {error}")
    assert not lost, "\n".join(lost)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page: Path):
    folders = ("scallax", "torch_bridge", "tests", "examples", "benchmarks")
    files = [f"/{path.relative_to(ROOT)}" for folder in folders for path in (ROOT / folder).rglob("*.py")]
    lost = [name for name in FILE.findall(page.read_text()) if not any(file.endswith(f"/{name}") for file in files)]
    assert not lost
