"""The client against a service that answers from scripts."""

import gc
import os
import queue
import threading
import time

import pytest

import hyperllama_nb as hl
from hyperllama_nb.client import Client
from hyperllama_nb.errors import (
    BusyError,
    EngineDiedError,
    NotSupportedError,
    PullError,
    RequestError,
    ServiceError,
)
from tests.client.fakeservice import BreakOffError, messages, words

GENERATE = "POST /api/generate"
CHAT = "POST /api/chat"


def test_generate_returns_a_finished_response(service, client):
    final = {
        "prompt_eval_count": 7,
        "prompt_eval_cached_count": 2,
        "eval_count": 2,
        "eval_duration": 100_000_000,
        "total_duration": 3_000_000_000,
        "hyperllama": {"first_token_duration": 250_000_000, "queue_duration": 0},
    }
    service.routes[GENERATE] = lambda body: words("Par", "is", **final)
    response = client.generate("m", "?", options={"temperature": 0}, system="short")
    assert service.bodies(GENERATE) == [
        {
            "model": "m",
            "prompt": "?",
            "system": "short",
            "options": {"temperature": 0},
            "stream": True,
        }
    ]
    assert response.text == response.response == response["response"] == "Paris"
    assert response.usage.prompt_tokens == 7
    assert response.usage.total_tokens == 9
    assert response.timings.tokens_per_second == 10
    assert response.timings.first_token == 0.25
    assert response.timings.load is None
    assert (
        dict(response)
        == response.json()
        == {"model": "m", "response": "Paris", "done": True, "done_reason": "stop", **final}
    )
    assert repr(response) == "<Response m 'Paris', 2 tokens, 10.0 tokens/s, stop>"
    assert response.message == {"role": "assistant", "content": "Paris"}
    assert response.thinking is None
    assert response.context is None
    with pytest.raises(AttributeError):
        _ = response.nothing
    with pytest.raises(KeyError):
        _ = response["context"]


def test_chat_returns_the_next_message(service, client):
    service.routes[CHAT] = lambda body: messages("Hel", "lo")
    talk = [{"role": "user", "content": "Hi"}]
    response = client.chat("m", talk)
    assert response.message.content == response["message"]["content"] == response.text == "Hello"
    assert service.bodies(CHAT)[0]["messages"] == talk
    client.chat("m", [*talk, response.message])
    assert service.bodies(CHAT)[1]["messages"][1] == {"role": "assistant", "content": "Hello"}


def test_a_stream_yields_chunks_and_then_has_the_response(service, client):
    service.routes[GENERATE] = lambda body: [
        {"status": "loading", "model": "m", "phase": "compile", "elapsed": 1.0},
        *words("a", "", "b"),
    ]
    stream = client.generate("m", "?", stream=True)
    chunks = list(stream)
    assert [chunk["response"] for chunk in chunks] == ["a", "", "b", ""]
    assert [chunk.done for chunk in chunks] == [False, False, False, True]
    assert stream.response.text == "ab"
    assert stream.response.done
    assert list(stream) == []


def test_a_stream_sends_its_request_before_it_is_read(service, client):
    asked = threading.Event()

    def answer(body):
        asked.set()
        return words("x")

    service.routes[GENERATE] = answer
    stream = client.generate("m", "?", stream=True)
    assert asked.wait(10)
    assert stream.poll(timeout=10).response == "x"
    stream.close()


def test_poll_tells_that_nothing_came(service, client):
    service.routes[GENERATE] = lambda body: (time.sleep(0.5), *words())[1:]
    with client.generate("m", "?", stream=True) as stream, pytest.raises(queue.Empty):
        stream.poll(timeout=0.01)


@pytest.mark.parametrize("how", ["close", "drop", "with"])
def test_leaving_a_stream_closes_the_connection(service, client, how):
    def forever(body):
        while True:
            yield from words("x")[:1]
            time.sleep(0.005)

    service.routes[GENERATE] = forever
    stream = client.generate("m", "?", stream=True)
    assert next(stream)["response"] == "x"
    if how == "with":
        with stream:
            pass
    elif how == "close":
        stream.close()
        assert list(stream) == []
    del stream
    gc.collect()
    assert service.gone.wait(10)


