"""Launching the lean engine: one process around the graph, for Llama models on a CPU."""

import functools
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperllama_nb.engines.base import LaunchSpec, Traits
from hyperllama_nb.engines.max import devices, lean_launcher, memory
from hyperllama_nb.engines.max.find import Found, carries
from hyperllama_nb.engines.max.lean.config import UnfitError, read_config

CHOICE = "HYPERLLAMA_MAX_LAUNCH"
"""The variable that may say "serve": `max serve`, also where the lean engine would do."""

BATCH = 8
"""Requests at once: a step for eight takes two to three times as long as one for one."""

PROVEN = frozenset({"26.7.0"})
"""The releases of MAX that the graph was tested on; another one is asked first."""

_PROBE_LIMIT = 60

_ENCODINGS = frozenset({"float32", "q4_0"})


class Lean:
    """The engine in `lean/`, in MAX's interpreter."""

    shape = memory.LEAN
    most_logprobs = 20

    def batch(self, spec: LaunchSpec) -> int | None:
        """Return 8."""
        del spec
        return BATCH

    def capabilities(self, found: Found) -> frozenset[str]:
        """Return what the engine does; it constrains output where llguidance is installed."""
        # It sleeps since a thread of MAX's runtime polls while nothing runs: 13 to 18 % of a core.
        able = {"token_ids", "metrics", "penalties", "seed", "sleeps", "stop", "logprobs"}
        able |= {"ignore_eos"}
        return frozenset(able | ({"constrain"} if carries(found.python, "llguidance") else set()))

    def traits(self, spec: LaunchSpec) -> Traits:
        """Return the type of the cache; MAX chooses the threads and does not tell them."""
        del spec
        return Traits(cache_type="float32")

    def params(self, sampling: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters, all of which the engine knows."""
        return dict(sampling)

    def command(self, spec: LaunchSpec, found: Found, batch: int | None) -> list[str]:
        """Return the command line; `batch` is in requests."""
        return [
            *(str(found.python), lean_launcher.__file__, "serve", str(spec.socket)),
            *("--model", str(spec.directory)),
            *("--served-model-name", spec.manifest.name.display),
            *("--context", str(spec.context)),
            *("--slots", str(batch or BATCH)),
            *("--max-queue", str(spec.max_queue)),
        ]

    def warm(self, spec: LaunchSpec, found: Found) -> tuple[list[str], str] | None:
        """Return the command that compiles; the compiled code serves every context and batch."""
        argv = [str(found.python), lean_launcher.__file__, "warm", str(spec.directory)]
        return argv, f"lean {devices.encoding(spec.manifest, spec.placement)}"


def reason_against(spec: LaunchSpec, found: Found) -> str | None:
    """Return why the lean engine does not run a model, in words, or None if it does."""
    if os.environ.get(CHOICE) == "serve":
        return f"{CHOICE} says so"
    if spec.placement.device != "cpu":
        return "it runs on CPUs only"
    if spec.task != "generate":
        return "it makes no embeddings"
    kind = devices.encoding(spec.manifest, spec.placement)
    if kind not in _ENCODINGS:
        return f"the weights are in {kind}"
    return _unfit(spec.directory) or _misfit(found)


@functools.lru_cache
def _unfit(directory: Path) -> str | None:
    """Return what in the model's configuration the graph does not compute."""
    try:
        read_config(directory)
    except UnfitError as error:
        return str(error)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its config.json cannot be read ({error!r})"
    return None


@functools.lru_cache
def _misfit(found: Found) -> str | None:
    """Return what the installed MAX lacks; a release that was not tested is asked, once."""
    if found.version in PROVEN:
        return None
    try:
        subprocess.run(
            [found.python, "-P", lean_launcher.__file__, "probe"],
            capture_output=True,
            text=True,
            timeout=_PROBE_LIMIT,
            check=True,
            cwd="/",
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        return f"MAX {found.version} lacks what it needs ({last})"
    except (OSError, subprocess.SubprocessError) as error:
        return f"MAX {found.version} cannot be asked ({error!r})"
    return None
