"""Which model the user's notebooks ran last."""

from hyperllama_nb.errors import ServiceError
from hyperllama_nb.runtime import remember_last
from hyperllama_nb.service.running import RunningEngine


class Last:
    """Keeps the name of the last model in the runtime directory, for the next notebook.

    With `kept` false it is forgotten instead: where a kernel hosts the service, the next notebook
    must not have one of its own running before it can do the same.
    """

    def __init__(self) -> None:
        self.kept = True
        self._told: str | None = None

    def note(self, engine: RunningEngine) -> None:
        """Take note that a notebook uses an engine; what embeds does not count."""
        if engine.spec.task != "generate" or engine.model == self._told:
            return
        self._told = engine.model
        try:
            remember_last(engine.model if self.kept else None)
        except ServiceError:
            self._told = None