def test_a_cancelled_wait_for_the_first_byte_ends_at_once(service, client):
    release = threading.Event()
    service.routes[GENERATE] = lambda body: (release.wait(30), words("late"))[1]
    stream = client.generate("m", "?", stream=True)
    with pytest.raises(queue.Empty):
        stream.poll(timeout=0.2)
    stream.cancel()
    assert stream.poll(timeout=10) is None
    release.set()


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_line_in_the_middle_is_raised_with_its_class(service, client, stream):
    service.routes[GENERATE] = lambda body: [*words("a")[:1], {"error": "full", "code": "busy"}]
    with pytest.raises(BusyError, match="full"):
        list(client.generate("m", "?", stream=stream))


def test_an_error_before_the_first_byte_has_its_class_too(service, client):
    service.routes[GENERATE] = lambda body: (501, [{"error": "not yet", "code": "not_supported"}])
    with pytest.raises(NotSupportedError, match="not yet"):
        client.generate("m", "?")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_an_end_is_an_error(service, client, stream):
    service.routes[GENERATE] = lambda body: words("a")[:1]
    with pytest.raises(EngineDiedError, match="ended before it was done"):
        list(client.generate("m", "?", stream=stream))


def test_a_connection_that_breaks_is_an_error_that_names_the_log(service, client):
    def answer(body):
        yield from words("a")[:1]
        raise BreakOffError

    service.routes[GENERATE] = answer
    with pytest.raises(ServiceError, match="hyperllama logs"):
        client.generate("m", "?")


def test_odd_separators_in_text_stay_in_the_text(service, client):
    text = "a\u2028b\u0085c\x1dd"
    service.routes[GENERATE] = lambda body: words(text)
    assert client.generate("m", "?").text == text


def test_a_load_answers_with_one_object(service, client):
    service.routes[GENERATE] = lambda body: [
        b'{"model":"m","response":"","done":true,"done_reason":"load"}'
    ]
    assert client.generate("m").done_reason == "load"


def test_progress_goes_to_the_callback(service):
    loading = {"status": "loading", "model": "m", "phase": "build", "elapsed": 0.1}
    service.routes[GENERATE] = lambda body: [loading, *words("x")]
    seen = []
    Client(progress=seen.append).generate("m", "?")
    assert seen == [loading, {"done": True}]
    assert service.headers(GENERATE)["x-hyperllama-progress"] == "1"


def test_the_other_methods_speak_ollamas_routes(service, client):
    model = {"model": "m", "modified_at": "2026-01-02T03:04:05.123456789+00:00", "size": 3}
    service.routes |= {
        "GET /api/tags": lambda body: [{"models": [model]}],
        "POST /api/show": lambda body: [{"model_info": {"a.b": 1}, "details": {"family": "x"}}],
        "GET /api/ps": lambda body: [{"models": []}],
        "POST /api/copy": lambda body: [],
        "DELETE /api/delete": lambda body: [],
        "GET /api/version": lambda body: [{"version": "0.9"}],
        "POST /admin/unload": lambda body: [{"status": "unloaded"}],
        "GET /admin/status": lambda body: [{"engines": []}],
        "POST /admin/stop": lambda body: [{"status": "stopping"}],
        "GET /admin/logs?lines=5&model=a%2Fb": lambda body: [b"one\ntwo\n"],
    }
    found = client.list()
    assert found.models[0].model == found["models"][0]["model"] == "m"
    assert found.models[0].modified_at.year == 2026
    assert client.show("m").modelinfo == {"a.b": 1}
    assert client.show("m").details.family == "x"
    assert client.ps().models == []
    assert client.copy("a", "b").status == "success"
    assert client.delete("a").status == "success"
    assert client.version() == "0.9"
    assert client.unload("m").status == "unloaded"
    assert client.status()["engines"] == []
    assert client.stop(wait=False).status == "stopping"
    assert client.logs("a/b", 5) == "one\ntwo\n"
    assert service.bodies("POST /api/copy") == [{"source": "a", "destination": "b"}]
    assert service.bodies("POST /admin/stop") == [{"wait": False}]


