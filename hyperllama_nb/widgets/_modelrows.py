"""The rows of the models widget: what is known of each model, and the words for it."""

from collections.abc import Iterable, Mapping
from typing import Any

from hyperllama_nb.display.tables import Table, human_bytes
from hyperllama_nb.errors import InvalidNameError
from hyperllama_nb.models.names import Name
from hyperllama_nb.widgets._actions import Action

Row = dict[str, Any]

UNKNOWN = "-"

COLUMNS = ("MODEL", "PARAMETERS", "QUANTIZATION", "SIZE", "STATE", "MEMORY HERE")

_VERDICTS = {
    "fits": "fits",
    "smaller": "fits with {batch} at a time",
    "room": "fits once others are unloaded",
    "no": "does not fit",
    "cannot": "cannot run here",
}

_RUNNING = {
    "pull": "pulling",
    "load": "loading",
    "pin": "loading",
    "unload": "unloading",
    "remove": "removing",
}

_ACTIONS: dict[str, tuple[str, ...]] = {
    "catalog": ("pull",),
    "partial": ("resume",),
    "stored": ("load", "pin", "remove"),
    "loading": ("unload",),
    "loaded": ("unload", "pin"),
    "asleep": ("unload", "pin"),
    "failed": ("load", "remove"),
}
"""What can be done to a model in each state; where nothing is named, its end is waited for."""


def rows(
    inventory: Mapping[str, Any],
    engines: Iterable[Mapping[str, Any]],
    plans: Mapping[str, Mapping[str, Any]],
    actions: Mapping[str, Action],
) -> list[Row]:
    """Return a row for each model: first what the store has, then what can be pulled, by name.

    `inventory` is what `/admin/models` answers, `engines` are those of `/admin/status`, `plans`
    those of `/admin/plan` by model, and `actions` what the widget does itself, by `key`. A pull
    of the inventory has its `figures` under `shown`.
    """
    found: dict[str, Row] = {}
    for model in inventory["models"]:
        found[key(model["model"])] = {**_row(model, "stored", "in the store"), "stored": True}
    for engine in engines:
        if row := found.get(key(engine["model"])):
            row |= _running(engine)
    for entry in inventory["catalog"]:
        row = _row(entry, "catalog", "in the catalog")
        if not entry["room"]:
            row["reason"] = f"The disk has no room for the {human_bytes(entry['size'])} of it."
        found.setdefault(key(entry["model"]), row)
    pulled = {pull["source"] for pull in inventory.get("pulls", ())}
    ours = {action.model for action in actions.values() if action.running}
    for kept in inventory["unfinished"]:
        row = found.setdefault(key(kept["model"]), _row(kept, "catalog", ""))
        if kept["source"] not in pulled | ours and not row["stored"]:
            row |= {"state": "partial", "text": f"partly pulled, {human_bytes(kept['kept'])} here"}
            row["kept"] = kept
        elif not row["text"]:
            del found[key(kept["model"])]
    for pull in inventory.get("pulls", ()):
        if pull["source"] not in ours:
            row = found.setdefault(key(pull["model"]), _row(pull, "pulling", ""))
            row |= {"state": "pulling", **pull["shown"]}
    for name, action in actions.items():
        _overlay(found, name, action)
    for row in found.values():
        row["size_text"] = _size(row)
        row["memory_text"], reason = _memory(row, plans.get(row["name"]))
        row["reason"] = row["reason"] or reason
        row["actions"] = _possible(row)
    return sorted(found.values(), key=lambda row: (not row["stored"], row["name"]))


def key(text: str) -> str:
    """Return what a model is found by, however its name is written; a source stays as it is."""
    try:
        return Name.parse(text).key
    except InvalidNameError:
        return text


def display(text: str) -> str:
    """Return a name in its short form with its tag; a source as it is."""
    try:
        return Name.parse(text).display
    except InvalidNameError:
        return text


