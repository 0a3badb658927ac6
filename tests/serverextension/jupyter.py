"""Real Jupyter servers with the door, in processes of their own."""

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

import hyperllama_nb
from benchmarks.door import url_of
from hyperllama_nb.access.keys import KeyStore

TOKEN = "a-jupyter-token"

ENABLED = Path(hyperllama_nb.__file__).parent / "etc"
"""What the wheel puts into `etc/jupyter`."""

PATIENCE = 120.0

BASE = "/a%40b/"
"""Catches whoever takes the server's root for granted, or unquotes it."""

QUICK = """
slow = ["jupyterlab", "jupyter_lsp", "notebook_shim"]
c.ServerApp.jpserver_extensions = dict.fromkeys(slow, False)
"""
"""Leaves out what takes longest to import; the door stays enabled by its own file."""

CONFIG = """
from jupyter_server.auth import Authorizer

class Choosy(Authorizer):
    "Denies the resources that the request names, so that one server serves for all tests."

    def is_authorized(self, handler, user, action, resource):
        denied = handler.request.headers.get("X-Test-Deny", "").split()
        return f"{action}/{resource}" not in denied

c.ServerApp.authorizer_class = Choosy
c.ServerApp.allow_unauthenticated_access = False
"""


@dataclass
class Jupyter:
    """A running server: `door` is the URL below which the API is."""

    root: str
    place: Path
    process: "subprocess.Popen[bytes]"
    token: str
    keys: KeyStore
    client: httpx.Client = field(init=False)

    @property
    def door(self):
        return f"{self.root}hyperllama"

    @property
    def log(self):
        return (self.place / "log").read_text("utf-8")

    def key(self, *scopes, **fields):
        """Return the text of a new key."""
        return self.keys.create(scopes, **fields)[0]

    def ask(self, method, path, *, key=None, **fields):
        """Send a request below the door, as the server's token or with a key."""
        headers = {"Authorization": f"Bearer {key or self.token}", **fields.pop("headers", {})}
        return self.client.request(method, f"{self.door}{path}", headers=headers, **fields)

    def status(self):
        """Return what Jupyter's own API says of the server."""
        return self._get("api/status").json()

    def metric(self, name):
        """Return a sample of the server's `/metrics`, 0 where there is none."""
        lines = self._get("metrics").text.splitlines()
        found = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")]
        return float(found[0]) if found else 0.0

    def _get(self, path):
        # Not with the client, which would keep the cookie of the login.
        bearer = {"Authorization": f"token {self.token}"}
        return httpx.get(f"{self.root}{path}", headers=bearer, timeout=PATIENCE, trust_env=False)


@contextmanager
def jupyter(*arguments, token=TOKEN, env=None, config=CONFIG, base=BASE):
    """Run a server on a free port for the duration of the block, as a user starts it."""
    with tempfile.TemporaryDirectory(prefix="hj", dir="/tmp") as name:
        place = Path(name)
        (place / "config.py").write_text(QUICK + config)
        keys = KeyStore(place / "keys.json")
        environment: dict[str, Any] = {
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(place / "config"),
            "JUPYTER_CONFIG_PATH": str(ENABLED),
            "JUPYTER_RUNTIME_DIR": str(place / "runtime"),
            "HYPERLLAMA_KEYS": str(keys.path),
            **(env or {}),
        }
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "jupyter", "server", "--no-browser", "--allow-root"),
                    *(
                        "--port=0",
                        f"--IdentityProvider.token={token}",
                        f"--config={place}/config.py",
                    ),
                    *(f"--ServerApp.root_dir={place}", f"--ServerApp.base_url={base}", *arguments),
                ],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            url = url_of(place / "runtime", process, place / "log")
            server = Jupyter(url, place, process, token, keys)
            with httpx.Client(timeout=PATIENCE, trust_env=False) as server.client:
                yield server
        finally:
            process.terminate()
            process.wait(PATIENCE)
