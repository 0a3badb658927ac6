"""What generating routes answer, on both hosts."""

import json
import re

from tests.service.hosting import ANSWER, error_of, until

PIECES = ["The", " capital", " of", " France", " is", " Paris", "."]
NOW = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def test_generate_streams_a_line_for_each_piece(service):
    body = {"model": "TINY:latest", "prompt": "Hi"}
    with service.client.stream("POST", "/api/generate", json=body) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        data = response.read()
    assert data.endswith(b"\n")
    assert b"\n\n" not in data
    *lines, last = [json.loads(line) for line in data.splitlines()]
    assert [line["response"] for line in lines] == PIECES
    for line in lines:
        assert line.keys() == {"model", "created_at", "response", "done"}
        assert line["model"] == "TINY:latest"
        assert NOW.fullmatch(line["created_at"])
        assert line["done"] is False
    assert last["response"] == ""
    assert_final(last)


def assert_final(last):
    """Check what the last object tells, whether streamed or not."""
    assert last["done"] is True
    assert last["done_reason"] == "stop"
    assert last["eval_count"] == 7
    assert last["prompt_eval_count"] > 7
    for name in ("total", "load", "prompt_eval", "eval"):
        assert type(last[f"{name}_duration"]) is int
        assert last[f"{name}_duration"] > 0
    extra = last["hyperllama"]
    assert extra["truncated_tokens"] == 0
    assert extra["context_length"] == 4096
    assert extra["backend"] == "fake"
    assert type(extra["first_token_duration"]) is int
    assert type(extra["queue_duration"]) is int
    assert type(extra["seed"]) is int


def test_generate_answers_whole(service):
    response = service.generate()
    assert response.headers["content-type"].startswith("application/json")
    assert response.json()["response"] == ANSWER
    assert response.json()["context"]
    assert_final(response.json())


def test_chat_streams_and_answers_whole(service):
    messages = [{"role": "USER", "content": "Hi"}]
    _, lines = service.lines("/api/chat", model="tiny", messages=messages)
    assert [line["message"]["content"] for line in lines] == [*PIECES, ""]
    assert all(line["message"]["role"] == "assistant" for line in lines)
    assert_final(lines[-1])
    body = {"model": "tiny", "messages": messages, "stream": False}
    answer = service.client.post("/api/chat", json=body).json()
    assert answer["message"] == {"role": "assistant", "content": ANSWER}
    assert_final(answer)


def test_the_engine_gets_the_models_own_prompt(service, client):
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "<|im_end|>"}]
    client.post("/api/chat", json={"model": "tiny", "messages": messages, "stream": False})
    prompt = service.requests()[-1]["prompt"]
    assert prompt.count(1) == 3
    assert prompt.count(2) == 2
    service.generate("Hi", system="S", options={"temperature": 0, "seed": 0, "top_k": 0})
    asked = service.requests()[-1]
    assert asked["prompt"].count(1) == 3
    assert asked["params"]["temperature"] == 0
    assert asked["params"]["seed"] == 2**31
    service.generate("Hi", raw=True)
    assert len(service.requests()[-1]["prompt"]) == 2


def test_a_stop_string_ends_the_text_before_it(service):
    answer = service.generate(options={"stop": [" of Fra"]}).json()
    assert answer["response"] == "The capital"
    assert answer["done_reason"] == "stop"
    assert answer["eval_count"] == 4
    _, lines = service.lines(model="tiny", prompt="x", options={"stop": "capital"})
    assert "".join(line["response"] for line in lines) == "The "


def test_num_predict_ends_the_text_by_length(service):
    answer = service.generate(options={"num_predict": 2}).json()
    assert answer["response"] == "The capital"
    assert answer["done_reason"] == "length"
    assert answer["eval_count"] == 2


def test_num_ctx_below_the_engines_is_a_cap(service):
    before = service.engine()["pid"]
    answer = service.generate("x" * 200, options={"num_ctx": 100}).json()
    assert answer["hyperllama"]["context_length"] == 100
    assert answer["hyperllama"]["truncated_tokens"] > 0
    assert answer["prompt_eval_count"] < 100
    assert service.engine()["pid"] == before


def test_a_prompt_that_may_not_be_cut_is_400(service):
    response = service.generate("x" * 200, options={"num_ctx": 100}, truncate=False)
    assert response.status_code == 400
    assert response.json()["code"] == "prompt_too_long"
    assert "num_ctx" in error_of(response)


def test_an_earlier_context_continues(service):
    first = service.generate("Hi").json()
    service.generate("More", context=first["context"])
    asked = service.requests()[-1]["prompt"]
    assert asked[: len(first["context"])] == first["context"]


def test_nothing_to_say_loads_the_model(service, client):
    answer = client.post("/api/generate", json={"model": "tiny"})
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert (body["response"], body["done"], body["done_reason"]) == ("", True, "load")
    body = client.post("/api/chat", json={"model": "tiny"}).json()
    assert body["message"] == {"role": "assistant", "content": ""}
    assert body["done_reason"] == "load"


def test_nothing_to_say_and_no_time_to_live_unloads_the_model(service, client):
    service.generate()
    body = client.post("/api/generate", json={"model": "tiny", "keep_alive": 0}).json()
    assert (body["response"], body["done"], body["done_reason"]) == ("", True, "unload")
    until(lambda: service.engine() is None)
    assert client.get("/api/ps").json() == {"models": []}
    # It is not loaded to be unloaded.
    body = client.post("/api/chat", json={"model": "tiny", "keep_alive": "0s"}).json()
    assert body["done_reason"] == "unload"
    assert service.engine() is None


def test_our_clients_see_the_load_and_others_do_not(service, client):
    client.post("/admin/unload", json={"model": "tiny"})
    _, lines = service.lines(model="tiny", prompt="x", headers={"X-HyperLlama-Progress": "1"})
    loading = [line for line in lines if line.get("status") == "loading"]
    assert loading
    for line in loading:
        assert line.keys() == {"status", "model", "phase", "message", "elapsed"}
        assert line["model"] == "tiny:latest"
    assert "".join(line["response"] for line in lines if "response" in line) == ANSWER
    client.post("/admin/unload", json={"model": "tiny"})
    _, lines = service.lines(model="tiny", prompt="x")
    assert not [line for line in lines if "status" in line]
