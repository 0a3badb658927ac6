"""The commands on this machine: `info`, `setup-max`."""

from argparse import Namespace
from typing import TYPE_CHECKING

from hyperllama_nb.commands import words
from hyperllama_nb.display.tables import Table, human_bytes
from hyperllama_nb.errors import HyperLlamaError

if TYPE_CHECKING:
    from hyperllama_nb.commands.context import Context
    from hyperllama_nb.hardware import Device


def info(context: "Context", args: Namespace) -> Table:  # noqa: ARG001
    """Return what this machine has, what the backends say, and what the store holds."""
    from hyperllama_nb._version import __version__
    from hyperllama_nb.hardware import detect

    machine = detect()
    rows = [
        ("version", __version__),
        ("processor", machine.cpu_name),
        ("cores", f"{machine.cores} usable, {machine.physical_cores} physical"),
        (
            "memory",
            f"{human_bytes(machine.memory_available)} free of {human_bytes(machine.memory_total)}",
        ),
        *(("accelerator", _device(device)) for device in machine.devices),
    ]
    if not machine.devices:
        rows.append(("accelerators", "none"))
    rows += _backends()
    rows += _store()
    return Table(("", ""), rows, title="This machine")


def _device(device: "Device") -> str:
    busy = "" if device.utilisation is None else f", {device.utilisation} % busy"
    return (
        f"{device.api}:{device.index} {device.name}, "
        f"{human_bytes(device.free)} free of {human_bytes(device.memory)}{busy}"
    )


def _backends() -> list[tuple[str, str]]:
    from hyperllama_nb.engines.base import load_backends

    rows: list[tuple[str, str]] = []
    for name, backend in sorted(load_backends().items()):
        try:
            found = backend.available()
        except HyperLlamaError as error:
            rows.append((f"backend {name}", str(error)))
        else:
            rows.append((f"backend {name}", f"{found.version}, {found.path}"))
    return rows


def _store() -> list[tuple[str, str]]:
    from hyperllama_nb.models.store import Store

    store = Store()
    models = store.list()
    files = {file.digest: file.size for model in models for file in model.files}
    count = words.plural(len(models), "model")
    return [("store", f"{count}, {human_bytes(sum(files.values()))}, {store.root}")]


def setup_max(context: "Context", args: Namespace) -> str:  # noqa: ARG001
    """Make the private environment; returns where its program is."""
    from hyperllama_nb.engines.max.setup import setup_max as make

    context.note(
        "MAX comes under Modular's own licence, the MAX Community License. "
        "The engines that are launched here run with its telemetry off."
    )
    return f"MAX is installed: {make(context.note)}"
