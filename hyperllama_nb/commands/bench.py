"""The command `bench`: one prompt, several runs, one table."""

from argparse import Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hyperllama_nb.commands import comparing, words
from hyperllama_nb.commands.options import Parser, UsageError, add_model, add_sampling, options_from
from hyperllama_nb.commands.values import number
from hyperllama_nb.display.tables import Table

if TYPE_CHECKING:
    from hyperllama_nb.bench import Run
    from hyperllama_nb.commands.context import Context


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `bench`."""
    add_model(parser)
    parser.add_argument(
        "prompt", metavar="PROMPT", nargs="?", help="the prompt of every run; not with --targets"
    )
    parser.add_argument(
        "-i",
        "--iterations",
        type=number(int, 1),
        default=5,
        metavar="N",
        help="measured runs, after one warm-up that is not measured (default 5)",
    )
    comparing.add_arguments(parser)
    add_sampling(parser)


def run(context: "Context", args: Namespace) -> Table:
    """Measure and return the table."""
    if args.targets:
        return comparing.run(context, args)
    if given := comparing.given(args):
        raise UsageError(f"{given} belongs to a comparison: name what to compare with --targets.")
    if args.prompt is None:
        raise UsageError("A prompt is missing. Name one, or compare engines with --targets.")
    from hyperllama_nb.bench import repeat

    context.note(f"Warming up {args.model} …")
    runs: list[Run] = []
    for done in repeat(
        context.client, args.model, args.prompt, args.iterations, options_from(args)
    ):
        runs.append(done)
        context.note(
            f"run {len(runs)} of {args.iterations}: "
            f"{words.known(done.latency, '{:.3f} s'.format)}, "
            f"{words.known(done.decode_rate, '{:.1f}'.format)} tokens/s"
        )
    return report(args.model, runs)


def report(model: str, runs: "list[Run]") -> Table:
    """Return the table of the runs; what nobody measured is a dash."""
    from hyperllama_nb.bench import statistic

    def row(label: str, values: "Iterable[float | None]", form: str) -> tuple[str, ...]:
        return (label, *(words.known(value, form.format) for value in statistic(values)))

    return Table(
        ("", "average", "min", "max"),
        [
            row("latency", (run.latency for run in runs), "{:.3f} s"),
            row("time to first token", (run.time_to_first_token for run in runs), "{:.3f} s"),
            row("tokens/s: (N - 1) / (tn - t1)", (run.decode_rate for run in runs), "{:.1f}"),
            row("output tokens N", (run.output_tokens for run in runs), "{:.1f}"),
            row("prompt tokens", (run.prompt_tokens for run in runs), "{:.1f}"),
            row("of these from the cache", (run.cached_tokens for run in runs), "{:.1f}"),
        ],
        title=f"{model}, {words.plural(len(runs), 'run')} after one warm-up",
    )
