"""Many streams at once, in both dialects: each gets its own text, and all of it."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx

from hyperllama_nb.testing import Script, install_tiny
from tests.service.hosting import PATIENCE, until
from tests.service.openai_calls import HI

STREAMS = 64
MODELS = ("one", "two")
WORDS = [f" {number}" for number in range(STREAMS)]


def bodies(index):
    """Return the path and body of a stream that differs from all others by its length."""
    model = MODELS[index % 2]
    length = index + 1
    return [
        ("/api/generate", {"prompt": "x", "options": {"num_predict": length}}),
        ("/api/chat", {"messages": HI, "options": {"num_predict": length}}),
        ("/v1/chat/completions", {"messages": HI, "max_tokens": length}),
        ("/v1/completions", {"prompt": "x", "max_tokens": length}),
    ][index // 2 % 4], model


def text_of(line):
    """Return the text of a part, None for one that has none."""
    if "choices" in line:
        choice = line["choices"][0]
        return choice["delta"].get("content") if "delta" in choice else choice["text"]
    return line["response"] if "response" in line else line["message"]["content"]


def test_each_of_many_streams_gets_exactly_its_own_text(host):
    # Each model has an engine of its own, which answers with numbers behind its own letter.
    scripts = [Script(pieces=[letter, *WORDS], delay=0.001) for letter in "ab"]
    with host(scripts, slots=16) as service:
        for name in MODELS:
            install_tiny(service.store, name)
            assert service.lines("/admin/load", model=name)[0] == 200

        def ask(index):
            (path, body), model = bodies(index)
            wanted = {"model": model, "stream": True, **body}
            with client.stream("POST", path, json=wanted) as response:
                assert response.status_code == 200
                data = response.read()
            lines = [line.removeprefix(b"data: ") for line in data.split(b"\n") if line]
            found = [json.loads(line) for line in lines if line != b"[DONE]"]
            return "".join(text_of(line) or "" for line in found)

        transport = httpx.HTTPTransport(uds=str(service.socket))
        with (
            httpx.Client(
                transport=transport, base_url="http://service", timeout=PATIENCE
            ) as client,
            ThreadPoolExecutor(STREAMS) as pool,
        ):
            texts = list(pool.map(ask, range(STREAMS)))
        for index, text in enumerate(texts):
            assert text == "".join(["ab"[index % 2], *WORDS[:index]])
        for name in MODELS:
            until(lambda name=name: service.engine(f"{name}:latest")["running"] == 0)
