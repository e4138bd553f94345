"""The command line: `scallax run`, `check`, `plan` and `repl`."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from scallax import __version__
from scallax.circuits.compile import analyse_program
from scallax.context.answer_files import write_answer_files
from scallax.context.answers import TAGS_LEFT_ASIDE, answer, default_outputs, has_number_tags
from scallax.context.explain_plan import explain
from scallax.context.listing import print_csv, print_json, print_table
from scallax.context.options import Options, check_options
from scallax.context.status_line import shown_work
from scallax.errors import Diagnostic, InputError, ScallaxError, Source
from scallax.facts.fact_checks import find_overfull_set, find_tag_outside
from scallax.grounding.limits import Limits
from scallax.language import ir
from scallax.planner.plan import plan
from scallax.syntax.imports import read_imports, read_source

# Exit codes: an error of the program, wrong usage, the end of a pipe's reader, Ctrl-C.
_FAILED, _USAGE, _CLOSED_PIPE, _INTERRUPTED = 1, 2, 141, 130

# The limits that are counts, with the words for what they count.
_COUNTED = {
    "tuples": "tuples",
    "derivations": "derivations",
    "rounds": "rounds of a recursion",
    "characters": "characters of text",
    "environments": "sets of choices of a tuple, where exclusive facts end a recursion",
}

_PRINTERS = {"table": print_table, "json": print_json, "csv": print_csv}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code: 0, 1 for errors of the program, 2 for wrong usage, 130 for Ctrl-C.

    Results go to stdout, diagnostics to stderr.
    """
    try:
        parsed = _parser().parse_args(arguments)
    except SystemExit as stop:  # `--help`, or wrong usage, which argparse has explained
        return stop.code if isinstance(stop.code, int) else _USAGE
    try:
        code = parsed.command(parsed)
        sys.stdout.flush()
        return code
    except ScallaxError as error:
        _report(error)
        return _USAGE if isinstance(error, InputError) else _FAILED
    except KeyboardInterrupt:  # Ctrl-C
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of the output has closed the pipe
        _drop_output()
        return _CLOSED_PIPE
    except OSError as error:  # files are read and written under errors of their own: the output's disk is full
        _drop_output()
        print(f"the output cannot be written: {error.strerror}", file=sys.stderr)
        return _FAILED


