"""Beginning to load a model before the first cell asks for it."""

import contextlib
import threading
from collections.abc import Mapping
from typing import Any

LAST = "last"
"""Stands for the model that this user's notebooks ran last."""


def begin(choice: str, options: Mapping[str, Any], keep_alive: str) -> threading.Thread:
    """Load a model in the background, starting the service where it does not run; returns at once.

    Nothing is said: not even a failure, which the first cell that needs the model meets, too.
    """
    thread = threading.Thread(
        target=_load, args=(choice, dict(options), keep_alive), name="hyperllama-prewarm",
        daemon=True,
    )  # fmt: skip
    thread.start()
    return thread


def _load(choice: str, options: dict[str, Any], keep_alive: str) -> None:
    with contextlib.suppress(Exception):
        from hyperllama_nb.runtime import last_model

        model = last_model() if choice == LAST else choice
        if model is None:
            return
        # Here, not above: this takes longer than the loading of the extension may.
        from hyperllama_nb.client import Client, _base, _start

        address = _base.parse_host(None)
        if address.socket is None or not address.own:
            return  # a machine elsewhere is not ours to fill
        # Not the lease of this process: a model that no cell asks for is unloaded in time, and a
        # service that nobody needs ends.
        lease = _start.open_lease(address.socket, start=True)
        with contextlib.closing(lease.sock), Client(start=False) as client:
            client.load(model, options=options or None, keep_alive=keep_alive or None)
