"""`/v1/chat/completions`: answers as OpenAI's clients read them, and what decides on them."""

import json

import pytest

from hyperllama_nb.testing import Script, install_tiny
from tests.service.hosting import ANSWER, SLOW, until
from tests.service.openai_calls import CHAT, HI, chat, chunks, error, text_of

ROUTE = f"POST {CHAT}"


def params(service, model="tiny:latest"):
    """Return what the engine was last sent."""
    return service.requests(model)[-1]["params"]


@pytest.mark.compat(ROUTE, "a whole answer", "same")
def test_a_whole_answer(client):
    response = chat(client)
    assert response.headers["content-type"].startswith("application/json")
    answer = response.json()
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "tiny"
    assert answer["system_fingerprint"] == "fp_ollama"
    [choice] = answer["choices"]
    assert choice["index"] == 0
    assert choice["message"] == {"role": "assistant", "content": ANSWER}
    assert choice["finish_reason"] == "stop"
    usage = answer["usage"]
    assert usage["completion_tokens"] == 7
    assert usage["total_tokens"] == usage["prompt_tokens"] + 7


@pytest.mark.compat(ROUTE, "stream: role first, a reason of its own, [DONE]", "same")
def test_a_stream(client):
    got, headers = chunks(client, CHAT, messages=HI)
    assert headers["content-type"] == "text/event-stream"
    assert got[-1] == "[DONE]"
    parts = got[:-1]
    assert len({(part["id"], part["created"]) for part in parts}) == 1
    assert {part["object"] for part in parts} == {"chat.completion.chunk"}
    deltas = [part["choices"][0]["delta"] for part in parts]
    assert deltas[0] == {"role": "assistant", "content": "The"}
    assert all(delta.keys() == {"content"} for delta in deltas[1:-1])
    assert deltas[-1] == {}
    reasons = [part["choices"][0]["finish_reason"] for part in parts]
    assert reasons == [None] * 7 + ["stop"]
    assert text_of(parts) == ANSWER
    assert not any("usage" in part for part in parts)


@pytest.mark.compat(ROUTE, "stream_options.include_usage", "same")
def test_a_stream_ends_with_the_counts_where_they_are_wanted(client):
    got, _ = chunks(client, CHAT, messages=HI, stream_options={"include_usage": True})
    last = got[-2]
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 7
    assert [part["usage"] for part in got[:-2]] == [None] * 8


def test_an_empty_answer_has_a_role_and_a_reason(thread):
    with thread([Script(pieces=[""])]) as service:
        got, _ = chunks(service.client, CHAT, messages=HI)
        assert [part["choices"][0]["delta"] for part in got[:-1]] == [
            {"role": "assistant", "content": ""},
            {},
        ]