def _drop_output() -> None:
    """Discards buffered output, so that nothing is written at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scallax", description="Scallop, a probabilistic Datalog, compiled to JAX.")
    parser.add_argument("--version", action="version", version=f"scallax {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="print the relations of a program", description="Prints what FILE computes.")
    run.add_argument("file", metavar="FILE", help="a program; `-` is the standard input")
    _add_outputs(run)
    _add_provenance(run)
    worlds = run.add_mutually_exclusive_group()
    worlds.add_argument(
        "--most-probable", action="store_true", help="print the most probable world: the truth of facts and choices"
    )
    worlds.add_argument(
        "--sample", type=_count, metavar="N", help="draw N worlds, and print how often each fact and choice holds"
    )
    run.add_argument("--seed", type=_count, default=0, metavar="N", help="the seed of --sample; default: 0")
    run.add_argument("--format", choices=tuple(_PRINTERS), default="table", help="default: table")
    _add_limits(run)
    _add_verbose(run)
    run.set_defaults(command=_run)
    check = commands.add_parser("check", help="find the errors of programs", description="Finds errors; runs nothing.")
    check.add_argument("files", metavar="FILE", nargs="+", help="a program; `-` is the standard input")
    check.set_defaults(command=_check)
    plan = commands.add_parser("plan", help="print how a program is computed, with row counts")
    plan.add_argument("file", metavar="FILE", help="a program; `-` is the standard input")
    _add_outputs(plan)
    _add_limits(plan)
    _add_verbose(plan)
    plan.set_defaults(command=_plan)
    repl = commands.add_parser("repl", help="enter a program item by item", description="`:help` lists the commands.")
    _add_provenance(repl)
    _add_limits(repl)
    repl.set_defaults(command=_repl)
    return parser


def _add_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-v", "--verbose", action="store_true", help="say on stderr what takes long, and why")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-q",
        "--query",
        metavar="RELATION",
        action="append",
        help="only this relation, and no file is written; may be repeated; "
        "default: the program's queries, or else all that are not hidden",
    )


def _add_provenance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p", "--provenance", metavar="NAME", help="how tags are computed; default: unit, which leaves tags aside"
    )
    parser.add_argument("-k", "--k", "--top-k", type=int, default=3, metavar="N", help="proofs kept; default: 3")
    parser.add_argument(
        "--wmc-with-disjunctions", action="store_true", help="count an exclusive set as one random variable"
    )
    parser.add_argument("--log", action="store_true", help="give logarithms of probabilities")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--iter-limit", type=_count, metavar="N", help="end a recursion after N + 1 rounds")
    parser.add_argument("--limit-seconds", type=float, metavar="S", help="give up after S seconds; default: never")
    for name, what in _COUNTED.items():
        count = getattr(Limits(), name)
        parser.add_argument(
            f"--limit-{name}",
            type=_count,
            default=count,
            metavar="N",
            help=f"give up beyond N {what}; default: {count:,}",
        )


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _options(parsed: argparse.Namespace) -> Options:
    counts = {name: getattr(parsed, f"limit_{name}") for name in _COUNTED}
    limits = Limits(**counts, seconds=parsed.limit_seconds)
    if "provenance" not in parsed:
        return Options(iter_limit=parsed.iter_limit, limits=limits)
    options = Options(
        parsed.provenance or Options().provenance, parsed.k, parsed.wmc_with_disjunctions, parsed.iter_limit, limits
    )
    return check_options(replace(options, log=True)) if parsed.log else options


def _run(parsed: argparse.Namespace) -> int:
    if parsed.most_probable or parsed.sample is not None:
        return _run_worlds(parsed)
    program = analyse_program(_with_imports(read_source(parsed.file)))
    options = _options(parsed)
    has_numbers = not options.is_discrete
    if parsed.provenance is None and has_number_tags(program):
        _print_diagnostic(TAGS_LEFT_ASIDE, "warning: ")
    _warn(program, has_numbers, has_numbers and options.wmc_with_disjunctions)
    with shown_work(sys.stderr, is_verbose=parsed.verbose):
        answers = answer(program, parsed.query or default_outputs(program), options)
    if not parsed.query:
        answers = write_answer_files(program, answers)
    _PRINTERS[parsed.format](answers)
    return 0


def _run_worlds(parsed: argparse.Namespace) -> int:
    # Tables of answers need none of this.
    from scallax.context.context import Context

    context = Context(parsed.provenance or "exact", limits=_options(parsed).limits)
    context.set_iter_limit(parsed.iter_limit)
    source = read_source(parsed.file)
    with shown_work(sys.stderr, is_verbose=parsed.verbose):
        if parsed.file == "-":
            context.add_program(source.text)
        else:
            context.import_file(parsed.file)
        if parsed.most_probable:
            print(context.most_probable())
            return 0
        print(context.sample(parsed.sample, parsed.seed))
    return 0


def _check(parsed: argparse.Namespace) -> int:
    code = 0
    for file in parsed.files:
        source = read_source(file)
        # Files are independent: the errors of all of them are reported together.
        try:
            program = analyse_program(_with_imports(source))
            plan(program, default_outputs(program))
        except ScallaxError as error:
            _report(error)
            code = _FAILED
        else:
            _warn(program, has_numbers=True, has_exclusive_sets=True)
    return code


def _warn(program: ir.Program, has_numbers: bool, has_exclusive_sets: bool) -> None:
    """Prints warnings: of tags if the provenance uses them, of exclusive groups if it ignores these."""
    found: list[Diagnostic | None] = [*program.warnings]
    if has_numbers:
        found.append(find_tag_outside(program, ()))
    if has_exclusive_sets:
        found.append(find_overfull_set(program, float))
    for warning in found:
        if warning is not None:
            _print_diagnostic(warning, "warning: ")


def _plan(parsed: argparse.Namespace) -> int:
    program = analyse_program(_with_imports(read_source(parsed.file)))
    with shown_work(sys.stderr, is_verbose=parsed.verbose):
        text = explain(program, parsed.query or default_outputs(program), _options(parsed))
    print(text)
    return 0


def _repl(parsed: argparse.Namespace) -> int:
    # The prompt alone needs drafts of programs and completion.
    from scallax.context.repl import interact

    interact(_options(parsed), _report, tells_of_tags=parsed.provenance is None)
    return 0


def _with_imports(source: Source) -> list[Source]:
    return [*read_imports([source]), source]


def _report(error: ScallaxError) -> None:
    for i, diagnostic in enumerate(error.diagnostics):
        if i:
            print(file=sys.stderr)
        _print_diagnostic(diagnostic)


def _print_diagnostic(diagnostic: Diagnostic, prefix: str = "") -> None:
    lines = f"{prefix}{diagnostic}".splitlines()
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        # Bold for what is wrong, red for the carets, cyan for the hint.
        lines[0] = f"\x1b[1m{lines[0]}\x1b[0m"
        if diagnostic.span is not None and len(lines) > 2:
            lines[2] = f"\x1b[31m{lines[2]}\x1b[0m"
        if diagnostic.hint is not None:
            lines[-1] = f"\x1b[36m{lines[-1]}\x1b[0m"
    print("\n".join(lines), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