def table(found: Iterable[Row], title: str) -> Table:
    """Return the rows as a table of texts."""
    return Table(
        COLUMNS,
        [
            (
                row["name"],
                row["parameters"] or UNKNOWN,
                row["quantization"] or UNKNOWN,
                row["size_text"],
                f"{row['text']}, pinned" if row["pinned"] else row["text"],
                f"{row['memory_text']}: {row['reason']}" if row["reason"] else row["memory_text"],
            )
            for row in found
        ],
        title,
    )


def _row(model: Mapping[str, Any], state: str, text: str) -> Row:
    return {
        "name": display(model["model"]),
        "state": state,
        "text": text,
        "description": model.get("description", ""),
        "stored": False,
        "parameters": model.get("parameters"),
        "quantization": model.get("quantization"),
        "size": model.get("size"),
        "memory": None,
        "verdict": None,
        "reason": "",
        "pinned": False,
        "progress": None,
        "error": "",
        "kept": None,
        "own": False,
    }


def _running(engine: Mapping[str, Any]) -> Row:
    """Return what an engine's line says of its model."""
    state = str(engine["state"])
    row: Row = {"pinned": engine.get("pinned", False), "memory": engine["memory"] or None}
    if state == "ready":
        asleep = bool(engine.get("asleep"))
        busy = f", {engine['running']} running" if engine["running"] else ""
        text = "loaded, asleep until it is asked" if asleep else f"loaded{busy}"
        return {**row, "state": "asleep" if asleep else "loaded", "text": text}
    if state == "loading":
        return {**row, "state": "loading", "text": f"loading: {engine['message']}"}
    if state == "failed":
        return {**row, "state": "failed", "text": "failed", "error": engine["error"] or ""}
    return {**row, "state": "unloading", "text": "unloading"}


def _overlay(found: dict[str, Row], name: str, action: Action) -> None:
    """Put what the widget does, or did in vain, over what the service tells."""
    row = found.get(name)
    if not action.running:
        if row is not None and action.error is not None:
            loaded = row["state"] in ("loaded", "asleep")  # by somebody else, since then
            row["error"] = "" if loaded else str(action.error)
        elif row is None and action.kind == "pull" and (action.cancelled or action.error):
            how = "cancelled" if action.cancelled else "failed"
            row = found[name] = _row({"model": action.name}, "ended", f"the pull {how}")
            row["error"] = str(action.error or "")
        return
    if action.kind == "unpin":
        return
    if row is None:
        row = found[name] = _row({"model": action.name}, "pulling", "")
    if action.kind == "pin" and row["state"] in ("loaded", "asleep"):
        return
    row |= {"state": _RUNNING[action.kind], "text": action.shown["text"], "error": ""}
    if action.kind == "pull":
        row |= {"progress": action.shown["progress"], "own": True}


def _size(row: Row) -> str:
    """Return the bytes on the disk, or those that a pull will fetch."""
    if not row["size"]:
        return UNKNOWN
    return human_bytes(row["size"]) + ("" if row["stored"] else " to fetch")


def _memory(row: Row, plan: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return what a model takes of the memory, and why that is too much."""
    if row["memory"]:
        return f"takes {human_bytes(row['memory'])}", ""
    if not row["stored"]:
        return "known after the pull", ""
    if plan is None or plan["verdict"] == "loaded":
        return "known once the service runs" if plan is None else UNKNOWN, ""
    row["verdict"] = plan["verdict"]
    words = _VERDICTS[plan["verdict"]].format(batch=plan.get("batch"))
    if plan["memory"] is None:
        return words, plan["reason"]
    row["memory"] = plan["memory"]["total"]
    return f"{human_bytes(row['memory'])}, {words}", plan["reason"]


def _possible(row: Row) -> list[str]:
    """Return what can be done to a model now."""
    if row["state"] == "pulling":
        return ["cancel"] if row["own"] else []
    if row["state"] == "ended":
        return ["resume", "dismiss"]
    actions = _ACTIONS.get(row["state"], ())
    return ["unpin" if row["pinned"] and name == "pin" else name for name in actions]
