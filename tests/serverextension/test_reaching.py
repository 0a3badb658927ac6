"""The service that the first request starts, or that cannot be started."""

import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from hyperllama_nb import Client, runtime
from tests.serverextension.jupyter import jupyter
from tests.serverextension.serving import apart
from tests.service.hosting import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lone():
    """Return a Jupyter server without a service, and its runtime directory."""
    with apart() as place, jupyter(env={"HYPERLLAMA_LINGER": "0"}) as server:
        server.runtime = place
        yield server


@pytest.fixture
def runtime_dir(lone, monkeypatch):
    """Return the runtime directory, which is empty; a service that a test starts is ended."""
    monkeypatch.setenv("HYPERLLAMA_RUNTIME_DIR", str(lone.runtime))
    yield lone.runtime
    if runtime.socket_path().exists():
        Client(start=False).stop(wait=False)
        until(lambda: not runtime.socket_path().exists())
    for left in lone.runtime.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def test_the_extension_is_enabled_by_its_file_and_jupyter_complains_of_nothing(lone):
    assert "hyperllama_nb | extension was successfully loaded" in lone.log
    # Jupyter warns of handlers whose methods do not say who may call them.
    assert "allow_unauthenticated_access = False" in (lone.place / "config.py").read_text()
    assert "DoorHandler" not in lone.log


def test_the_first_request_starts_the_service_and_refused_ones_do_not(lone, runtime_dir):
    assert lone.client.get(f"{lone.door}/api/tags").status_code == 401
    assert lone.ask("GET", "/admin/status").status_code == 404
    assert not list(runtime_dir.iterdir())
    # The service does not linger, and is there all the same when it has been started.
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: lone.ask("GET", "/api/tags"), range(8)))
    assert [answer.json() for answer in answers] == [{"models": []}] * 8
    # The door holds no lease: between requests it needs no service.
    until(lambda: not Client(start=False).status()["leases"])


def test_a_service_that_cannot_start_breaks_nothing_of_jupyter(lone, runtime_dir):
    runtime_dir.chmod(0o755)
    refused = lone.ask("POST", "/api/generate", json={"model": "tiny", "prompt": "x"})
    below = lone.ask("GET", "/v1/models")
    runtime_dir.chmod(0o700)
    assert refused.status_code == below.status_code == 503
    assert "chmod 700" in refused.json()["error"]
    assert "chmod 700" in below.json()["error"]["message"]
    assert lone.status()["connections"] == 0
    runtime.log_path().mkdir()
    refused = lone.ask("GET", "/api/tags")
    assert refused.status_code == 503
    assert "service.log" in refused.json()["error"]


def test_a_server_whose_service_hangs_still_answers(lone, runtime_dir):
    # a socket that takes connections and says nothing
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(runtime_dir / "service.sock"))
        silent.listen(8)
        with pytest.raises(httpx.ReadTimeout):
            lone.ask("GET", "/api/tags", timeout=0.5)
        begin = time.monotonic()
        assert lone.status()["started"]
        assert time.monotonic() - begin < 30
        until(lambda: lone.metric("hyperllama_door_open_requests") == 0)
    (runtime_dir / "service.sock").unlink()


def test_a_closed_door_is_not_there():
    with jupyter("--HyperLlamaApp.enabled=False") as server:
        assert server.ask("GET", "/api/tags").status_code == 404
        assert server.status()["started"]


def test_the_extension_brings_nothing_heavy():
    code = (
        "import sys, jupyter_server.serverapp; before = set(sys.modules);"
        "import hyperllama_nb.serverextension.app;"
        "heavy = {'httpx', 'aiohttp', 'plotly', 'ipywidgets', 'huggingface_hub', 'gguf', "
        "'tokenizers', 'IPython', 'psutil', 'numpy', 'max'}; "
        "sys.exit(', '.join(heavy & (set(sys.modules) - before)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.strip() == ""
