"""Real JupyterLab servers in processes of their own, as a user starts them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.door import url_of

TOKEN = "a-token-of-the-browser-tests"

PATIENCE = 60.0
"""Seconds for what takes about five."""

SETTINGS = {
    # No pop-ups over what is looked at, and no questions to a server elsewhere.
    "@jupyterlab/apputils-extension:notification": {
        "checkForUpdates": False,
        "doNotDisturbMode": True,
        "fetchNews": "false",
    },
    # A test says when a notebook is saved.
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")

ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--headless=new", "--font-render-hinting=none")


@dataclass
class Lab:
    """A running server: `url` has its token, `root` is where its notebooks are."""

    url: str
    root: Path
    pid: int


def chromium():
    """Return the browser's path; raises FileNotFoundError that says how to install it."""
    named = os.environ.get("HYPERLLAMA_TEST_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None:
        raise FileNotFoundError(
            "The browser tests need Chromium, and there is none on the PATH. On Debian and Ubuntu: "
            "sudo apt-get install --no-install-recommends chromium fonts-dejavu-core; "
            "or name one: HYPERLLAMA_TEST_CHROMIUM=/path/to/chrome."
        )
    return found


@contextmanager
def browser():
    """Run a browser for the duration of the block, without any window."""
    path = chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        running.close()


@contextmanager
def jupyterlab(env=None):
    """Run a JupyterLab on a free port of this machine for the duration of the block."""
    with tempfile.TemporaryDirectory(prefix="hj", dir="/tmp") as name:
        place = Path(name)
        root = place / "notebooks"
        overrides = place / "config" / "labconfig" / "default_setting_overrides.json"
        for directory in (root, overrides.parent):
            directory.mkdir(parents=True)
        overrides.write_text(json.dumps(SETTINGS), "utf-8")
        log = place / "log"
        environment = {
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(place / "config"),
            "JUPYTER_DATA_DIR": str(place / "data"),
            "JUPYTER_RUNTIME_DIR": str(place / "runtime"),
            **(env or {}),
        }
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0"),
            *(f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={TOKEN}"),
            # The page's own commands (themes, saving) can then be called from a test.
            "--LabApp.expose_app_in_browser=True",
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            url = url_of(place / "runtime", process, log)
            yield Lab(f"{url}lab?reset&token={TOKEN}", root, process.pid)
        finally:
            process.terminate()
            process.wait(PATIENCE)
