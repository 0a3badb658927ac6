"""The extension application: it opens the door at `<base_url>/hyperllama`."""

from datetime import UTC, datetime

from jupyter_server.extension.application import ExtensionApp
from jupyter_server.serverapp import ServerApp
from tornado.ioloop import PeriodicCallback
from traitlets import Bool, Int

from hyperllama_nb.access.keys import KeyStore
from hyperllama_nb.serverextension.admitting import PREFIX
from hyperllama_nb.serverextension.handlers import DoorHandler
from hyperllama_nb.serverextension.reaching import Way

BEAT = 20.0
"""Seconds between two notes that the server is in use while a request runs."""


class HyperLlamaApp(ExtensionApp):
    """Lets programs reach the engine service through the Jupyter server.

    Nothing is started with the server: the first request that is let in starts the service.
    """

    name = "hyperllama"
    load_other_extensions = True

    enabled = Bool(True, help="Whether the door is open at all.").tag(config=True)

    upload_limit = Int(
        64 << 30,
        min=0,
        help="Bytes that one upload to /api/blobs may have. Other bodies have a fixed limit.",
    ).tag(config=True)

    def initialize_handlers(self) -> None:
        """Add the door, unless it is closed."""
        self.way = Way()
        self._beat = PeriodicCallback(self._note_activity, BEAT * 1000)
        if self.enabled:
            shared = {"way": self.way, "keys": KeyStore(), "upload_limit": self.upload_limit}
            self.handlers.append((rf"/{PREFIX}(?:/.*)?", DoorHandler, shared))

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        del serverapp
        self._beat.start()

    def current_activity(self) -> bool:
        """Tell whether a request runs, during which the server must not shut down as idle."""
        return self.way.busy

    async def stop_extension(self) -> None:
        """End the requests that run; the service and its engines stay for the notebooks."""
        self._beat.stop()
        self.way.close_all()

    def _note_activity(self) -> None:
        # Cullers look at this time, from outside too; an answer may take longer than they wait.
        if self.way.busy and self.serverapp is not None:
            self.serverapp.web_app.settings["hyperllama_last_activity"] = datetime.now(UTC)
