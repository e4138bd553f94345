"""The language section by section: small programs and what they derive, given facts aside."""

import re
from pathlib import Path

import pytest

from scallax.circuits.compile import analyse_program
from scallax.context.answer_files import write_answer_files
from scallax.context.answers import answer, default_outputs
from scallax.context.options import Options
from scallax.errors import ScallaxError, Source
from scallax.grounding.limits import Limits
from scallax.syntax.imports import read_imports

PROGRAMS = [
    # Lexical structure
    ("rel\ta = {1}", {"a": [(1,)]}),
    ("/* ** */ rel a = {1} // x", {"a": [(1,)]}),
    ("rel a = {1,2} rel b(x-1)=a(x)", {"b": [(0,), (1,)]}),
    ("rel a = {1,2} rel b(x -1)=a(x)", {"b": [(0,), (1,)]}),
    ("rel a={--3, +3, - 4}", {"a": [(-4,), (3,)]}),
    ("rel a={1,2} rel p(x,y)=a(x),a(y),x<y, y>x", {"p": [(1, 2)]}),
    ("rel c__={1}", {"c__": [(1,)]}),
    ("rel a={1.5e3, 25.0e-2, 2.5}", {"a": [(0.25,), (2.5,), (1500.0,)]}),
    ("rel a={'c','\\n','\\t','\\\\','\\'','é'}", {"a": [("\t",), ("\n",), ("'",), ("\\",), ("c",), ("é",)]}),
    ('rel a={"a\\tb\\r\\n\\0\\"\\\'\\\\ \\q"}', {"a": [("a\tb\r\n\x00\"'\\ \\q",)]}),
    ('rel a={"""x\n"y" z"""}', {"a": [('x\n"y" z',)]}),
    ('rel a={s"hey"}', {"a": [("hey",)]}),
    (
        'rel a={t"2019-01-01T10:00:00+02:00", t"4/8/2014 22:05", t"September 17, 2012 10:09am", t"2014年04月08日"}',
        {
            "a": [
                ("2012-09-17 10:09:00 UTC",),
                ("2014-04-08 00:00:00 UTC",),
                ("2014-04-08 22:05:00 UTC",),
                ("2019-01-01 08:00:00 UTC",),
            ]
        },
    ),
    (
        'rel a={d"1 y 2 M 3 w 4 d 5 h 6 m 7 s", d"-3d", d"9000s", d"14M"}',
        {"a": [("-PT259200S",), ("PT9000S",), ("R14MO P0D",), ("R14MO PT2178367S",)]},
    ),
    # Types, constants and facts
    ("rel a={1,2,}", {"a": [(1,), (2,)]}),
    ("rel a={1;2;}", {"a": [(1,), (2,)]}),
    ("rel a={()}", {"a": [()]}),
    ("rel p()", {"p": [()]}),
    ("rel a(1,) rel b(x,)=a(x,)", {"b": [(1,)]}),
    ("rel a = {(1,)}", {"a": [(1,)]}),
    ('type x <: i32 type y = x type r(y), s(a: &str) rel r(1) rel s("t")', {"r": [(1,)], "s": [("t",)]}),
    ("type A = B | C = 5 | D rel r={B,C,D}", {"r": [(0,), (5,), (6,)]}),
    ('const X: u8 = 3, NAME = "str" rel a(X, NAME)', {"a": [(3, "str")]}),
    ("const X = Y const Y = 4 type r(f32), s(u8) rel r={X} rel s(Y)", {"r": [(4.0,)], "s": [(4,)]}),
    (
        "const A = 1 + 2, B = A * 2.0, C = A > 2, D = (if C then -A else 0), F: u8 = 5 * 50 rel a(A, B, C, D, F)",
        {"a": [(3, 6.0, True, -3, 250)]},
    ),
    ("type C = R | G const S = G + 1 rel a(S)", {"a": [(2,)]}),
    ("type E = N() | C(i32, E) const e = C(1, N()), f = C(2, e) rel a(f)", {"a": [("C(2, C(1, N()))",)]}),
    ('rel e($format("{}", 1), 1 + 1)', {"e": [("1", 2)]}),
    ("relation a={1} relation b(x) :- a(x)", {"b": [(1,)]}),
    ("type a(f32) rel a={1}", {"a": [(1.0,)]}),
    ("rel a = {(1, 2.5), (2.5, 1)}", {"a": [(1.0, 2.5), (2.5, 1.0)]}),
    ("rel a={99999999999 as i64}", {"a": [(99999999999,)]}),
    ("rel b(300 as u8, -1 as u8)", {"b": [(44, 255)]}),
    # Heads and formulas
    ("rel a={1} rel b(x) and c(x) = a(x)", {"b": [(1,)], "c": [(1,)]}),
    ("rel a={1} rel b(x) /\\ c(x) = a(x)", {"b": [(1,)], "c": [(1,)]}),
    ("rel a={1} rel {b(x), c(x)} = a(x)", {"b": [(1,)], "c": [(1,)]}),
    ("rel a={1} rel {b(x,0); b(x,1)} = a(x)", {"b": [(1, 0), (1, 1)]}),
    ("rel a={1,2} rel c={(1,2)} rel b(x) = a(x), not c(y, y)", {"b": [(1,), (2,)]}),
    ("rel a={1,2} rel c={(3,3)} rel b(x) = a(x), not c(y, y)", {"b": []}),
    ("rel a={1,2} rel c={1} rel b(x)=a(x) and ~c(x)", {"b": [(2,)]}),
    ("rel a={1,2} rel c={(1,2)} rel b(x)=a(x) and not c(x,_)", {"b": [(2,)]}),
    ("rel a={1,2} rel c={3} rel b(x) = a(x) or c(x)", {"b": [(1,), (2,), (3,)]}),
    ("rel a={1,2} rel c={1} rel b(x) = a(x) \\/ c(x) /\\ a(x)", {"b": [(1,), (2,)]}),
    ("rel a={1,2} rel c={1} rel b(x) = a(x), (x > 1 => c(x))", {"b": [(1,)]}),
    ("rel a={(1,true),(2,false)} rel b(x) = a(x,y), !y", {"b": [(2,)]}),
    ("rel a={(1,true),(2,false)} rel b(x)=a(x,y), y", {"b": [(1,)]}),
    ("rel a={1} rel b(y)=a(x), 3 + y == x + 5", {"b": [(3,)]}),
    ("rel a={1} rel b(x,y)=a(x),x==1-y", {"b": [(1, 0)]}),
    ("rel a={1} rel b(x,y)=a(x),x==y-1", {"b": [(1, 2)]}),
    ("rel b(x) = x == y, y == 3", {"b": [(3,)]}),
    ("rel a={5} rel b(x) = a(n), x in n - 2 .. n + 1", {"b": [(3,), (4,), (5,)]}),
    ("rel b(x)= x in -2..=1", {"b": [(-2,), (-1,), (0,), (1,)]}),
    ("type n(usize) rel n={2} rel b(x) = n(y), x in 0..y", {"b": [(0,), (1,)]}),
    ("rel a={1} rel b(x) = (a(x))", {"b": [(1,)]}),
    ("rel a={1,2} rel b() = a(1)", {"b": [()]}),
    ("rel a = {(1,1),(1,2)} rel b(x)=a(x,x)", {"b": [(1,)]}),
    ("rel a={(1,2),(5,9)} rel b(x)=a(x,x+1)", {"b": [(1,)]}),
    ("rel a={(1,2,3)} rel b(x)=a(x,y,x+y)", {"b": [(1,)]}),
    ("rel a={(8,2)} rel b(x)=a(10-x,x)", {"b": [(2,)]}),
    # Expressions
    ('rel a={1} rel b(x == 1 ? "o" : "z") = a(x)', {"b": [("o",)]}),
    (
        "type a(i8) rel a={127,-128} rel b(x, x+1, x-1, x*2, -x)=a(x)",
        {"b": [(-128, -127, -128, -128, 127), (127, 127, 126, 127, -127)]},
    ),
    ("rel a={0,1} rel b(4/x)=a(x), x != 0", {"b": [(4,)]}),
    ("rel a={-7} rel b(x/2, x%2)=a(x)", {"b": [(-3, -1)]}),
    ("rel a={0.0} rel b(x/0.0)=a(x) rel c(1.0/x)=a(x)", {"b": [], "c": [(float("inf"),)]}),
    ("rel a={5.5,-5.5} rel b(x % 2.0)=a(x)", {"b": [(-1.5,), (1.5,)]}),
    (
        "rel b(true || false && false, true ^ true ^ true, 1 < 2 && 2 < 3, 1 + 1 == 2)",
        {"b": [(False, True, True, True)]},
    ),
    ("rel b(1 + 2 * 3 - 4 / 2 % 3, (1 + 2) * 3)", {"b": [(5, 9)]}),
    (
        'rel a={t"2020-01-31"} rel b(x + d"1M", x - t"2019-01-31")=a(x)',
        {"b": [("2020-02-29 00:00:00 UTC", "PT31536000S")]},
    ),
    ('rel a={d"1d"} rel b(x*3, x/2, x+x, x-x)=a(x)', {"b": [("PT259200S", "PT43200S", "PT172800S", "P0D")]}),
    ('rel a={"x","y"} rel b(x + "z")=a(x), x < "y"', {"b": [("xz",)]}),
    ("rel a={1,2} rel b(x) = a(x), x == (if x > 1 then 2 else 5)", {"b": [(2,)]}),
    # Casts
    (
        "rel a={-1,300} rel b(x as usize, x as i8, x as f32, x as String)=a(x)",
        {"b": [(300, 44, 300.0, "300"), (18446744073709551615, -1, -1.0, "-1")]},
    ),
    ("rel a={'5','a'} rel b(x as i32)=a(x)", {"b": [(5,)]}),
    ('rel a={"1","1.5","x"} rel b(x as i32)=a(x) rel c(x as f32)=a(x)', {"b": [(1,)], "c": [(1.0,), (1.5,)]}),
    ("rel a={1.5} rel b(x as i32, x as f64, x as String)=a(x)", {"b": [(1, 1.5, "1.5")]}),
    ('rel a={s"x"} rel b(x as String)=a(x)', {"b": [("x",)]}),
    ("rel a={1} rel b((x+1) as String, -x as String)=a(x)", {"b": [("2", "-1")]}),
    (
        "type a(f64) rel a={0.1,1.0,1.0e20,1.0e-7} rel b(x as String)=a(x)",
        {"b": [("0.0000001",), ("0.1",), ("1",), ("100000000000000000000",)]},
    ),
    # Data types
    (
        "type L = Nil() | Cons(i32, L) const X = Cons(1, Cons(2, Nil())) rel l(X) "
        "rel len(Nil(), 0) rel len(Cons(x, xs), n + 1) = len(xs, n) query len(X, n)",
        {"len(X, n)": [("Cons(1, Cons(2, Nil()))", 2)]},
    ),
    ("type L = Nil() | Cons(i32, L) rel l(Cons(1, Nil())) rel h(x) = l(e), case e is Cons(x, Nil())", {"h": [(1,)]}),
    (
        "type L = Nil() | Cons(i32, L) rel a={1,2} rel l(new Cons(x, new Nil())) = a(x)",
        {"l": [("Cons(1, Nil())",), ("Cons(2, Nil())",)]},
    ),
    (
        'type L = Nil() | Cons(i32, L) rel s={"Cons(1, Nil())", "Cons(", "Foo()"} rel l($parse_entity(x)) = s(x)',
        {"l": [("Cons(1, Nil())",)]},
    ),
    (
        "type C = R | G type E = V(C) | W(E, E) const e = V(R), f = W(e, V(G)) rel ev(V(c), c) "
        "rel s(e) rel o(c) = s(e), ev(e, c) query o",
        {"o": [(0,)]},
    ),
    (
        "type Nat = Zero() | Succ(Nat) rel nat(new Zero()) "
        "rel nat(new Succ(n)) = nat(n), size(n, k), k < 2 rel size(Zero(), 0) "
        "rel size(Succ(n), k + 1) = size(n, k)",
        {
            "nat": [("Succ(Succ(Zero()))",), ("Succ(Zero())",), ("Zero()",)],
            "size": [("Succ(Succ(Zero()))", 2), ("Succ(Zero())", 1), ("Zero()", 0)],
        },
    ),
    # Aggregates
    (
        "rel a={1,2,3} rel n = count(x: a(x)) rel s = sum(x: a(x)) rel p = prod(x: a(x)) "
        "rel l = min(x: a(x)) rel h = max(x: a(x)) rel v = avg(x: a(x)) rel e = exists(x: a(x)) "
        "rel f = forall(x: a(x) implies x > 0)",
        {"e": [(True,)], "f": [(True,)], "h": [(3,)], "l": [(1,)], "n": [(3,)], "p": [(6,)], "s": [(6,)], "v": [(2,)]},
    ),
    (
        "type a(i32) rel n = count(x: a(x)) rel s = sum(x: a(x)) rel p = prod(x: a(x)) "
        "rel h = max(x: a(x)) rel v = avg(x: a(x)) rel e = exists(x: a(x))",
        {"e": [(False,)], "h": [], "n": [(0,)], "p": [(1,)], "s": [(0,)], "v": []},
    ),
    ("rel a={(1,2),(1,3),(2,5)} rel n(x, k) = k := count(y: a(x,y))", {"n": [(1, 2), (2, 1)]}),
    ("rel a={(1,2)} rel b={1,2} rel n(x,k) = k := count(y: a(x,y) where x: b(x))", {"n": [(1, 1), (2, 0)]}),
    ("rel a={(1,2),(2,3)} rel b={1,2} rel r(n) = n := count(y: a(x,y)), b(x)", {"r": [(2,)]}),
    ("rel a={(1,2),(2,3)} rel b={1,2} rel r(x,n) = n := count(y: a(x,y)), b(x)", {"r": [(1, 1), (2, 1)]}),
    (
        'rel a={("x",1),("y",3),("z",3)} rel m(x) = x := argmax[x](v: a(x,v)) rel q(x,v) = (x,v) := max[x](v: a(x,v))',
        {"m": [("y",), ("z",)], "q": [("y", 3), ("z", 3)]},
    ),
    (
        "rel a={3,1,2} rel s = sort(x: a(x)) rel t = sort<asc>(x: a(x)) "
        "rel u = sort<desc=false>(x: a(x)) rel e = enumerate(x: a(x))",
        {
            "e": [(0, 1), (1, 2), (2, 3)],
            "s": [(0, 3), (1, 2), (2, 1)],
            "t": [(0, 1), (1, 2), (2, 3)],
            "u": [(0, 1), (1, 2), (2, 3)],
        },
    ),
    (
        'rel a={(3,"c"),(1,"a")} rel s = sort[y](x: a(x,y)) rel t = argsort[y](x: a(x,y)) '
        "rel u = argsort<asc>[y](x: a(x, y))",
        {"s": [(0, "c", 3), (1, "a", 1)], "t": [(0, "c"), (1, "a")], "u": [(0, "a"), (1, "c")]},
    ),
    (
        'rel a={"x","y"} rel s = string_join(x: a(x)) rel t = string_join<"-">(x: a(x)) '
        'rel u = string_join!<", ">(x: a(x))',
        {"s": [("xy",)], "t": [("x-y",)], "u": [("x, y",)]},
    ),
    ('rel a={(0,"x"),(0,"y"),(1,"z")} rel t = string_join<"", all>[i](x: a(i, x))', {"t": [("xz",), ("yz",)]}),
    ("rel a={1} rel t(n) = a(n) or n := sum(x: a(x))", {"t": [(1,)]}),
    ("rel a={(1,2),(3,4)} rel t(x) = (_, x) := max(x, y: a(x,y))", {"t": [(4,)]}),
    ("rel a={(1,2),(3,4)} rel t(c) = c := max(s: s := sum(y: a(x, y)))", {"t": [(6,)]}),
    (
        'rel a={("a",1,10),("a",2,10)} rel t(p, s) = s := sum(v: a(p, _, v)) rel u(p, s) = s := sum[k](v: a(p,k,v))',
        {"t": [("a", 10)], "u": [("a", 20)]},
    ),
    (
        "rel a={1,2} rel b={(1,2)} rel p(x)=a(x), not exists(y: b(x,y)) rel q(x)=a(x), exists(y: b(x,y))",
        {"p": [(2,)], "q": [(1,)]},
    ),
    ("rel a={1,2} rel b={2} rel t(x)=a(x), forall(y: b(y) implies x == y)", {"t": [(2,)]}),
    (
        "type a(u8) rel a={200,100} rel s=sum(x: a(x)) rel p=prod(x:a(x)) rel v=avg(x: a(x))",
        {"p": [(255,)], "s": [(255,)], "v": [(150,)]},
    ),
    ("rel a={1} rel t = exists(a(_)) rel n = count((x: i32): a(x))", {"n": [(1,)], "t": [(True,)]}),
    # Queries and attributes
    ("rel a={(1,2),(2,2)} query a(1,x)", {"a(1, x)": [(1, 2)]}),
    (
        "rel a={(1,2),(2,3)} query a(x,x+1) query a(_, y) query a((1 + 1), y)",
        {"a(x, (x + 1))": [(1, 2), (2, 3)], "a(_, y)": [(1, 2), (2, 3)], "a((1 + 1), y)": [(2, 3)]},
    ),
    (
        "rel a={(1.0,\"x\",'c',true)} query a(1.0, \"x\", 'c', !false)",
        {"a(1, \"x\", 'c', (!false))": [(1.0, "x", "c", True)]},
    ),
    ("type foo(i32) query foo", {"foo": []}),
    ("@hidden rel a={1} rel b={2}", {"b": [(2,)]}),
    ("@hidden rel a={1} query a", {"a": [(1,)]}),
    ("@hidden type a(i32) rel a(1) rel b(2)", {"b": [(2,)]}),
    ("@goal rel a() = b(1) rel b={1}", {"a": [()]}),
    (
        '@scheduler("beam", beam_size=3) type a(i32) @storage("sorted") type b(i32) @tagged type c(i32) rel a(1)',
        {"a": [(1,)]},
    ),
    ("@no_temp_relation rel a(x)=b(x) rel b={1}", {"a": [(1,)]}),
    ("extern type range(i32, i32, i32) rel b(x) = range<i32>(0, 2, x)", {"b": [(0,), (1,)]}),
    ("type f(bound i32, i32) rel f(x, x + 1) = x > 0 query f(3, y)", {"f(3, y)": [(3, 4)]}),
    # Functions and predicates
    (
        "rel a={1.5,-2.5} rel b($floor(x),$ceil(x),$round(x),$abs(x),$sign(x))=a(x)",
        {"b": [(-3.0, -2.0, -3.0, 2.5, -1.0), (1.0, 2.0, 2.0, 1.5, 1.0)]},
    ),
    ("rel a={0.0,1.0} rel b($log(x))=a(x)", {"b": [(0.0,)]}),
    ("rel b($pow(2,40), $pow(2,3), $max(1,2,3), $min(1.5,0.5))", {"b": [(2147483647, 8, 3, 0.5)]}),
    (
        'rel b($string_length("é"), $string_char_at("abc",1), $substring("hello",1,3), $substring("hello",2))',
        {"b": [(2, "b", "el", "llo")]},
    ),
    (
        'rel b($substring("hello",9)) rel c($string_char_at("abc",5)) '
        'rel d($string_index_of("abc","z")) rel e($asin(2.0))',
        {"b": [], "c": [], "d": [], "e": []},
    ),
    (
        'rel b($format("{} {} {} {} {}", true, \'c\', s"s", 2.0, t"2020-01-01"))',
        {"b": [("true c s 2 2020-01-01 00:00:00 UTC",)]},
    ),
    (
        'rel b($string_upper("aé"),$string_lower("AÉ"),$string_replace("aba","a","x"),$string_trim("  x "), '
        "$string_concat())",
        {"b": [("Aé", "aÉ", "xbx", "x", "")]},
    ),
    (
        'rel b($datetime_year(t"2020-03-04"),$datetime_month(t"2020-03-04"),'
        '$datetime_month0(t"2020-03-04"),$datetime_day(t"2020-03-04"))',
        {"b": [(2020, 3, 2, 4)]},
    ),
    ('rel b($hash(1,3), $hash("a"))', {"b": [(7198375873285174811, 9263968507118638105)]}),
    ('rel b(i,c)=string_chars("héy",i,c)', {"b": [(0, "h"), (1, "é"), (2, "y")]}),
    ('rel b(x,y)=string_find("ababa","ba",x,y)', {"b": [(1, 3), (3, 5)]}),
    ('rel b(x)=string_split("a,b,c",",",x)', {"b": [("a",), ("b",), ("c",)]}),
    ('rel b(y,m,d)=datetime_ymd(t"2020-03-04",y,m,d)', {"b": [(2020, 3, 4)]}),
    ("rel a={1,7} rel b(x)=a(x),not range<i32>(0,5,x)", {"b": [(7,)]}),
    ("rel b()=float_eq<f32>(1.0,1.0001) rel c()=float_eq<f32>(1.0,1.1)", {"b": [()], "c": []}),
]


