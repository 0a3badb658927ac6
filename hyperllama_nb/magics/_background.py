"""The handle of a `%%llm --bg` cell."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hyperllama_nb.display.cells import thread_here

if TYPE_CHECKING:
    from hyperllama_nb.client import Response, Stream


class Background:
    """An answer that grows in its own cell while other cells run.

    `text` and `response` are what there is so far. An interrupt of the kernel does not reach it:
    `cancel` ends it. It ends with the kernel, too.
    """

    def __init__(
        self,
        stream: "Stream",
        work: Callable[[], "Response"],
        again: Callable[[], object] = lambda: None,
    ) -> None:
        self.model = stream.model
        self._again = again
        self._stream, self._work = stream, work
        self._over = threading.Event()
        self._response: Response | None = None
        self._error: Exception | None = None
        thread_here(self._run, name="background").start()

    @property
    def response(self) -> "Response":
        """Return the answer so far; it is whole once `done` is true and `wait` raises nothing."""
        return self._response or self._stream.response

    @property
    def text(self) -> str:
        """Return the text so far."""
        return self.response.text

    @property
    def done(self) -> bool:
        """Tell whether the answer has ended, in whatever way."""
        return self._over.is_set()

    def wait(self, timeout: float | None = None) -> "Response":
        """Return the answer when it has ended; one that was cancelled has `done` False.

        Raises TimeoutError after `timeout` seconds, and the error that ended the answer. An
        interrupt ends the waiting only.
        """
        if not self._over.wait(timeout):
            raise TimeoutError(
                f"{self.model} still answers after {timeout:g} s. Wait longer, or cancel()."
            )
        # What executes notebooks without showing them heeds only the cell that runs.
        self._again()
        if self._error is not None:
            raise self._error
        return self.response

    def cancel(self) -> None:
        """End the answer, in the engine too; what has arrived stays."""
        self._stream.cancel()

    def _run(self) -> None:
        try:
            self._response = self._work()
        except Exception as error:  # noqa: BLE001 - `wait` raises it
            from hyperllama_nb.magics._errors import in_one_line

            self._error = in_one_line(error)
        finally:
            self._over.set()

    def __str__(self) -> str:
        """Return the text so far."""
        return self.text

    def __repr__(self) -> str:
        """Return the state and how much there is in one line."""
        if not self.done:
            state = "running"
        elif self._error is not None:
            state = f"failed: {type(self._error).__name__}"
        else:
            state = "done" if self.response.get("done") else "cancelled"
        return f"<Background {self.model} {state}, {len(self.text):,} characters>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        bundle = {"text/plain": repr(self)}
        if self.text:
            bundle["text/markdown"] = self.response._repr_markdown_()
        return bundle
