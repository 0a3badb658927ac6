"""The form of a benchmark: what can be chosen, and what people wrote as a choice."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from math import inf
from typing import Any

from hyperllama_nb.bench.choice import WORKLOADS, Choice
from hyperllama_nb.bench.throughput import Objectives
from hyperllama_nb.client import Client
from hyperllama_nb.client._base import parse_host
from hyperllama_nb.commands.values import number
from hyperllama_nb.errors import HyperLlamaError, RequestError
from hyperllama_nb.models.store import Store

Form = dict[str, Any]
"""The fields as texts; `targets` is a list of backends, `noise_floor` a truth."""

PATIENCE = 3.0
"""Seconds that a service may take to say what there is."""

LIMITS = ("ttft", "tpot", "e2e")
"""The objectives, in milliseconds in the view and in seconds everywhere else."""


def known(host: str | None) -> dict[str, list[str]]:
    """Return the names of models and backends; starts no service to find them."""
    address = parse_host(host)
    if address.socket is None or address.socket.exists():
        try:
            with Client(host, start=False, timeout=PATIENCE) as client:
                models = [model["model"] for model in client.list()["models"]]
                backends = client.status()["backends"]
                able = [name for name, found in backends.items() if "error" not in found]
                return {"models": sorted(models), "backends": able}
        except HyperLlamaError:
            pass  # what is here is told by the disk, too
    if not address.own:
        return {"models": [], "backends": []}
    return {
        "models": sorted(manifest.name.display for manifest in Store().list()),
        "backends": sorted(point.name for point in entry_points(group="hyperllama_nb.backends")),
    }


def written(choice: Choice, backends: list[str]) -> Form:
    """Return a choice as the fields of the form."""
    targets = [*choice.targets]
    checked = [name for name in backends if name in targets]
    for name in checked:
        targets.remove(name)
    return {
        "model": choice.model,
        "targets": checked,
        "others": ", ".join(targets),
        "concurrency": ", ".join(map(str, choice.concurrency)),
        "rates": ", ".join(f"{rate:g}" for rate in choice.rates),
        "workload": choice.workload,
        "input_tokens": str(choice.input_tokens),
        "output_tokens": str(choice.output_tokens),
        "requests": str(choice.requests),
        "blocks": str(choice.blocks),
        "noise_floor": choice.noise_floor,
    }


def read(form: Mapping[str, Any], before: Choice) -> tuple[Choice, dict[str, str]]:
    """Return the choice that a form makes, and by field what is wrong, in words.

    A field that is wrong, or that is not there, leaves what the choice `before` has.
    """
    found: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, (reader, words) in _READERS.items():
        try:
            found[name] = reader(str(form[name]))
        except KeyError:
            continue
        except (ArgumentTypeError, ValueError):
            problems[name] = words
    if "targets" in form or "others" in form:
        targets = (*map(str, form.get("targets", ())), *_parts(str(form.get("others", ""))))
        if targets:
            found["targets"] = targets
        else:
            problems["targets"] = "Choose at least one target, or name one."
    if not (found.get("concurrency", before.concurrency) or found.get("rates", before.rates)):
        problems["concurrency"] = "Give at least one load: requests at a time, or per second."
    if "noise_floor" in form:
        found["noise_floor"] = bool(form["noise_floor"])
    return replace(before, **found), problems


class Setup:
    """What is chosen for the next start, with what people wrote and what is wrong with it."""

    def __init__(self, choice: Choice, known: dict[str, list[str]]) -> None:
        self.choice, self.known = choice, known
        self._problems: dict[str, str] = {}
        self._wrong: Form = {}

    def take(self, form: Form) -> None:
        """Take what a view has in its fields."""
        self.choice, self._problems = read(form, self.choice)
        self._wrong = {name: form[name] for name in self._problems if name in form}

    def check(self) -> None:
        """Raise RequestError if a field is wrong."""
        for field, problem in self._problems.items():
            raise RequestError(f"The field {field} is not right. {problem}")

    def shown(self) -> dict[str, Any]:
        """Return the fields with their problems, and what there is to choose from."""
        return {
            "form": written(self.choice, self.known["backends"]) | self._wrong,
            "problems": self._problems,
            "known": {**self.known, "workloads": [*WORKLOADS]},
        }


def limits(message: Mapping[str, Any], before: Objectives) -> Objectives:
    """Return the objectives of a message in milliseconds; what is no limit sets none."""
    found = {name: message[name] for name in LIMITS if name in message}
    return replace(before, **{name: _seconds(value) for name, value in found.items()})


def milliseconds(objectives: Objectives) -> dict[str, float | None]:
    """Return the objectives as the view has them."""
    pairs = ((name, getattr(objectives, name)) for name in LIMITS)
    return {name: None if value is None else round(1000 * value, 3) for name, value in pairs}


def _seconds(value: object) -> float | None:
    if isinstance(value, int | float) and 0 < value < inf:
        return value / 1000
    return None


def _parts(text: str) -> list[str]:
    return [part for part in (each.strip() for each in text.split(",")) if part]


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text.strip()


def _workload(text: str) -> str:
    if text not in WORKLOADS:
        raise ValueError
    return text


def _each(one: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    return lambda text: tuple(one(part) for part in _parts(text))


_WHOLE = "Write a whole number from 1 up."
_whole = number(int, 1)

_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "model": (_name, "Name a model."),
    "concurrency": (_each(_whole), "Write whole numbers from 1 up, by commas: 1, 4."),
    "rates": (_each(number(float, 0)), "Write numbers above 0, by commas: 0.5, 2."),
    "workload": (_workload, f"Choose one of {', '.join(WORKLOADS)}."),
    "input_tokens": (_whole, _WHOLE),
    "output_tokens": (_whole, _WHOLE),
    "requests": (_whole, _WHOLE),
    "blocks": (_whole, _WHOLE),
}
