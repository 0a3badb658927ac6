"""A comparison that runs in the background: what can be done to it, and how it stands."""

import threading
from collections.abc import Callable

from hyperllama_nb.bench.choice import Choice
from hyperllama_nb.bench.session import Session
from hyperllama_nb.client import Client
from hyperllama_nb.errors import HyperLlamaError

Launch = Callable[[Callable[[], object]], object]
"""Runs something in a thread of its own."""


class Comparing:
    """The sessions of one widget, one after the other; all methods may be called from any thread.

    `session` is the one that runs or ran last, `running` tells whether it measures or rests between
    two turns, and `error` what ended it, if something did. `ended` is called in the thread that ran
    it, before `over` is set.
    """

    def __init__(self, client: Client, launch: Launch, ended: Callable[[], None]) -> None:
        self._client, self._launch, self._ended = client, launch, ended
        self._lock = threading.Lock()
        self._starting = self._unwanted = False
        self.running = False
        self.over = threading.Event()
        self.over.set()
        self.session: Session | None = None
        self.error: Exception | None = None

    @property
    def state(self) -> str:
        """Return the session's state; `starting` while the service is asked what it needs."""
        state = "ready" if self.session is None else self.session.state
        return "starting" if self._starting or (self.running and state == "ready") else state

    def begin(self, choice: Choice | None = None) -> None:
        """Run a new session, or go on with the last one without a choice, unless one runs."""
        with self._lock:
            if self.running:
                return
            self.error, self._unwanted, self._starting = None, False, choice is not None
            self.running, over = True, threading.Event()
            self.over = over
        self._launch(lambda: self._run(choice, over))

    def pause(self) -> None:
        """Rest after the turn that runs."""
        if self.session is not None:
            self.session.pause()

    def resume(self) -> None:
        """Go on after `pause`."""
        if self.session is not None:
            self.session.resume()

    def stop(self) -> None:
        """End what runs at once; what was measured is kept."""
        with self._lock:
            self._unwanted = True
            if self.session is not None and self.running and not self._starting:
                self.session.stop()

    def extend(self, blocks: int) -> None:
        """Plan more blocks, and go on if it has ended; nothing happens while one is starting."""
        session = self.session
        if session is not None and not self._starting:
            session.extend(blocks)
            self.begin()

    def wait(self, timeout: float | None) -> None:
        """Return when nothing runs; raises the error that ended it, or TimeoutError."""
        if not self.over.wait(timeout):
            raise TimeoutError(f"After {timeout} s the benchmark goes on.")
        if self.error is not None:
            raise self.error

    def _run(self, choice: Choice | None, over: threading.Event) -> None:
        before = self.session
        try:
            session = before if choice is None else self._make(choice)
            if session is not None:
                session.run()
        except Exception as error:
            self.error = error
            if before is not None and self.session is not None and not self.session.requests():
                self.session = before  # what was measured before is not lost
            if not isinstance(error, HyperLlamaError):
                raise
        finally:
            self._starting = self.running = False
            try:
                self._ended()  # whoever waits finds everything told
            finally:
                over.set()

    def _make(self, choice: Choice) -> Session | None:
        """Return a new session; None if it was stopped before it was there."""
        session = Session(self._client, choice)
        with self._lock:
            self._starting = False
            if self._unwanted:
                return None
            self.session = session
            return session
