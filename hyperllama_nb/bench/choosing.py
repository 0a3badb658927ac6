"""What people write for targets and loads, as the records that an experiment takes."""

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hyperllama_nb.bench.records import Cell, Kind, Target
from hyperllama_nb.bench.way import KEY
from hyperllama_nb.errors import RequestError, ServiceError

OLLAMA = "http://127.0.0.1:11434"
"""Where Ollama listens unless `OLLAMA_HOST` says else."""

PATIENCE = 5.0
"""Seconds in which a server must tell which API it speaks."""


def targets(
    specs: Sequence[str],
    model: str,
    *,
    service: str,
    backends: Collection[str],
    options: Mapping[str, Any],
) -> tuple[Target, ...]:
    """Return the targets that were named, in their order; two of the same are told apart.

    A spec is the name of one of the service's `backends`, `ollama`, or a URL, whose fragment is the
    model's name there if it has another (`http://host:8000/v1#name`). Raises RequestError for a
    name that is none of these, ServiceError for a URL where nobody answers.
    """
    found: list[Target] = []
    for spec in specs:
        target = _target(spec, model, service, backends, dict(options))
        same = sum(target.name == each.name.partition(" #")[0] for each in found)
        if same:
            target = Target(**{**vars(target), "name": f"{target.name} #{same + 1}"})
        found.append(target)
    return tuple(found)


def cells(
    concurrency: Sequence[int], rates: Sequence[float], *, requests: int, warmup: int
) -> tuple[Cell, ...]:
    """Return a closed load per concurrency and a Poisson one per rate; at least one at a time.

    Each has at least twice as many requests as run side by side, so that it is more than a ramp,
    and as many warm-ups, unless there are to be none.
    """
    closed = [
        Cell(
            f"{n} at a time",
            concurrency=n,
            requests=max(requests, 2 * n),
            warmup=max(warmup, n) if warmup else 0,
        )
        for n in dict.fromkeys(concurrency or (() if rates else (1,)))
    ]
    opened = [
        Cell(f"{rate:g}/s", rate=rate, arrival="poisson", requests=requests, warmup=warmup)
        for rate in dict.fromkeys(rates)
    ]
    return (*closed, *opened)


def _target(
    spec: str, model: str, service: str, backends: Collection[str], options: dict[str, Any]
) -> Target:
    if spec in backends:
        return Target(spec, "service", service, model, options, backend=spec)
    if spec == "ollama":
        return Target(spec, "ollama", _ollama(), model, options)
    if not spec.startswith(("http://", "https://", "unix:")):
        raise RequestError(
            f"There is no target {spec!r}. Name a backend ("
            f"{', '.join(sorted(backends)) or 'the service tells of none'}), ollama, or the URL "
            "of a server."
        )
    url, _, named = spec.partition("#")
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise RequestError(
            "A password in a URL would be in every record of the run. Leave it out, and set "
            f"{KEY} to the key that the server asks for."
        )
    kind: Kind = "openai" if url.rstrip("/").endswith("/v1") else _spoken(url)
    return Target(url, kind, url, named or model, options)


def _ollama() -> str:
    """Return where Ollama is; raises ServiceError if it does not run there."""
    host = os.environ.get("OLLAMA_HOST") or OLLAMA
    url = host if "://" in host else f"http://{host}"
    if _spoken(url) != "ollama":
        raise ServiceError(f"What answers at {url} is not Ollama. Set OLLAMA_HOST to its address.")
    return url


def _spoken(url: str) -> Kind:
    """Ask a server which API it speaks; raises ServiceError if nobody answers."""
    import httpx

    if url.startswith("unix:"):
        transport: httpx.HTTPTransport | None = httpx.HTTPTransport(uds=url.removeprefix("unix:"))
        url = "http://localhost"
    else:
        transport = None
    try:
        with httpx.Client(transport=transport, timeout=PATIENCE) as client:
            answer = client.get(f"{url.rstrip('/')}/api/version")
            told = answer.json() if answer.status_code == 200 else None
    except httpx.HTTPError as error:
        raise ServiceError(
            f"No server answers at {url} ({error}). Check the address, and that it runs."
        ) from None
    except ValueError:
        told = None
    return "ollama" if isinstance(told, dict) and "version" in told else "openai"
