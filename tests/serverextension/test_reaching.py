"""The service that the first request starts, or that cannot be started."""

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from hyperllama_nb import Client, runtime
from tests.serverextension.jupyter import jupyter
from tests.service.hosting import until


@pytest.fixture
def stopped():
    """End whatever service a test has started."""
    yield
    client = Client(start=False)
    client.stop(wait=False)
    until(lambda: not runtime.socket_path().exists())


def test_the_first_request_starts_the_service_and_refused_ones_do_not(stopped):
    with jupyter() as server:
        assert server.client.get(f"{server.door}/api/tags").status_code == 401
        assert server.ask("GET", "/admin/status").status_code == 404
        assert not runtime.lock_path().exists()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: server.ask("GET", "/api/tags"), range(8)))
        assert [answer.json() for answer in answers] == [{"models": []}] * 8
        # The door holds none: between requests it needs no service.
        until(lambda: not Client(start=False).status()["leases"])
    # The service is the user's: it stays when the Jupyter server ends.
    assert Client(start=False).status()["pid"]


def test_a_service_that_does_not_linger_answers_its_first_request(stopped):
    with jupyter(env={"HYPERLLAMA_LINGER": "0"}) as server:
        assert server.ask("GET", "/api/version").status_code == 200


def test_a_service_that_cannot_start_breaks_nothing_of_jupyter():
    place = runtime.runtime_dir()
    with jupyter() as server:
        place.chmod(0o755)
        refused = server.ask("POST", "/api/generate", json={"model": "tiny", "prompt": "x"})
        assert refused.status_code == 503
        assert "chmod 700" in refused.json()["error"]
        below = server.ask("GET", "/v1/models")
        assert below.status_code == 503
        assert "chmod 700" in below.json()["error"]["message"]
        assert server.status()["connections"] == 0
        place.chmod(0o700)
        runtime.log_path().mkdir()
        refused = server.ask("GET", "/api/tags")
        assert refused.status_code == 503
        assert "service.log" in refused.json()["error"]


def test_a_server_whose_service_hangs_still_answers():
    # a socket that takes connections and says nothing
    with socket.socket(socket.AF_UNIX) as silent, jupyter() as server:
        silent.bind(str(runtime.socket_path()))
        silent.listen(8)
        with pytest.raises(httpx.ReadTimeout):
            server.ask("GET", "/api/tags", timeout=0.5)
        begin = time.monotonic()
        assert server.status()["started"]
        assert time.monotonic() - begin < 30
        until(lambda: server.metric("hyperllama_door_open_requests") == 0)


def test_a_closed_door_is_not_there():
    with jupyter("--HyperLlamaApp.enabled=False") as server:
        assert server.ask("GET", "/api/tags").status_code == 404
        assert server.status()["started"]


def test_the_extension_is_enabled_by_its_file_and_jupyter_complains_of_nothing():
    with jupyter() as server:
        assert "hyperllama_nb | extension was successfully loaded" in server.log
        # Jupyter warns of handlers whose methods do not say who may call them.
        assert "allow_unauthenticated_access = False" in (server.place / "config.py").read_text()
        assert "DoorHandler" not in server.log


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
