"""The model that is loaded before the first cell asks for it."""

import atexit
import subprocess
import sys
import threading

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from hyperllama_nb.magics import HyperLlamaMagics, _prewarm
from hyperllama_nb.runtime import last_model, remember_last, runtime_dir
from tests.client.fakeservice import words
from tests.service.hosting import until

LOAD = "POST /admin/load"


@pytest.fixture
def service(service):
    engine = {"model": "m", "state": "ready"}
    service.routes[LOAD] = lambda body: [{"status": "ready", "engine": engine}]
    return service


def begin(choice, options=(), keep_alive=""):
    thread = _prewarm.begin(choice, dict(options), keep_alive)
    thread.join(60)
    assert not thread.is_alive()


def test_a_named_model_is_loaded_without_a_lease_of_its_own(service):
    begin("m:1", {"num_ctx": 4096}, "1h")
    assert service.bodies(LOAD) == [
        {"model": "m:1", "options": {"num_ctx": 4096}, "keep_alive": "1h"}
    ]
    assert "x-hyperllama-lease" not in service.headers(LOAD)
    # the service stays for the load, and no longer
    until(lambda: service.closed_leases == service.leases)
    assert len(service.leases) == 1


def test_the_last_model_is_loaded(service):
    remember_last("kept:1b")
    begin("last")
    assert [body["model"] for body in service.bodies(LOAD)] == ["kept:1b"]


def test_without_a_last_model_nothing_is_asked(service):
    begin("last")
    assert service.requests == []


def test_a_service_elsewhere_is_left_alone(service, monkeypatch):
    monkeypatch.setenv("HYPERLLAMA_HOST", "127.0.0.1:1")
    begin("m")
    assert service.requests == []


@pytest.mark.parametrize(
    "answer", [(404, [{"error": "no", "code": "model_not_found"}]), [b"not JSON\n"], []]
)
def test_a_failure_is_not_told(service, capfd, answer):
    service.routes[LOAD] = lambda body: answer
    begin("m")
    assert len(service.bodies(LOAD)) == 1
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def shell():
    """Return what makes a shell with the extension; takes its configuration."""
    made = []

    def make(**settings):
        InteractiveShell.clear_instance()
        config = Config({"HistoryManager": {"enabled": False}, "HyperLlamaMagics": settings})
        found = InteractiveShell.instance(config=config)
        made.append(found)
        found.run_line_magic("load_ext", "hyperllama_nb")
        return found

    yield make
    for found in made:
        atexit.unregister(found.atexit_operations)
        found.atexit_operations()
    InteractiveShell.clear_instance()


def test_the_extension_begins_it(service, shell):
    shell(prewarm="m", options={"num_ctx": 2048, "temperature": 0}, keep_alive="9m")
    until(lambda: service.bodies(LOAD))
    assert service.bodies(LOAD) == [
        {"model": "m", "options": {"num_ctx": 2048}, "keep_alive": "9m"}
    ]


def test_none_begins_nothing(service, shell):
    remember_last("m")
    before = threading.active_count()
    shell(prewarm=None)
    assert threading.active_count() == before
    assert service.requests == []


def test_a_cell_can_begin_it(service, shell):
    running = shell()
    running.run_line_magic("config", "HyperLlamaMagics.prewarm = 'other'")
    until(lambda: service.bodies(LOAD))
    assert service.bodies(LOAD)[0]["model"] == "other"


def test_a_cell_does_not_wait_for_it(service, shell):
    held = threading.Event()

    def load(body):
        held.wait(60)
        return [{"status": "ready", "engine": {}}]

    service.routes[LOAD] = load
    service.routes["POST /api/generate"] = lambda body: words("Hi")
    running = shell(prewarm="m")
    until(lambda: service.bodies(LOAD))
    running.run_cell_magic("llm", "m", "x")
    assert running.user_ns["_llm"].text == "Hi"
    held.set()


def test_the_default_asks_for_the_last():
    assert HyperLlamaMagics.prewarm.default_value == "last"


def test_the_last_model_is_kept_from_others():
    assert last_model() is None
    remember_last("a:1")
    remember_last("b:1")
    assert last_model() == "b:1"
    [file] = runtime_dir().glob("last*")
    assert file.stat().st_mode & 0o777 == 0o600
    remember_last(None)
    assert last_model() is None
    remember_last(None)


def test_the_extension_stays_light_while_nothing_is_known():
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell as S;"
        "s = S.instance(); s.run_line_magic('load_ext', 'hyperllama_nb');"
        "import threading;"
        "[t.join() for t in threading.enumerate() if t.name == 'hyperllama-prewarm'];"
        "print(sorted({'httpx', 'hyperllama_nb.client'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.splitlines()[-1] == "[]"
