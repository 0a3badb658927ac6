"""Sinks driven by streams: what is shown, when it ends, and how it is interrupted."""

import os
import signal
import threading
import time

import pytest

from hyperllama_nb.client import Response
from hyperllama_nb.display.footer import footer_of
from hyperllama_nb.display.sinks import NullSink
from hyperllama_nb.display.streaming import GenerationInterrupted, follow, stream_to
from hyperllama_nb.errors import BusyError, EngineDiedError
from tests.client.fakeservice import messages, words
from tests.display.test_sinks import Front

GENERATE = "POST /api/generate"
LOADING = {"status": "loading", "model": "m", "phase": "build", "elapsed": 0.0}


class Kept(NullSink):
    def __init__(self):
        self.lines, self.words, self.ends = [], [], []

    def status(self, line):
        self.lines.append(line)

    def text(self, delta):
        self.words.append(delta)

    def finish(self, footer="", metadata=None):
        self.ends.append((footer, metadata))


def interrupt_after(seconds):
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()


def test_an_answer_is_shown_and_returned(service, client):
    service.routes[GENERATE] = lambda body: [LOADING, *words("a", "", "b", eval_count=2)]
    sink = Kept()
    response = stream_to(
        sink, client.generate("m", "?", stream=True), metadata={"options": {"seed": 1}}
    )
    assert response.text == "ab"
    assert sink.words == ["a", "b"]
    assert sink.lines == ["Loading m: build, 0 s"]
    [(footer, metadata)] = sink.ends
    assert footer == "2 tokens"
    assert metadata["options"] == {"seed": 1}
    assert metadata["usage"]["output_tokens"] == 2
    assert metadata["finish_reason"] == "stop"


def test_a_chat_is_shown(service, client):
    service.routes["POST /api/chat"] = lambda body: messages("a", "b")
    sink = Kept()
    assert stream_to(sink, client.chat("m", [], stream=True)).message.content == "ab"
    assert sink.words == ["a", "b"]


def test_thinking_is_told_and_kept_apart(service, client):
    def answer(body):
        for thought in ("Let me ", "see."):
            yield {**words("")[0], "thinking": thought}
        yield from words("Yes", eval_count=1)

    service.routes[GENERATE] = answer
    sink = Kept()
    response = stream_to(sink, client.generate("m", "?", stream=True))
    assert sink.lines[0] == "Thinking, 0 s"
    assert sink.words == ["Yes"]
    assert response.thinking == "Let me see."
    assert sink.ends[0][0] == "1 token · thought 3 words first (.thinking)"


def test_the_last_words_show_while_the_engine_stalls(service, client):
    release = threading.Event()

    def answer(body):
        yield from words("a", "b", "c")[:3]
        release.wait(30)
        yield from words()

    service.routes[GENERATE] = answer
    front = Live()
    sink = front.sink()
    threading.Timer(1.0, release.set).start()
    stream_to(sink, client.generate("m", "?", stream=True))
    seen = [when - front.sent[0][0] for when, bundle, *_ in front.sent[:-1]]
    assert front.plain[-2] == "abc"
    assert seen[-1] < 0.9


class Live(Front):
    """A front end with a real clock."""

    def __init__(self):
        super().__init__()
        self.clock = time.monotonic

    def __call__(self, bundle, metadata, display_id, update):
        self.sent.append((self.clock(), bundle, metadata, display_id, update))


def test_the_clock_goes_on_while_the_service_is_silent(service, client):
    def answer(body):
        yield LOADING
        time.sleep(2.5)
        yield from words("x")

    service.routes[GENERATE] = answer
    sink = Kept()
    stream_to(sink, client.generate("m", "?", stream=True))
    assert {"Loading m: build, 1 s", "Loading m: build, 2 s"} <= set(sink.lines)


@pytest.mark.parametrize("begun", [True, False])
def test_an_interrupt_closes_the_connection_and_keeps_the_text(service, client, begun):
    def forever(body):
        yield LOADING
        if not begun:
            time.sleep(1)
        while True:
            yield from words("x")[:1]
            time.sleep(0.005)

    service.routes[GENERATE] = forever
    sink = Kept()
    interrupt_after(0.5)
    with (
        client.generate("m", "?", stream=True) as stream,
        pytest.raises(GenerationInterrupted) as told,
    ):
        stream_to(sink, stream)
    assert service.gone.wait(10)
    assert bool(sink.words) is begun
    response = told.value.response
    assert response.text == "".join(sink.words)
    assert not response.done
    [(footer, metadata)] = sink.ends
    assert footer == "Interrupted."
    assert metadata["finish_reason"] == "interrupted"
    assert told.value._render_traceback_() == [
        "GenerationInterrupted: Interrupted; the text that had arrived is kept."
    ]