def test_pull_streams_and_tells_when_it_was_cut_short(service, client):
    lines = [{"status": "pulling abc", "total": 9, "completed": 3}, {"status": "success"}]
    service.routes["POST /api/pull"] = lambda body: lines
    assert list(client.pull("m", stream=True, name="n", quantize="q4_0")) == lines
    assert client.pull("m") == {"status": "success"}
    assert service.bodies("POST /api/pull")[0] == {
        "model": "m",
        "insecure": False,
        "stream": True,
        "name": "n",
        "quantize": "q4_0",
    }
    service.routes["POST /api/pull"] = lambda body: lines[:1]
    with pytest.raises(PullError, match="pull again"):
        client.pull("m")


def test_load_and_the_engine_object(service, client, capsys):
    engine = {
        "model": "m:latest", "state": "ready", "backend": "max", "device": "cpu", "pid": 7,
        "context_length": 4096, "memory": 5_000_000,
    }  # fmt: skip
    service.routes |= {
        "POST /admin/load": lambda body: [
            {"status": "loading", "model": "m", "phase": "compile", "elapsed": 0.1},
            {"status": "ready", "engine": engine},
        ],
        "GET /admin/status": lambda body: [{"engines": [engine]}],
        "POST /admin/unload": lambda body: [{"status": "unloaded"}],
        "GET /admin/logs?lines=100&model=m%3Alatest": lambda body: [b"log"],
        GENERATE: lambda body: words("x"),
        CHAT: lambda body: messages("y"),
    }
    with hl.load("m", context=2048, backend="max", keep_alive="1h") as loaded:
        assert service.bodies("POST /admin/load") == [
            {"model": "m", "options": {"num_ctx": 2048, "backend": "max"}, "keep_alive": "1h"}
        ]
        assert repr(loaded) == "<Engine m:latest ready, max on cpu, context 4096>"
        assert loaded.state == "ready"
        assert loaded.stats.pid == 7
        assert loaded.logs() == "log"
        assert loaded.generate("?").text == "x"
        assert loaded.chat([]).text == "y"
        assert [c.response for c in loaded.generate("?", stream=True)] == ["x", ""]
        assert "5 MB" in loaded._repr_mimebundle_()["text/html"]
    assert service.bodies("POST /admin/unload") == [{"model": "m:latest"}]
    assert "unloaded" in repr(loaded)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Loading m: compile" in shown.err


def test_one_lease_serves_all_clients_of_the_process(service, client):
    service.routes[GENERATE] = lambda body: words("x")
    client.generate("m", "?")
    Client().generate("m", "?")
    assert service.leases == ["lease-0"]
    assert service.headers(GENERATE)["x-hyperllama-lease"] == "lease-0"


def test_tools_that_are_functions_are_refused_in_words(client):
    with pytest.raises(NotSupportedError, match="functions as tools"):
        client.chat("m", [], tools=[print])
    with pytest.raises(RequestError, match="A message is a dict"):
        client.chat("m", ["hello"])


def test_a_client_that_may_not_start_says_so_and_takes_no_lease(service):
    service.routes["GET /admin/status"] = lambda body: [{"engines": []}]
    client = Client(start=False)
    assert client.status() == {"engines": []}
    assert service.leases == []
    service.stop()
    with pytest.raises(ServiceError, match="hyperllama start"):
        client.status()


def test_a_url_reaches_a_server_without_lease_and_proxy(service, monkeypatch):
    monkeypatch.setenv("HYPERLLAMA_HOST", f"unix:{service.path}")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    service.routes["GET /api/version"] = lambda body: [{"version": "1"}]
    assert Client().version() == "1"
    assert service.leases == []


def test_a_forked_child_holds_neither_lease_nor_stream(service, client):
    hold = threading.Event()

    def answer(body):
        yield from words("x")[:1]
        hold.wait(30)

    service.routes[GENERATE] = answer
    service.routes["GET /api/version"] = lambda body: [{"version": "1"}]
    stream = client.generate("m", "?", stream=True)
    assert next(stream).response == "x"
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, client.version().encode())
            os.read(0, 0)
            time.sleep(60)
        finally:
            os._exit(0)
    try:
        assert os.read(read, 10) == b"1"
        # the child has a lease of its own; the parent's ends although the child lives on
        assert service.leases == ["lease-0", "lease-1"]
        from hyperllama_nb.client import _start

        _start.drop(service.path)
        with service.changed:
            assert service.changed.wait_for(lambda: "lease-0" in service.closed_leases, 10)
    finally:
        hold.set()
        stream.close()
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)
