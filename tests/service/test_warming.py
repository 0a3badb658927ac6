"""Compilation as a part of the pull: what is told, shared, cancelled and skipped."""

import json
import threading
import time
from contextlib import contextmanager

import pytest

from hyperllama_nb.testing import Script
from tests.models.gguf_files import llama_metadata, tiny_llama
from tests.service.hosting import hosting, open_stream, until

COMPILE = """
import pathlib, sys, time
place = pathlib.Path(sys.argv[1])
(place / "runs").open("a").write("x")
print("compiling", flush=True)
time.sleep({seconds})
print("Compiling model took 1 s", flush=True)
sys.exit({code})
"""
QUICK, FAILING = COMPILE.format(seconds=0, code=0), COMPILE.format(seconds=0, code=3)
ENDLESS = COMPILE.format(seconds=600, code=0)

STATUS = "compiling for this machine"


@pytest.fixture
def model(tmp_path):
    """Return the source of a model."""
    (tmp_path / "tiny.gguf").write_bytes(tiny_llama())
    return f"file:{tmp_path}/tiny.gguf"


def place(service):
    return service.store.root.parent / "cache/fake"


def runs(service):
    found = place(service) / "runs"
    return len(found.read_text()) if found.exists() else 0


def pull(service, model, **fields):
    status, lines = service.lines("/api/pull", model=model, name="mine", **fields)
    assert status == 200
    assert lines[-1] == {"status": "success"}
    return [line for line in lines if line["status"].startswith((STATUS, "not compiled"))]


def pulled(service):
    return [m["name"] for m in service.client.get("/api/tags").json()["models"]]


@pytest.mark.compat("POST /api/pull", "compilation", "better", "a first start need not compile")
def test_a_pull_compiles_and_tells_the_stages(model):
    with hosting("thread", compiling=QUICK) as service:
        lines = pull(service, model)
        assert {line["status"] for line in lines} == {STATUS}
        assert all(line["elapsed"] >= 0 and "total" not in line for line in lines)
        messages = [line.get("message") for line in lines]
        assert "compiling the model" in messages or "preparing the model" in messages
        assert "mine:latest" in pulled(service)
        assert pull(service, model) == []
        assert runs(service) == 1
        assert not list((service.socket.parent / "e").iterdir())


def test_what_is_compiled_goes_with_the_directory(model):
    with hosting("thread", compiling=QUICK) as service:
        pull(service, model)
        [stamp] = (place(service) / "compiled").iterdir()
        stamp.unlink()
        assert pull(service, model) != []
        assert runs(service) == 2


def test_nothing_to_compile_adds_no_line(model):
    with hosting("thread") as service:
        assert pull(service, model) == []


@pytest.mark.compat("POST /api/pull", "compilation", "better", "a first start need not compile")
def test_a_pull_can_leave_it_out(model):
    with hosting("thread", compiling=QUICK) as service:
        assert pull(service, model, compile=False) == []
        assert runs(service) == 0


def test_an_engine_that_became_ready_has_compiled(model):
    with hosting("thread", compiling=QUICK) as service:
        pull(service, model, compile=False)
        assert service.generate(model="mine").status_code == 200
        until(lambda: (place(service) / "compiled").exists())
        assert pull(service, model) == []
        assert runs(service) == 0


@pytest.mark.parametrize(("length", "rung"), [("100", 2048), ("3000", 4096)])
def test_the_context_of_the_settings_counts(tmp_path, length, rung):
    long = {**llama_metadata(), "llama.context_length": 8192}
    (tmp_path / "tiny.gguf").write_bytes(tiny_llama(long))
    with hosting("thread", compiling=QUICK, env={"OLLAMA_CONTEXT_LENGTH": length}) as service:
        pull(service, f"file:{tmp_path}/tiny.gguf")
        [stamp] = (place(service) / "compiled").iterdir()
        assert stamp.name.endswith(f"-{rung}")


def test_a_failure_is_a_sentence_and_the_pull_succeeds(model):
    with hosting("thread", compiling=FAILING) as service:
        last = pull(service, model)[-1]["status"]
        assert last.startswith("not compiled, so the first start does it: ")
        assert "status 3" in last
        assert not (place(service) / "compiled").exists()


def test_one_that_takes_too_long_is_ended(model):
    with hosting("thread", compiling=ENDLESS, env={"OLLAMA_LOAD_TIMEOUT": "500ms"}) as service:
        assert "OLLAMA_LOAD_TIMEOUT" in pull(service, model)[-1]["status"]
        until(lambda: not list((service.socket.parent / "e").iterdir()))


@contextmanager
def begun(service, model):
    """Pull, and be in the middle of the compilation for the duration of the block."""
    body = {"model": model, "name": "mine"}
    with service.client.stream("POST", "/api/pull", json=body) as response:
        lines = response.iter_lines()  # to drop the iterator is to close the connection
        assert any(json.loads(line)["status"] == STATUS for line in lines)
        until(lambda: runs(service) == 1)
        yield lines


@pytest.mark.compat("POST /api/pull", "a client that leaves", "same", "what was fetched is kept")
def test_a_client_that_leaves_ends_it_and_keeps_the_model(model):
    with hosting("thread", compiling=ENDLESS) as service:
        engines = service.socket.parent / "e"
        with begun(service, model):
            with begun(service, model):
                pass
            time.sleep(0.3)
            assert list(engines.iterdir())
        until(lambda: not list(engines.iterdir()))
        assert runs(service) == 1
        assert "mine:latest" in pulled(service)


def test_a_stop_of_the_service_ends_it(model):
    with hosting("thread", compiling=ENDLESS) as service, begun(service, model):
        engines = service.socket.parent / "e"
        service.client.post("/admin/stop", json={"wait": False})
        until(lambda: not service.socket.exists() and not list(engines.iterdir()))


def test_a_load_of_the_model_waits_for_it_and_says_so(model):
    with hosting("thread", compiling=COMPILE.format(seconds=1, code=0)) as service:
        with begun(service, model):
            header = {"X-HyperLlama-Progress": "1"}
            _, lines = service.lines(headers=header, model="mine", prompt="Hi")
        said = [line["message"] for line in lines if line.get("status") == "loading"]
        assert any("which its pull has begun" in message for message in said)
        assert lines[-1]["done"]
        assert (place(service) / "compiled").exists()


def test_a_load_goes_before_it(model):
    with hosting("thread", [Script(startup=1.0)], compiling=QUICK) as service:
        pull(service, model, compile=False)
        loading = threading.Thread(target=service.generate)
        loading.start()
        until(lambda: service.told("state") == "loading" and service.told("pid"))
        messages = [line.get("message") for line in pull(service, model)]
        loading.join()
        assert "waiting until the model that loads is ready" in messages


def test_an_engine_beside_it_answers(model):
    with (
        hosting("thread", compiling=ENDLESS) as service,
        begun(service, model),
        open_stream(service) as stream,
    ):
        assert stream.rest()[-1]["done"]