@pytest.mark.parametrize(("text", "expected"), PROGRAMS, ids=[text for text, _ in PROGRAMS])
def test_programs_derive_what_they_say(text: str, expected: dict[str, list[tuple]]):
    program = analyse_program([Source(text)])
    answers = answer(program, list(expected), Options())
    assert {found.relation.name: list(found.tuples) for found in answers} == expected


LIMITS = Limits(tuples=3_000, derivations=5_000, rounds=20, characters=5_000)
COMPUTATIONS = sorted((Path(__file__).parents[1] / "fixtures" / "computation").glob("*.scl"))


def run(text: str) -> None:
    """Runs a program under the provenance that a first line `// under NAME` says."""
    source = Source(text)
    program = analyse_program([*read_imports([source]), source])
    under = re.match(r"// under (\w+)\n", text)
    options = Options(under[1] if under else "unit", limits=LIMITS)
    write_answer_files(program, answer(program, default_outputs(program), options))


@pytest.mark.parametrize("path", COMPUTATIONS, ids=lambda path: path.stem)
def test_errors_of_computations_are_as_written(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(path.parent)
    with pytest.raises(ScallaxError) as caught:
        run(path.read_text())
    report = str(caught.value).replace(str(Path.cwd()), "DIRECTORY")
    assert f"{type(caught.value).__name__}\n{report}\n" == path.with_suffix(".txt").read_text()
