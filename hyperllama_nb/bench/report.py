"""The report of a run: one HTML file that needs nothing else, in the reader's light or dark."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from hyperllama_nb.bench import sections
from hyperllama_nb.bench.records import Request
from hyperllama_nb.display.tables import human_bytes

STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1f2328}
@media (prefers-color-scheme:dark){:root{--page:#0d1117;--ink:#e6edf3}}
body{background:var(--page);color:var(--ink);font:15px/1.5 sans-serif;max-width:60rem;
margin:2rem auto;padding:0 1rem}
h2{margin-top:2.2rem}
svg{display:block;margin:1rem 0}
dd{margin-bottom:.5rem}
"""

_FROM_LOADS = (
    "From the call that loads to the engine's readiness, by the phases that the service tells. The "
    "first load of a run may read the weights from the disk; the later ones find them in the "
    "system's cache. No request of a load counts in the numbers above."
)
_DASHES = (
    "A dash is a number that nobody knows: the server does not tell it, or there are too few "
    "requests for that percentile (p90 needs 29 and p99 needs 299)."
)


def report(
    manifest: Mapping[str, Any], summary: Mapping[str, Any], requests: Sequence[Request] = ()
) -> str:
    """Return the page; every text in it is data and is escaped. Without requests it has no ECDFs.

    Its size is bounded: no picture has more than some hundred points for a target, and there is a
    fixed number of pictures.
    """
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(summary['title'])}</title>",
        f"<style>{STYLE}{sections.STYLE}</style></head><body>",
        f"<h1>{escape(summary['title'])}</h1>",
        *([] if summary["complete"] else [f'<p class="hl-note">{escape(summary["note"])}</p>']),
        *_part("Verdicts", sections.verdicts(summary)),
        *_part("Doubts", sections.drift(summary)),
        *_part("Under objectives", sections.goodput(summary) + sections.attainment(summary)),
        *_part("Over the load", sections.over_load(summary)),
        *_part("Numbers", sections.numbers(summary), _DASHES),
        *_part("Distributions", sections.distributions(summary, requests)),
        *_part("Is it a fair comparison?", sections.fairness(summary["fairness"])),
        *_part("Load times", sections.loads(summary), _FROM_LOADS),
        *_part("Memory and processor", sections.resources(summary["resources"])),
        *_part("What the numbers mean", _definitions(summary["definitions"])),
        *_part("Where it ran", _environment(manifest)),
        "</body></html>",
    ]
    return "\n".join(parts)


def _part(heading: str, content: str, about: str = "") -> Iterable[str]:
    if content:
        yield f"<h2>{heading}</h2>"
        yield f"<p>{about}</p>" if about else ""
        yield content


def _definitions(found: Mapping[str, Mapping[str, Any]]) -> str:
    terms = (
        f"<dt><b>{escape(told['label'])}</b></dt><dd>{escape(told['definition'])}</dd>"
        for told in found.values()
    )
    return f"<dl>{''.join(terms)}</dl>"


def _environment(manifest: Mapping[str, Any]) -> str:
    rows: list[tuple[str, str]] = []
    for part in ("environment", "versions"):
        rows += [(name, _told(name, value)) for name, value in manifest.get(part, {}).items()]
    for target, facts in manifest.get("targets", {}).items():
        rows += [(f"{target}: {name}", _told(name, value)) for name, value in facts.items()]
    return sections.table(("", ""), rows)


def _told(name: str, value: Any) -> str:
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return human_bytes(value) if name == "memory" else str(value)
