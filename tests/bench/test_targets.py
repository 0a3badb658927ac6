"""Both wires: this service's, which is Ollama's, and OpenAI's."""

import asyncio
import json

import pytest

from hyperllama_nb.bench.records import Prompt, Target
from hyperllama_nb.bench.targets import Answer, ask, body
from hyperllama_nb.bench.way import HEADERS, Way
from hyperllama_nb.errors import RequestError
from tests.service.hosting import hosting

PROMPT = Prompt("Hi", 1, 3)


def answer_of(target):
    async def main():
        answer = Answer()
        await ask(Way.to(target), target, body(target, PROMPT), answer, 30.0)
        return answer

    return asyncio.run(main())


@pytest.mark.parametrize("kind", ["service", "openai"])
def test_the_service_answers_on_either_wire(kind):
    with hosting("thread") as service:
        found = answer_of(Target("here", kind, f"unix:{service.socket}", "tiny"))
    assert (found.status, found.error, found.output_tokens) == ("succeeded", None, 3)
    assert len(found.texts) == 3
    assert found.prompt_tokens


def test_a_model_that_is_not_there_is_a_failure_with_the_services_words():
    with hosting("thread") as service:
        found = answer_of(Target("here", "service", f"unix:{service.socket}", "nobody"))
    assert found.status == "failed"
    assert "404" in found.error
    assert "nobody" in found.error


def test_a_server_that_is_not_there_is_a_failure(tmp_path):
    found = answer_of(Target("gone", "ollama", f"unix:{tmp_path}/none", "tiny"))
    assert (found.status, found.texts) == ("failed", [])
    assert "no connection" in found.error


def test_options_have_the_words_of_the_wire():
    options = {"repeat_penalty": 1.1, "num_ctx": 2048, "ignore_eos": True}
    native = json.loads(body(Target("t", "service", "unix:/x", "m", options, "fake"), PROMPT))
    assert native["options"] == {
        **options,
        "temperature": 0,
        "num_predict": 3,
        "backend": "fake",
    }
    assert native["raw"]
    other = json.loads(body(Target("t", "openai", "unix:/x", "m", options), PROMPT))
    assert (other["repetition_penalty"], other["ignore_eos"], other["max_tokens"]) == (1.1, True, 3)
    assert "num_ctx" not in other


def test_a_base_path_and_a_v1_are_kept_apart(monkeypatch):
    monkeypatch.setenv("HYPERLLAMA_BENCH_API_KEY", "k")
    way = Way.to(Target("t", "openai", "https://host/base/v1/", "m"))
    assert (way.host, way.port, way.tls) == ("host", 443, True)
    assert way.head.startswith(b"POST /base/v1/completions HTTP/1.1\r\nHost: host\r\n")
    assert b"Authorization: Bearer k\r\n" in way.head
    with pytest.raises(RequestError, match="no address"):
        Way.to(Target("t", "openai", "ftp://host", "m"))


def test_what_the_service_is_sent_goes_to_no_other_target(monkeypatch):
    monkeypatch.setenv(HEADERS, '{"Authorization": "token secret"}')
    own = Way.to(Target("t", "service", "https://host/user/ann/hyperllama", "m"))
    assert own.head.startswith(b"POST /user/ann/hyperllama/api/generate HTTP/1.1\r\n")
    assert b"Authorization: token secret\r\n" in own.head
    for kind in ("ollama", "openai"):
        assert b"secret" not in Way.to(Target("t", kind, "https://host", "m")).head
