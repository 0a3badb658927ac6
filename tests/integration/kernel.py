"""A real IPython kernel to run cells in, and what it displayed."""

import os
import queue
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.manager import KernelManager

MODEL = "smollm2:135m"


@dataclass
class Cell:
    """What one execution sent: the reply's status and the messages in order."""

    status: str
    ename: str | None
    messages: list[dict[str, Any]] = field(default_factory=list)

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the content of the messages of these types."""
        return [m["content"] for m in self.messages if m["msg_type"] in kinds]

    @property
    def displays(self) -> list[dict[str, Any]]:
        """Return the display and update messages."""
        return self.of("display_data", "update_display_data")

    @property
    def text(self) -> str:
        """Return the text of the last display that is not a plot or a table."""
        texts = [d["data"]["text/plain"] for d in self.displays if "text/plain" in d["data"]]
        return texts[-1] if texts else ""

    @property
    def printed(self) -> str:
        """Return what went to the standard streams."""
        return "".join(m["text"] for m in self.of("stream"))

    @property
    def metadata(self) -> dict[str, Any]:
        """Return our metadata of the last display that has any."""
        found = [
            d["metadata"]["hyperllama"] for d in self.displays if "hyperllama" in d["metadata"]
        ]
        return found[-1] if found else {}


class Kernel:
    """A kernel process and a client to it; `prewarm` is what the extension begins to load."""

    def __init__(self, prewarm: str | None = None) -> None:
        self.manager = KernelManager(kernel_name="python3")
        settings = [f"--HyperLlamaMagics.prewarm={prewarm}"]
        self.manager.start_kernel(env=dict(os.environ), extra_arguments=settings)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    @property
    def pid(self) -> int:
        """Return the kernel's process id."""
        return int(self.manager.provisioner.pid)

    def submit(self, code: str, *, stop_on_error: bool = True) -> str:
        """Queue a cell and return the id of its request."""
        return str(self.client.execute(code, stop_on_error=stop_on_error))

    def collect(
        self, request: str, timeout: float, watch: Callable[[dict[str, Any]], None] | None = None
    ) -> Cell:
        """Wait for a cell to end; `watch` sees each message as it comes."""
        cell = Cell("", None)
        deadline = time.monotonic() + timeout
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != request:
                continue
            cell.messages.append(message)
            if watch is not None:
                watch(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        reply = self.reply(request, max(1.0, deadline - time.monotonic()))
        cell.status, cell.ename = reply["status"], reply.get("ename")
        return cell

    def reply(self, request: str, timeout: float = 10.0) -> dict[str, Any]:
        """Return the content of the reply to a request."""
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise queue.Empty
            message = self.client.get_shell_msg(timeout=left)
            if message["parent_header"].get("msg_id") == request:
                return dict(message["content"])

    def run(
        self,
        code: str,
        timeout: float = 120.0,
        watch: Callable[[dict[str, Any]], None] | None = None,
    ) -> Cell:
        """Run a cell to its end."""
        return self.collect(self.submit(code), timeout, watch)

    def interrupt(self) -> None:
        """Send the signal that the notebook's stop button sends."""
        self.manager.interrupt_kernel()

    def kill(self) -> None:
        """End the kernel the hard way."""
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Shut the kernel down."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@contextmanager
def kernel(prewarm: str | None = None) -> Iterator[Kernel]:
    """Run a kernel with the extension loaded for the duration of the block."""
    started = Kernel(prewarm)
    try:
        loaded = started.run("%load_ext hyperllama_nb")
        assert loaded.status == "ok", loaded.messages
        yield started
    finally:
        started.close()
