"""Pulls in a cell and in a terminal: what is told, and what an interrupt leaves."""

import io
import os
import signal
import threading

import pytest

from hyperllama_nb.client import Client, _start
from hyperllama_nb.display.sinks import DisplaySink, TerminalSink
from hyperllama_nb.display.streaming import GenerationInterrupted, follow
from hyperllama_nb.runtime import socket_path
from tests.models.registry_server import digest_of
from tests.service.hosting import PATIENCE, until
from tests.service.test_pulls import GGUF, pulling

pytestmark = pytest.mark.slow


@pytest.fixture
def published():
    return []


@pytest.fixture(params=["cell", "terminal"])
def place(request, published):
    """Return a sink, and what it has shown so far as one text."""
    if request.param == "terminal":
        shown = io.StringIO()
        return lambda: TerminalSink(out=io.StringIO(), err=shown), shown.getvalue

    def publish(bundle, metadata, display_id, update):
        published.append(bundle["text/plain"])

    return lambda: DisplaySink(publish=publish), lambda: "\n".join(published)


def interrupt(registry, shown):
    """Press Ctrl-C once it is shown that the download stands still."""
    assert registry.stalled.wait(PATIENCE)
    until(lambda: " 5 kB of " in shown())
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupted_pull_goes_on_where_it_was(tmp_path, place):
    sink, shown = place
    with pulling(tmp_path, stall=5000) as (_, registry), Client() as client:
        source = registry.name("library/tiny:1")
        threading.Thread(target=interrupt, args=(registry, shown)).start()
        with pytest.raises(GenerationInterrupted, match="pull it again to go on"):
            follow(sink(), client.pull(source, insecure=True, stream=True))
        assert f"pulling {digest_of(GGUF)[7:19]}: 5 kB of " in shown()
        assert ", 5 kB of 114 kB fetched." in shown().splitlines()[-1]
        registry.stall = None
        registry.requests.clear()
        last = follow(sink(), client.pull(source, insecure=True, stream=True))
        assert last["status"] == "success"
        assert [asked["range"] for asked in registry.asked(digest_of(GGUF))] == ["bytes=5000-"]
        assert shown().splitlines()[-1].startswith("Done, ")
        _start.drop(socket_path())
