"""What four-bit weights cost in quality: the same text, the same engine, float32 against Q4_0.

Run it as `python benchmarks/quantization.py [--plain smollm2:135m] [--four smollm2:135m-q4_0]
[--text FILE]`. Both models must be in the store. Each reads the text once in the lean MAX engine,
token by token, and tells after each token how likely every next one is. The float32 model is the
reference: where the two were made of one file, what is measured is the re-encoding alone.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hyperllama_nb.models import Manifest

TEXT = Path(__file__).with_name("text.txt")
TOP = 5
NEAR = 0.1
"""Two tokens tie nearly if their probabilities differ by less than this."""

_STEP = 64
"""Positions that are compared at a time."""


def ids_of(model: "Manifest", text: str) -> list[int]:
    """Return the text as the model's tokens."""
    import tokenizers

    from hyperllama_nb.models import Store

    path = Store().view(model) / "tokenizer.json"
    ids: list[int] = tokenizers.Tokenizer.from_file(str(path)).encode(text).ids
    return ids


def logits(model: str, ids: list[int], scratch: Path) -> "NDArray[np.float32]":
    """Return what the model expects after each token: logits, float32 [len(ids), vocabulary].

    They lie in a file in `scratch`: a row has 200 kB for 50,000 tokens.
    """
    from alone import planned

    from hyperllama_nb.engines.max import lean_launcher

    backend, spec = asyncio.run(planned(model, "max"))
    launch = backend.command(spec)
    tokens, result = scratch / "ids.json", scratch / f"{spec.workdir.name}.npy"
    tokens.write_text(json.dumps(ids))
    spec.workdir.mkdir(mode=0o700, parents=True)
    command = [launch.argv[0], __file__, "--worker", lean_launcher.__file__, str(spec.directory)]
    try:
        subprocess.run([*command, str(tokens), str(result)], env=launch.env, check=True)
    finally:
        shutil.rmtree(spec.workdir, ignore_errors=True)
    found: NDArray[np.float32] = np.load(result, mmap_mode="r")
    return found


def work(launcher: str, directory: str, tokens: str, result: str) -> None:
    """Write the logits of one model; runs in MAX's interpreter, without this package."""
    sys.path.insert(0, str(Path(launcher).parent))
    import lean_launcher

    lean_launcher.put_in_place()
    from hyperllama_lean.base import Row
    from hyperllama_lean.model import LlamaModel

    ids = json.loads(Path(tokens).read_text())
    model = LlamaModel(Path(directory), context=2048, slots=1)
    table = np.lib.format.open_memmap(result, "w+", np.float32, (len(ids), model.vocab))
    for position, token in enumerate(ids):
        table[position] = model.forward([Row(0, position, [token])])[0]
    table.flush()


@dataclass(frozen=True)
class Comparison:
    """Two models on one text; each array has a number for each token but the last.

    `plain` and `four` are the surprise at the token that follows, in nats; `divergence` is the
    Kullback-Leibler divergence of the second distribution from the first, in nats; `shared` is the
    part of the first one's five likeliest tokens that are among the second one's; `same` tells
    whether the likeliest token is the same, and `margin` how much likelier the first model finds
    its own than the second one's.
    """

    plain: "NDArray[np.float64]"
    four: "NDArray[np.float64]"
    divergence: "NDArray[np.float64]"
    shared: "NDArray[np.float64]"
    same: "NDArray[np.bool_]"
    margin: "NDArray[np.float64]"


def compare(
    ids: list[int], first: "NDArray[np.float32]", second: "NDArray[np.float32]"
) -> Comparison:
    """Return how the second model's expectations differ from the first one's."""
    columns: list[tuple[Any, ...]] = []
    for start in range(0, len(ids) - 1, _STEP):
        following = np.array(ids[start + 1 : start + 1 + _STEP])
        rows = np.arange(len(following))
        p, q = (_log_softmax(part[start : start + len(rows)]) for part in (first, second))
        tops = [np.argpartition(-part, TOP, axis=1)[:, :TOP] for part in (p, q)]
        shared = (tops[0][:, :, None] == tops[1][:, None, :]).sum(axis=(1, 2)) / TOP
        best, theirs = p.argmax(axis=1), q.argmax(axis=1)
        columns.append(
            (
                -p[rows, following],
                -q[rows, following],
                (np.exp(p) * (p - q)).sum(axis=1),
                shared,
                best == theirs,
                np.exp(p[rows, best]) - np.exp(p[rows, theirs]),
            )
        )
    return Comparison(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _log_softmax(values: "NDArray[np.float32]") -> "NDArray[np.float64]":
    shifted = values.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def table(found: Comparison) -> str:
    """Return the figures as a Markdown table; ± is 1.96 standard errors over the tokens."""
    more = found.four - found.plain
    error = 1.96 * more.std(ddof=1) / np.sqrt(len(more))
    ratio = np.exp(more.mean())
    divergence, other = found.divergence, ~found.same
    quantiles = np.quantile(divergence, (0.5, 0.95, 0.99))
    near = (found.margin[other] < NEAR).mean() if other.any() else 1.0
    lines = [
        ("tokens compared", f"{len(more)}"),
        ("perplexity, float32", f"{np.exp(found.plain.mean()):.2f}"),
        ("perplexity, q4_0", f"{np.exp(found.four.mean()):.2f}"),
        ("ratio", f"{ratio:.3f} ({ratio * np.exp(-error):.3f}-{ratio * np.exp(error):.3f})"),
        ("KL divergence, mean", f"{divergence.mean():.4f} nats"),
        ("KL divergence, median, 95 %, 99 %", ", ".join(f"{x:.4f}" for x in quantiles)),
        ("five likeliest tokens, shared", f"{found.shared.mean():.1%}"),
        ("five likeliest tokens, the same set", f"{(found.shared == 1).mean():.1%}"),
        ("likeliest token, the same", f"{found.same.mean():.1%}"),
        (f"of the others: within {NEAR} of a tie", f"{near:.1%}"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in lines)])


def measure(args: argparse.Namespace) -> None:
    from hyperllama_nb.models import Store

    plain, four = Store().get(args.plain), Store().get(args.four)
    ids = ids_of(plain, args.text.read_text("utf-8"))[:2048]
    with tempfile.TemporaryDirectory() as scratch:
        first, second = [logits(name, ids, Path(scratch)) for name in (args.plain, args.four)]
        for model in (plain, four):
            print(f"{model.name.display}: {model.encoding}, {model.weights_size / 1e6:.0f} MB")
        print(f"{args.text.name}, {len(ids)} tokens\n\n{table(compare(ids, first, second))}")


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--plain", default="smollm2:135m", help="the model in float32")
    parser.add_argument("--four", default="smollm2:135m-q4_0", help="the model in Q4_0")
    parser.add_argument("--text", type=Path, default=TEXT, help="a text file")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