def test_an_interrupt_returns_at_once_while_nothing_comes(service, client):
    release = threading.Event()
    service.routes[GENERATE] = lambda body: (release.wait(30), words())[1]
    at = []

    def interrupt():
        at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(0.3, interrupt).start()
    with (
        client.generate("m", "?", stream=True) as stream,
        pytest.raises(GenerationInterrupted),
    ):
        stream_to(Kept(), stream)
    assert time.monotonic() - at[0] < 2
    release.set()


def test_ctrl_c_ends_a_call_without_stream_too(service, client):
    def forever(body):
        while True:
            yield from words("x")[:1]
            time.sleep(0.005)

    service.routes[GENERATE] = forever
    interrupt_after(0.5)
    with pytest.raises(KeyboardInterrupt):
        client.generate("m", "?")
    assert service.gone.wait(10)


def test_an_error_after_text_keeps_the_text(service, client):
    service.routes[GENERATE] = lambda body: [*words("a")[:1], {"error": "full", "code": "busy"}]
    sink = Kept()
    with pytest.raises(BusyError):
        stream_to(sink, client.generate("m", "?", stream=True))
    assert sink.words == ["a"]
    assert sink.ends[0][1]["finish_reason"] == "error"
    service.routes[GENERATE] = lambda body: words("a")[:1]
    with pytest.raises(EngineDiedError):
        stream_to(Kept(), client.generate("m", "?", stream=True))


def test_an_error_before_anything_was_shown_shows_nothing(service, client):
    service.routes[GENERATE] = lambda body: (503, [{"error": "full", "code": "busy"}])
    sink = Kept()
    with pytest.raises(BusyError):
        stream_to(sink, client.generate("m", "?", stream=True))
    assert sink.ends == sink.lines == []


def test_following_a_pull(service, client):
    service.routes["POST /api/pull"] = lambda body: [
        {"status": "pulling a", "digest": "a", "total": 10, "completed": 5},
        {"status": "success"},
    ]
    sink = Kept()
    assert follow(sink, client.pull("m", stream=True)).status == "success"
    assert sink.lines == ["pulling a: 5 B of 10 B (50 %)"]
    assert sink.ends[0][0].startswith("Done, ")


def test_following_is_interrupted_and_fails_in_one_line(service, client):
    service.routes["POST /api/pull"] = lambda body: (time.sleep(1), [])[1]
    sink = Kept()
    interrupt_after(0.3)
    with pytest.raises(GenerationInterrupted):
        follow(sink, client.pull("m", stream=True))
    assert sink.ends[0][0].startswith("Interrupted after ")
    service.routes["POST /api/pull"] = lambda body: (503, [{"error": "x", "code": "busy"}])
    with pytest.raises(BusyError):
        follow(sink, client.pull("m", stream=True))
    assert sink.ends[1][0].startswith("Failed after ")


def test_the_footer_tells_what_was_cut_and_what_helps():
    response = Response(
        {
            "model": "m",
            "done_reason": "length",
            "load_duration": 12_000_000_000,
            "prompt_eval_count": 5,
            "prompt_eval_cached_count": 3,
            "eval_count": 10,
            "eval_duration": 500_000_000,
            "hyperllama": {
                "first_token_duration": 12_500_000_000,
                "truncated_tokens": 90,
                "context_length": 4096,
            },
        }
    )
    assert footer_of(response) == (
        "first token after 12 s (12 s of it to load) · 10 tokens · 18.0 tokens/s · "
        "cut at the limit of tokens (--max-tokens raises it) · 90 tokens of the prompt did not "
        "fit the context of 4096 and were left out (--num-ctx raises it)"
    )
    assert "prompt 5 tokens (3 cached)" in footer_of(response, detail=True)
    assert footer_of(Response({"model": "m"})) == ""
    ignored = Response({"hyperllama": {"ignored_options": ["num_gpu", "mirostat"]}})
    assert footer_of(ignored) == "without effect here: num_gpu, mirostat"
