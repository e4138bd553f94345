"""The grammar: golden pairs of a program and its printed tree, and that printing and parsing are inverse."""

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scallax
from scallax.errors import ParseError, Source, Span
from scallax.syntax import ast
from scallax.syntax.ast import ConstantKind
from scallax.syntax.grammar import grammar
from scallax.syntax.make_grammar import format_tables, make_lark, make_tables
from scallax.syntax.parser import parse
from scallax.syntax.printer import print_program
from scallax.syntax.tables import GRAMMAR_FILE, TABLES_FILE, fresh_tables, read_file

TESTS = Path(__file__).parents[1]
FIXTURES = sorted((TESTS / "fixtures" / "syntax").glob("*.scl"))
CONFORMANCE = sorted((TESTS / "conformance").rglob("*.json"))
SPAN = Span(Source(""), 0, 0)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_programs_print_as_written(path: Path):
    assert print_program(parse(Source(path.read_text()))) == path.with_suffix(".txt").read_text()


def round_trip(program: ast.Program) -> None:
    text = print_program(program)
    assert parse(Source(text)) == program, text


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_printed_fixtures_parse_to_the_same_tree(path: Path):
    round_trip(parse(Source(path.read_text())))


@pytest.mark.parametrize("path", CONFORMANCE, ids=lambda path: path.stem)
def test_printed_programs_parse_to_the_same_tree(path: Path):
    for text in {case["program"] for case in json.loads(path.read_text()) if case.get("stage") != "parse"}:
        round_trip(parse(Source(text)))


names = st.sampled_from(["x", "y", "android", "iffy", "Total", "c__"])
literals = st.one_of(
    st.builds(ast.Constant, st.integers(-(2**70), 2**70), st.just(ConstantKind.INTEGER), st.just(SPAN)),
    st.builds(ast.Constant, st.floats(allow_nan=False), st.just(ConstantKind.FLOAT), st.just(SPAN)),
    st.builds(ast.Constant, st.booleans(), st.just(ConstantKind.BOOL), st.just(SPAN)),
    st.builds(ast.Constant, st.text(), st.just(ConstantKind.STRING), st.just(SPAN)),
    st.builds(ast.Constant, st.characters(), st.just(ConstantKind.CHAR), st.just(SPAN)),
    st.builds(ast.Constant, st.text(), st.just(ConstantKind.SYMBOL), st.just(SPAN)),
)


def _larger(parts: st.SearchStrategy[ast.Expression]) -> st.SearchStrategy[ast.Expression]:
    operators = st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "^"])
    types = st.builds(ast.TypeName, st.sampled_from(["i32", "String", "Color"]), st.just(SPAN))
    arguments = st.lists(parts, max_size=3).map(tuple)
    return st.one_of(
        st.builds(ast.Unary, st.sampled_from("+-!"), parts, st.just(SPAN)),
        st.builds(ast.Binary, operators, parts, parts, st.just(SPAN)),
        st.builds(ast.Conditional, parts, parts, parts, st.just(SPAN)),
        st.builds(ast.Cast, parts, types, st.just(SPAN)),
        st.builds(ast.Call, names, arguments, st.just(SPAN)),
        st.builds(ast.Application, names, arguments, st.just(()), st.just(SPAN)),
    )


expressions = st.recursive(st.one_of(literals, st.builds(ast.Name, names, st.just(SPAN))), _larger, max_leaves=8)
atoms = st.builds(ast.Application, names, st.lists(expressions, max_size=2).map(tuple), st.just(()), st.just(SPAN))


def _formulas(parts: st.SearchStrategy[ast.Formula]) -> st.SearchStrategy[ast.Formula]:
    operands = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        st.builds(ast.And, operands, st.just(SPAN)),
        st.builds(ast.Or, operands, st.just(SPAN)),
        st.builds(ast.Not, parts, st.just(SPAN)),
        st.builds(ast.Implies, parts, parts, st.just(SPAN)),
    )


comparisons = st.builds(ast.Binary, st.sampled_from(["==", "<"]), expressions, expressions, st.just(SPAN))
formulas = st.recursive(st.one_of(atoms, comparisons), _formulas, max_leaves=6)
heads = st.lists(atoms, min_size=1, max_size=2).map(tuple)
rules = st.builds(ast.Rule, heads, formulas, st.none() | expressions, st.just(False), st.just(SPAN))


@given(st.lists(rules, max_size=3))
def test_printed_random_rules_parse_to_the_same_tree(rules: list[ast.Rule]):
    round_trip(ast.Program(tuple(ast.Item(rule, ()) for rule in rules)))


def test_trees_of_long_texts_are_kept_while_there_is_room():
    first, *others = (Source(f"rel r({n}) // {'x' * 1_500_000}") for n in range(4))
    tree = parse(first)
    assert parse(Source(first.text)) is tree
    for other in others:
        parse(other)
    assert parse(others[-1]) is parse(others[-1])
    assert parse(first) is not tree
    assert parse(first) == tree