@pytest.mark.compat(ROUTE, "max_tokens", "same")
@pytest.mark.compat(ROUTE, "max_completion_tokens", "better", "honoured")
def test_the_length_is_limited(client):
    for fields, text in (
        ({"max_tokens": 2}, "The capital"),
        ({"max_completion_tokens": 1, "max_tokens": 5}, "The"),
    ):
        [choice] = chat(client, **fields).json()["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == (text, "length")


@pytest.mark.compat(ROUTE, "temperature and top_p: 1.0 before the model's own", "same")
def test_the_defaults_are_openais(service):
    install_tiny(service.store, "warm", options={"temperature": 0.2, "top_p": 0.5, "top_k": 7})
    assert chat(service.client, model="warm").status_code == 200
    sent = params(service, "warm:latest")
    assert (sent["temperature"], sent["top_p"], sent["top_k"]) == (1.0, 1.0, 7)


@pytest.mark.compat(ROUTE, "seed, stop, penalties", "same")
def test_sampling_is_passed_on(service):
    fields = {
        "temperature": 0.5,
        "top_p": 0.6,
        "seed": 42,
        "stop": " France",
        "presence_penalty": 0.3,
        "frequency_penalty": -0.4,
    }
    [choice] = chat(service.client, **fields).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("The capital of", "stop")
    sent = params(service)
    assert {name: sent[name] for name in fields} == {**fields, "stop": [" France"]}


@pytest.mark.compat(
    ROUTE, "options, num_ctx, keep_alive, top_k, min_p", "better", "taken; Ollama drops them"
)
def test_ollamas_options_are_taken(service):
    fields = {"top_k": 3, "min_p": 0.1, "keep_alive": "1h", "options": {"temperature": 0.1}}
    [choice] = chat(service.client, num_ctx=100, **fields).json()["choices"]
    assert choice["hyperllama"]["context_length"] == 100
    sent = params(service)
    assert (sent["top_k"], sent["min_p"], sent["temperature"]) == (3, 0.1, 0.1)
    assert chat(service.client, options={"temperature": 0.1}, temperature=0.2).status_code == 200
    assert params(service)["temperature"] == 0.2


@pytest.mark.compat(ROUTE, "ignore_eos", "better", "taken, as by vLLM; Ollama drops it")
def test_the_end_of_a_text_can_be_passed_over(service):
    answer = chat(service.client, ignore_eos=True, max_tokens=20).json()
    assert answer["usage"]["completion_tokens"] == 20
    assert answer["choices"][0]["finish_reason"] == "length"
    assert chat(service.client, ignore_eos=1).status_code == 400


@pytest.mark.compat(ROUTE, "n", "better", "up to 8 answers, with seeds of their own")
def test_several_answers(service):
    answer = chat(service.client, n=3, seed=5, max_tokens=4).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert {c["message"]["content"] for c in answer["choices"]} == {"The capital of France"}
    assert sorted(r["params"]["seed"] for r in service.requests()[-3:]) == [5, 6, 7]
    assert answer["usage"]["completion_tokens"] == 12
    one = chat(service.client, max_tokens=4).json()["usage"]
    assert answer["usage"]["prompt_tokens"] == one["prompt_tokens"]
    assert chat(service.client, n=2).status_code == 200
    assert len({r["params"]["seed"] for r in service.requests()[-2:]}) == 2


def test_several_answers_stream_with_their_index(client):
    usage = {"include_usage": True}
    got, _ = chunks(client, CHAT, messages=HI, n=2, stream_options=usage)
    parts = got[:-2]
    for index in (0, 1):
        own = [part for part in parts if part["choices"][0]["index"] == index]
        assert text_of(own) == ANSWER
        assert own[0]["choices"][0]["delta"]["role"] == "assistant"
        assert own[-1]["choices"][0]["finish_reason"] == "stop"
    assert got[-2]["usage"]["completion_tokens"] == 14


def test_a_client_that_leaves_frees_the_slots_of_all_answers(thread):
    with thread([SLOW], slots=2) as service:
        body = {"model": "tiny", "messages": HI, "n": 3, "stream": True}
        with service.client.stream("POST", CHAT, json=body) as response:
            parts = response.iter_bytes()  # to drop the iterator is to close the connection
            next(parts)
            until(lambda: service.told("running") == 2)
        until(lambda: [r["cancelled_at"] is not None for r in service.requests()] == [True] * 2)
        assert (service.engine()["running"], service.engine()["queued"]) == (0, 0)


def test_one_failed_answer_fails_all(thread):
    with thread([SLOW], slots=1, env={"OLLAMA_MAX_QUEUE": "1"}) as service:
        assert chat(service.client, max_tokens=1).status_code == 200
        assert error(chat(service.client, n=3), 429)["code"] == "rate_limit_exceeded"
        until(lambda: service.told("running") == 0)
        assert service.engine()["queued"] == 0


def test_too_many_answers_are_refused(client):
    for n in (0, 9):
        assert "`n` must be between 1 and 8" in error(chat(client, n=n), 400)["message"]


@pytest.mark.compat(ROUTE, "response_format", "same")
def test_the_form_of_an_answer_is_asked_for(thread):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    # Without its first brace: the service writes that itself.
    with thread([Script(pieces=['"a": ', "1}"])]) as service:
        for wanted in (
            {"type": "json_object"},
            {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        ):
            [choice] = chat(service.client, response_format=wanted).json()["choices"]
            assert json.loads(choice["message"]["content"]) == {"a": 1}
            assert choice["hyperllama"]["structure"]
        [choice] = chat(service.client, response_format={"type": "text"}).json()["choices"]
        assert choice["hyperllama"]["structure"] is None


def test_a_prompt_that_is_too_long_has_openais_code(client):
    long = [{"role": "user", "content": "x" * 3000}]
    response = chat(client, messages=long, num_ctx=1000, truncate=False)
    assert error(response, 400)["code"] == "context_length_exceeded"
    [choice] = chat(client, messages=long, num_ctx=1000).json()["choices"]
    assert choice["hyperllama"]["truncated_tokens"] > 2000
