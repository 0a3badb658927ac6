"""The part of `bench` that compares targets: its options, its run and its table."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperllama_nb.commands.options import Parser, UsageError, options_from
from hyperllama_nb.commands.values import many, number, objectives
from hyperllama_nb.display.tables import Table

if TYPE_CHECKING:
    from hyperllama_nb.bench.choice import Choice
    from hyperllama_nb.bench.session import Session
    from hyperllama_nb.commands.context import Context

FIELDS = (
    "concurrency",
    "rates",
    "workload",
    "input_tokens",
    "output_tokens",
    "requests",
    "warmup",
    "blocks",
    "objectives",
    "noise_floor",
)
"""The options that are fields of a choice; what the line does not have keeps its default."""

ELSEWHERE = {
    "backend": "--backend is for one prompt. Name the backends to compare with --targets.",
    "num_predict": "--num-predict is for one prompt. Give the length with --output-tokens.",
}
"""Options of the plain form that a comparison has under another name."""


def add_arguments(parser: Parser) -> None:
    """Add the options that open the comparison."""
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--targets", metavar="LIST", help="backends, ollama, URLs; compares them, by commas"
    )
    group.add_argument(
        "--concurrency", type=many(int, 1), metavar="LIST", help="requests at a time"
    )
    group.add_argument(
        "--rate",
        dest="rates",
        type=many(float, 0),
        metavar="LIST",
        help="requests per second, at random moments",
    )
    group.add_argument(
        "--workload",
        metavar="NAME",
        help="fixed (default), uniform, normal, prefix, turns or sample: what is asked",
    )
    for name, least, text in (
        ("--input-tokens", 1, "length of each prompt, or its mean (default 128)"),
        ("--output-tokens", 1, "length of each answer, or its mean (default 64)"),
        ("--requests", 1, "measured requests of each load in each block (default 16)"),
        ("--warmup", 0, "requests before them that are not measured (default 1)"),
        ("--blocks", 1, "repetitions in mixed order, the unit of comparison (default 5)"),
    ):
        group.add_argument(name, type=number(int, least), metavar="N", help=text)
    group.add_argument(
        "--goodput",
        dest="objectives",
        type=objectives,
        metavar="LIST",
        help="limits of a good request in ms, such as ttft:200,tpot:50,e2e:2000",
    )
    group.add_argument(
        "--noise-floor",
        action="store_true",
        default=None,
        help="measure the first target twice, and tell which differences are visible",
    )
    group.add_argument("--quick", action="store_true", help="short prompts and answers, 3 blocks")
    group.add_argument("--output", type=Path, metavar="DIR", help="keep the run in a new directory")
    group.add_argument(
        "--overlay",
        action="append",
        type=Path,
        metavar="FILE",
        help="a result of max benchmark, shown in the report of the run; may be given repeatedly",
    )


def given(args: Namespace) -> str:
    """Return the first option of a comparison that the line has; empty if it has none."""
    written = {"rates": "rate", "objectives": "goodput"}
    for name in (*FIELDS, "quick", "output", "overlay"):
        value = getattr(args, name)
        if value is not None and value is not False:
            return f"--{written.get(name, name).replace('_', '-')}"
    return ""


def choice(args: Namespace) -> "Choice":
    """Return what a command line chooses; raises UsageError for what does not go together."""
    from hyperllama_nb.bench.choice import Choice
    from hyperllama_nb.errors import RequestError

    options = options_from(args)
    if args.prompt is not None:
        raise UsageError("A comparison makes its own prompts. Leave the prompt or --targets out.")
    for name, told in ELSEWHERE.items():
        if name in options:
            raise UsageError(told)
    fields = {name: getattr(args, name) for name in FIELDS}
    if args.seed is not None:
        fields["seed"] = args.seed
    try:
        return (Choice.quick if args.quick else Choice)(
            args.model,
            tuple(part for part in args.targets.split(",") if part),
            options=options,
            **{name: value for name, value in fields.items() if value is not None},
        )
    except RequestError as error:
        raise UsageError(str(error)) from None


def run(context: "Context", args: Namespace) -> Table:
    """Measure all targets and return the table; keeps the run if that was asked for."""
    from hyperllama_nb.bench import rundir
    from hyperllama_nb.bench.importing import max_benchmark
    from hyperllama_nb.bench.session import Session

    chosen = choice(args)
    if args.output:
        rundir.check_free(args.output)
    elif args.overlay:
        raise UsageError("--overlay is for the report of a run. Name its directory with --output.")
    for file in args.overlay or ():
        max_benchmark(file)  # what is no such file is refused before anything is measured
    session = Session(context.client, chosen, tell=context.note)
    try:
        session.run()
    finally:
        if args.output and session.requests():
            _keep(context, session, args)
    summary = session.summary()
    for each in summary["fairness"]:
        context.note(f"{each['state']:<7} {each['rule']}: {each['reason']}")
    return table(summary)


def _keep(context: "Context", session: "Session", args: Namespace) -> None:
    """Write the run, also one that an error ended: what was measured is not lost."""
    from hyperllama_nb.bench import rundir

    told = session.write(args.output)
    if args.overlay:
        rundir.overlay(args.output, args.overlay)
    context.note(f"The run is in {args.output}. {told or ''}".rstrip())


def table(summary: Mapping[str, Any]) -> Table:
    """Return medians of every two targets and their ratio with its verdict.

    With objectives each load also has its good requests; a single target has its medians only.
    """
    from hyperllama_nb.bench.sections import set_ups

    rows = [row for cell in summary["cells"] for row in _rows(summary, cell)]
    columns = ("LOAD", "NUMBER", "TARGETS", "FIRST", "SECOND", "RATIO", "THE FIRST IS")
    told = [f"{summary['title']}, medians.", summary["note"], set_ups(summary)]
    if summary.get("targets_same"):
        told.append(_noise(summary))
    return Table(columns, rows, title=" ".join(filter(None, told)))


def _rows(summary: Mapping[str, Any], cell: Mapping[str, Any]) -> list[tuple[str, ...]]:
    from hyperllama_nb.bench.sections import shown

    limits = [value for value in summary["objectives"].values() if value is not None]
    pairs: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for each in cell["comparisons"]:
        pairs.setdefault((each["first"], each["second"]), []).append(each)
    for name in cell["targets"] if not pairs else ():
        pairs[(name,)] = [
            {"metric": metric, "label": told["label"], "ratio": None, "verdict": "-"}
            for metric, told in summary["definitions"].items()
            if cell["targets"][name]["metrics"].get(metric)
        ]
    rows: list[tuple[str, ...]] = []
    for names, found in pairs.items():
        shares, start = [cell["targets"][name] for name in names], (cell["label"],)
        for each in found:
            unit = summary["definitions"][each["metric"]]["unit"]
            values = [shown(own["metrics"][each["metric"]]["p50"], unit) for own in shares]
            ratio = _ratio(each)
            rows.append((*start, each["label"], *_sides(names, values), ratio, each["verdict"]))
        if limits:
            good = [own["goodput"] for own in shares]
            told = (
                ("within the objectives", [_share(each) for each in good]),
                ("goodput", [shown(each["goodput"], "requests/s") for each in good]),
            )
            rows += [(*start, label, *_sides(names, values), "-", "-") for label, values in told]
    return rows


def _sides(names: tuple[str, ...], values: list[str]) -> tuple[str, str, str]:
    first, second = [*values, "-"][:2]
    return " / ".join(names), first, second


def _ratio(found: Mapping[str, Any]) -> str:
    if found["ratio"] is None:
        return "-"
    return f"{found['ratio']:.2f}x [{found['low']:.2f}, {found['high']:.2f}]"


def _share(found: Mapping[str, Any]) -> str:
    from hyperllama_nb.bench.sections import shown

    if found["low"] is None:
        return shown(found["share"], "share")
    share, low, high = (100 * found[name] for name in ("share", "low", "high"))
    return f"{share:.0f} % [{low:.0f}, {high:.0f}]"


def _noise(summary: Mapping[str, Any]) -> str:
    name, again = summary["targets_same"]
    if not summary["noise_floor"]:
        return f"Too few blocks of {name} and {again} tell which differences are visible."
    shares = ", ".join(
        f"{100 * share:.{1 if share < 0.1 else 0}f} % ({label})"
        for label, share in summary["noise_floor"].items()
    )
    return f"{name} was measured twice: differences under {shares} are not visible here."
