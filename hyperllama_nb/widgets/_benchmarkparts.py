"""The pictures and tables of a comparison as fragments of HTML, live and as a notebook keeps it."""

import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape, unescape
from typing import Any

from hyperllama_nb.bench import figures, sections
from hyperllama_nb.bench.goodput import Attainment, attained
from hyperllama_nb.bench.live import ecdf, running
from hyperllama_nb.bench.metrics import METRICS
from hyperllama_nb.bench.records import Request
from hyperllama_nb.bench.session import Session
from hyperllama_nb.bench.throughput import Objectives

CHOSEN = ("ttft", "tpot", "itl", "e2e", "decode_rate")
"""The numbers that have curves and distributions, in the order of the list."""

TITLES = {
    "verdict": "Verdict",
    "curves": "While it runs",
    "ecdf": "Distribution",
    "load": "Against the load",
    "goodput": "Within the objectives",
    "numbers": "Numbers",
    "loads": "Load times",
    "fairness": "Is it a fair comparison?",
}
"""The fragments in the order in which a notebook keeps them, and what stands above each."""

STYLE = f"""{sections.STYLE}.hl-fragments h2{{font-size:1.15em;font-weight:600;margin:1.2em 0 .3em}}
.hl-fragments h3{{font-size:1em;font-weight:600;margin:.8em 0 .2em}}
.hl-fragments img{{display:block;max-width:100%;margin:.5em 0}}
"""
"""For the fragments, where a page leaves it: a viewer may strip it, and the words remain."""

_SVG = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
_NAME = re.compile(r"<title>(.*?)</title>", re.DOTALL)

_MIDDLE = "#7a7a7a"
"""Reads on a light and on a dark page: a picture of its own does not know its page's colours."""


@dataclass(frozen=True)
class Look:
    """What a view has chosen: a number, a load, and limits."""

    metric: str = CHOSEN[0]
    cell: str = ""
    objectives: Objectives = field(default_factory=Objectives)


class Parts:
    """The fragments of one session; each is made anew only when what it shows has changed."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._made: dict[str, tuple[object, Any]] = {}

    def made(self, look: Look) -> dict[str, str]:
        """Return all fragments by name; those that have nothing to show are empty or left out."""
        requests, whole = self.session.requests(), self._whole()
        if not requests:
            return {}
        seen, summary = (len(requests), look), self._summary()
        makers: dict[str, tuple[object, Callable[[], str]]] = {
            "verdict": (whole, lambda: _verdict(summary)),
            "curves": (seen, lambda: self._curves(requests, look)),
            "ecdf": (seen, lambda: self._ecdf(requests, look)),
            "load": ((*whole, look.metric), lambda: _against_load(summary, look.metric)),
            "goodput": (seen, lambda: _goodput(self.judged(look.objectives))),
            "numbers": (whole, lambda: sections.numbers(summary)),
            "fairness": (whole, lambda: _fairness(summary)),
            "loads": (whole, lambda: sections.loads(summary)),
        }
        return {name: self._keep(name, key, make) for name, (key, make) in makers.items()}

    def judged(self, objectives: Objectives) -> dict[str, Any]:
        """Return the summary of all whole turns, with all records held to these objectives."""
        summary, found = self._summary(), self._attained(objectives)
        cells = [
            {
                **cell,
                "targets": {
                    name: {**numbers, "goodput": found[cell["label"]][name].plain()}
                    for name, numbers in cell["targets"].items()
                },
            }
            for cell in summary["cells"]
        ]
        return {**summary, "objectives": vars(objectives), "cells": cells}

    def attained(self, look: Look) -> dict[str, Attainment]:
        """Return by target how many requests of the chosen load were within the objectives."""
        return self._attained(look.objectives).get(look.cell, {})

    def _summary(self) -> dict[str, Any]:
        found: dict[str, Any] = self._keep("summary", self._whole(), self.session.summary)
        return found

    def _whole(self) -> tuple[object, ...]:
        """Return what changes when there is a new summary to make: with each load, and each end.

        One takes a hundred times as long as a curve.
        """
        outcome, state = self.session.outcome, self.session.state
        rests = state in ("paused", "stopped", "done", "failed")
        return len(outcome.loads), len(outcome.blocks), state if rests else ""

    def _keep(self, name: str, key: object, make: Callable[[], Any]) -> Any:
        kept = self._made.get(name)
        if kept is None or kept[0] != key:
            kept = self._made[name] = (key, make())
        return kept[1]

    def _curves(self, requests: list[Request], look: Look) -> str:
        metric = METRICS[look.metric]
        lines = [
            running(requests, target.name, look.cell, look.metric)
            for target in self.session.plan.targets
        ]
        title = f"{metric.label}, {look.cell}: median so far"
        return figures.curves(lines, title, metric.unit)

    def _ecdf(self, requests: list[Request], look: Look) -> str:
        metric = METRICS[look.metric]
        series = {
            target.name: ecdf(requests, target.name, look.cell, look.metric)
            for target in self.session.plan.targets
        }
        title = f"{metric.label}, {look.cell}: distribution"
        limit = getattr(look.objectives, look.metric, None)
        return figures.ecdfs(series, title, metric.unit, limit)

    def _attained(self, objectives: Objectives) -> dict[str, dict[str, Attainment]]:
        """Return by load and target how many of the requests so far were within objectives."""
        requests = self.session.requests()

        def make() -> dict[str, dict[str, Attainment]]:
            own: dict[tuple[str, str], list[Request]] = {}
            for each in requests:
                own.setdefault((each.cell, each.target), []).append(each)
            plan = self.session.plan
            return {
                cell.name: {
                    target.name: attained(own.get((cell.name, target.name), []), objectives)
                    for target in plan.targets
                }
                for cell in plan.cells
            }

        found: dict[str, dict[str, Attainment]] = self._keep(
            "attained", (len(requests), objectives), make
        )
        return found


def kept(parts: dict[str, str], title: str) -> str:
    """Return the fragments as one piece of HTML that needs no style, script or colour of a page.

    Pictures are images of their own: a viewer that takes SVG out of HTML would leave their words.
    """
    shown = [
        f"<h2>{escape(heading)}</h2>{_pictured(parts[name])}"
        for name, heading in TITLES.items()
        if parts.get(name)
    ]
    head = f"<style>{STYLE}</style><p><b>{escape(title)}</b></p>"
    return f'<div class="hl-fragments">{head}{"".join(shown)}</div>'


def _pictured(fragment: str) -> str:
    def image(found: re.Match[str]) -> str:
        picture = found[0].replace("<svg ", f'<svg color="{_MIDDLE}" ', 1)
        name = _NAME.search(picture)
        words = escape(unescape(name[1])) if name else ""
        data = b64encode(picture.encode()).decode()
        return f'<img alt="{words}" src="data:image/svg+xml;base64,{data}">'

    return _SVG.sub(image, fragment)


def _verdict(summary: dict[str, Any]) -> str:
    return sections.verdicts(summary) + sections.drift(summary) if summary["blocks"] else ""


def _fairness(summary: dict[str, Any]) -> str:
    """Return the rules once each target had its turns: before, some fail for want of answers."""
    return sections.fairness(summary["fairness"]) if summary["blocks"] else ""


def _goodput(summary: dict[str, Any]) -> str:
    return sections.goodput(summary) + sections.attainment(summary)


def _against_load(summary: dict[str, Any], metric: str) -> str:
    told = summary["definitions"]
    return "".join(
        figures.against_load(summary, name, f"{told[name]['label']}, median over the load")
        for name in (metric, "output_rate")
    )