@given(
    st.lists(st.sampled_from(["rel", "a", "(", ")", "{", "}", "=", ",", ";", "1", '"', "'", "<", ">", "@", "\t", "é"]))
)
def test_any_text_is_a_program_or_a_parse_error(parts: list[str]):
    try:
        program = parse(Source(" ".join(parts)))
    except ParseError as error:
        program = error
    if isinstance(program, ast.Program):
        round_trip(program)
    else:
        assert all(diagnostic.span is not None for diagnostic in program.diagnostics)


def test_spans_are_places_in_the_text():
    source = Source("rel a(x) = b(x),\n  not c(x + 1)")
    (item,) = parse(source).items
    assert isinstance(item.declaration, ast.Rule)
    body = item.declaration.body
    assert isinstance(body, ast.And)
    spans = [operand.span for operand in body.operands]
    assert [source.text[span.start : span.end] for span in spans] == ["b(x)", "not c(x + 1)"]


def test_halves_of_surrogate_pairs_are_reported_as_written():
    # No file in UTF-8 holds one.
    with pytest.raises(ParseError) as caught:
        parse(Source('rel a("x\ud800")\nrel b(1) // \udfff\udc00'))
    assert str(caught.value) == (
        "<program>:1:9: the text has half of a surrogate pair, which is no character\n"
        '  rel a("x?")\n'
        "          ^\n"
        "hint: decode the text as UTF-8\n"
        "\n"
        "<program>:2:13: the text has half of a surrogate pair, which is no character\n"
        "  rel b(1) // ??\n"
        "              ^^\n"
        "hint: decode the text as UTF-8"
    )


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("rel a = {(1, 2), (3, 4)\nrel b(1)", 9, "the `{` is never closed"),
        ("rel a = {(1, 2), (3, 4", 18, "the `(` is never closed"),
        ("rel a(x) = b(x, c(y)\n\n", 13, "the `(` is never closed"),
        ("rel a = {(1, 2}", 15, "hint: the `(` at <program>:1:10 is not closed"),
        # A bracket within a string opens nothing.
        ('rel a("(", ', 6, "the `(` is never closed"),
        ('rel a("(") =', 12, "the item ends too early"),
    ],
)
def test_a_bracket_that_is_never_closed_is_shown_where_it_opens(text: str, column: int, message: str):
    with pytest.raises(ParseError) as caught:
        parse(Source(text))
    assert str(caught.value).startswith(f"<program>:1:{column}: ")
    assert message in str(caught.value)


def test_the_tables_are_those_of_the_grammar():
    text = read_file(GRAMMAR_FILE)
    made = format_tables(make_tables(text))
    assert made == read_file(TABLES_FILE), "run `make grammar`"


def test_trees_are_those_of_lark():
    lark = make_lark(read_file(GRAMMAR_FILE))

    def plain(tree) -> object:
        if tree is None or isinstance(tree, str):
            return tree
        return str(tree.data), list(map(plain, tree.children))

    for text in (
        "@a(1, x=[2]) @b rel p(x, y) = q(x, _), not r(y), n := count(z: s(z) where k: t(k)), x in 0..=9",
        "type c = A | B(i32, x)",
        "extern type e(bound a: i32, f64,)",
        "type $f(a: i32) -> u8",
        "rel 0.5::g = {0.1::(1, -2.5); 2}",
        "const k: i32 = (1 + 2) * 3 as f32, l = if a && b then \"c\" else 'd'",
        'query h(x?1:2, new N($f()), s"a")',
    ):
        assert plain(grammar().parser.parse(grammar().lexer.lex(text))) == plain(lark.parse(text))


@pytest.mark.parametrize("change", [{"format": 0}, {"grammar": 0}])
def test_stale_tables_are_not_used(change: dict[str, int]):
    text, tables = read_file(GRAMMAR_FILE), read_file(TABLES_FILE)
    assert fresh_tables(tables, text) == json.loads(tables)
    assert fresh_tables(json.dumps({**json.loads(tables), **change}), text) is None
    assert fresh_tables(tables, text + "\n") is None
    assert fresh_tables(tables[:-9], text) is None
    assert fresh_tables("[]", text) is None


SCRIPT = """
import sys
for archive in sys.argv[1:]:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("scallax", "lark")]:
        del sys.modules[name]
    sys.path[0] = archive
    from scallax.errors import Source
    from scallax.syntax.parser import parse
    (item,) = parse(Source("rel a(1)")).items
    print(sys.modules[parse.__module__].__file__.startswith(archive), "lark" in sys.modules)
"""


def test_tables_are_read_from_an_archive_and_made_where_they_are_missing(tmp_path: Path):
    package = Path(scallax.__file__).parent
    archives = [str(tmp_path / name) for name in ("whole.zip", "without.zip")]
    for path in archives:
        with ZipFile(path, "w") as archive:
            for file in package.rglob("*.*"):
                if file.suffix in (".py", ".lark") or (file.name == TABLES_FILE and path == archives[0]):
                    archive.write(file, file.relative_to(package.parent))
    done = subprocess.run([sys.executable, "-c", SCRIPT, *archives], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True False\nTrue True\n", "")
