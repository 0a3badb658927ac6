"""The same load by our load generator, by `max benchmark` and by guidellm, and their numbers."""

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from hyperllama_nb.bench import workloads
from hyperllama_nb.bench.drive import Generator
from hyperllama_nb.bench.importing import max_benchmark
from hyperllama_nb.bench.metrics import gaps, run_of
from hyperllama_nb.bench.records import Cell, Request, Target

PATIENCE = 300.0
"""Seconds that one turn of a tool may take."""

Numbers = dict[str, float]
"""Medians of one turn, in seconds: `ttft`, `tpot`, `itl` (all gaps together), `whole`.

`tpot` is (tn - t1) / (N - 1), one value a request, and `whole` is (tn - t0) / N: the prompt
is in it.
"""


@dataclass(frozen=True)
class Task:
    """What each tool is to do: so many requests of these lengths in tokens, so many at a time.

    The first `warmup` ones are in no number. `tokenizer` is a directory that transformers reads.
    """

    url: str
    model: str
    tokenizer: Path
    prompt: int
    output: int
    requests: int
    warmup: int
    concurrency: int
    count: workloads.Count | None = None

    @property
    def all(self) -> int:
        """Return how many requests are sent."""
        return self.warmup + self.requests


Tool = Callable[[Task, int, Path], Numbers]
"""Does a task with the prompts of a seed, files at a place, and returns the medians."""


def ours(generator: Generator) -> Tool:
    """Return our own load generator as a tool."""

    def work(task: Task, seed: int, place: Path) -> Numbers:
        del place
        load = workloads.fixed(task.all, task.prompt, task.output, seed=seed, tokens=task.count)
        options = {"ignore_eos": True, "temperature": 0}
        target = Target("server", "openai", task.url, task.model, options)
        # No warm-ups of the cell's own: they would be sent one at a time.
        cell = Cell("load", concurrency=task.concurrency, requests=task.all, warmup=0)
        found = sorted(generator(target, cell, load, seed), key=lambda request: request.sent)
        return numbers(found[task.warmup :])

    return work


def numbers(requests: Sequence[Request]) -> Numbers:
    """Return the medians of our records; raises RuntimeError if a request did not succeed."""
    for request in requests:
        if request.status != "succeeded":
            raise RuntimeError(f"A request of ours {request.status}: {request.error}")
    runs = [run_of(request) for request in requests]
    whole = [run.latency / run.output_tokens for run in runs if run.latency and run.output_tokens]
    return {
        "ttft": _median(run.time_to_first_token for run in runs),
        "tpot": _median(run.time_per_output_token for run in runs),
        "itl": median(gap for request in requests for gap in gaps(request)),
        "whole": _median(whole),
    }


def by_max_benchmark(program: Path) -> Tool:
    """Return `max benchmark` as a tool; `program` is the `max` of an environment that has it."""

    def work(task: Task, seed: int, place: Path) -> Numbers:
        result = place / "max.json"
        usage = {"stream_options": {"include_usage": True}}
        _run(
            [
                *(program, "benchmark", "--backend=modular", "--endpoint=/v1/completions"),
                *(f"--base-url={task.url}", f"--model={task.model}"),
                *(f"--tokenizer={task.tokenizer}", "--dataset-name=random"),
                *(f"--random-input-len={task.prompt}", f"--random-output-len={task.output}"),
                *(f"--num-prompts={task.all}", f"--max-concurrency={task.concurrency}"),
                *(f"--skip-first-n-requests={task.warmup}", "--skip-last-n-requests=0"),
                *("--skip-test-prompt", "--no-flush-prefix-cache", f"--seed={seed}"),
                *("--temperature=0", f"--extra-body={json.dumps(usage)}"),
                *("--no-collect-gpu-stats", "--no-collect-cpu-stats", "--disable-tqdm"),
                *("--no-collect-server-stats", f"--result-filename={result}"),
            ],
            place,
        )
        found = max_benchmark(result)
        if found["requests"]["succeeded"] != task.requests or found["requests"]["failed"]:
            raise RuntimeError(f"`max benchmark` has other requests: {found['requests']}")
        names = ("ttft", "tpot", "itl")
        return {name: found["metrics"][name]["p50"] for name in names}

    return work


def by_guidellm(program: Path) -> Tool:
    """Return guidellm as a tool; `program` is the `guidellm` of an environment of its own."""

    def work(task: Task, seed: int, place: Path) -> Numbers:
        result = place / "guidellm.json"
        backend = {
            "kind": "openai_http",
            "target": task.url,
            "model": task.model,
            "request_format": "/v1/completions",
            "extras": {"body": {"temperature": 0}},
        }
        data = {
            "kind": "synthetic_text",
            "prompt_tokens": task.prompt,
            "output_tokens": task.output,
        }
        spec = {
            "backend": backend,
            "profile": {"kind": "concurrent", "streams": [task.concurrency]},
            "constraints": [{"kind": "max_requests", "count": task.all}],
            "tokenizer": {"kind": "huggingface_auto", "model": str(task.tokenizer)},
            "data": [data],
            "seed": {"kind": "static", "value": seed},
            "outputs": [{"kind": "json", "path": str(result)}],
        }
        scenario = place / "scenario.json"
        scenario.write_text(json.dumps({"spec": spec}), "utf-8")
        _run([program, "run", f"--config={scenario}", "--disable-console"], place)
        [report] = json.loads(result.read_text("utf-8"))["benchmarks"]
        requests = report["requests"]
        found = sorted(requests["successful"], key=lambda request: request["request_start_time"])
        if len(found) != task.all or requests["errored"] or requests["incomplete"]:
            raise RuntimeError(f"guidellm has {len(found)} answers of {task.all} requests.")
        names = {
            "ttft": "time_to_first_token_ms",
            "tpot": "inter_token_latency_ms",
            "whole": "time_per_output_token_ms",
        }
        return {
            name: _median(request[field] for request in found[task.warmup :]) / 1e3
            for name, field in names.items()
        }

    return work


def _median(values: Iterable[float | None]) -> float:
    return median(value for value in values if value is not None)


def _run(command: Sequence[Path | str], place: Path) -> None:
    """Run a tool without a network; raises RuntimeError with its last lines if it fails."""
    hidden = ("PYTHONPATH", "MODULAR_MODEL", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    env |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    log = place / f"{Path(command[0]).name}.log"
    with log.open("wb") as output:
        status = subprocess.run(
            [str(part) for part in command],
            cwd=place,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        ).returncode
    if status:
        last = log.read_text("utf-8", "replace").splitlines()[-20:]
        raise RuntimeError("\n".join([f"{command[0]} ended with {status}:", *last]))
