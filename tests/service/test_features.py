"""What a chat and a completion can ask for beside text."""

import json

import pytest

from hyperllama_nb.service import abilities
from hyperllama_nb.testing import FakeBackend, Script, install_tiny
from hyperllama_nb.testing.model import TEMPLATE
from tests.service.hosting import ANSWER, hosting

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
SMART = (
    "{% if tools %}{{ '<|im_start|>system\n<tools>' + (tools | tojson) + '</tools> "
    "<tool_call>' + '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}"
    "{% if m.name %}{{ m.name + ': ' }}{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
USER = [{"role": "user", "content": "What is the weather in Bern?"}]
THOUGHT = ("<th", "ink>", "Let me", " see.", "</thi", "nk>", "\n\n", "It is", " fine.")
CALLED = ("<tool", '_call>\n{"name": "weather", "argu', 'ments": {"city": "Bern"}}\n</tool_call>')


@pytest.fixture(scope="module")
def thinking():
    yield from smart(THOUGHT)


@pytest.fixture(scope="module")
def calling():
    yield from smart(CALLED)


def smart(pieces):
    with hosting("thread", [Script(pieces=pieces)]) as running:
        install_tiny(running.store, "smart", template=SMART)
        yield running


def prompt_of(service, model="smart:latest"):
    """Return the text that the engine was last given."""
    ids = service.requests(model)[-1]["prompt"]
    body = {"model": model.partition(":")[0], "tokens": ids}
    return service.client.post("/api/detokenize", json=body).json()["content"]


@pytest.mark.compat("POST /api/chat", "think: thinking apart from the answer, streamed", "same")
def test_thinking_streams_apart_from_the_answer(thinking):
    _, lines = thinking.lines("/api/chat", model="smart", messages=USER)
    thought = [line["message"].get("thinking", "") for line in lines]
    assert "".join(thought) == "Let me see."
    assert len([text for text in thought if text]) > 1
    assert "".join(line["message"]["content"] for line in lines) == "It is fine."
    first = next(i for i, line in enumerate(lines) if line["message"]["content"])
    assert not any(thought[first:])


@pytest.mark.compat("POST /api/generate", "think", "same")
def test_thinking_of_a_completion_is_a_field_of_its_own(thinking):
    whole = thinking.generate("Hi", "smart").json()
    assert (whole["thinking"], whole["response"]) == ("Let me see.", "It is fine.")


@pytest.mark.compat("POST /api/chat", "think: false, and levels", "same")
def test_thinking_can_be_turned_off(thinking):
    for value in (False, True, "high"):
        body = {"model": "smart", "messages": USER, "think": value, "stream": False}
        assert thinking.client.post("/api/chat", json=body).status_code == 200
        assert ("<think>\n\n</think>" in prompt_of(thinking)) is (value is False)


@pytest.mark.compat("POST /api/chat", "think on a model that cannot", "same", "400")
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_a_model_that_cannot_think_says_so(client, path):
    body = {"model": "tiny", "think": True, "prompt": "x", "messages": USER}
    response = client.post(path, json=body)
    assert response.status_code == 400
    assert response.json()["error"].startswith('"tiny:latest" does not support thinking')
    assert client.post(path, json={**body, "think": "very"}).status_code == 400


@pytest.mark.compat("POST /api/chat", "tools: calls, streamed", "same")
def test_a_tool_call_comes_as_one_object(calling):
    _, lines = calling.lines("/api/chat", model="smart", messages=USER, tools=[TOOL])
    [call] = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert call["function"] == {"index": 0, "name": "weather", "arguments": {"city": "Bern"}}
    assert call["id"].startswith("call_")
    assert "".join(line["message"]["content"] for line in lines) == ""
    assert lines[-1]["done_reason"] == "stop"
    assert '"name": "weather"' in prompt_of(calling)
    body = {"model": "smart", "messages": USER, "tools": [TOOL], "stream": False}
    message = calling.client.post("/api/chat", json=body).json()["message"]
    assert message["tool_calls"][0]["function"]["arguments"] == {"city": "Bern"}
    assert message["content"] == ""


@pytest.mark.compat("POST /api/chat", "tool results, paired without ids", "same")
def test_a_tool_result_reaches_the_model_with_its_name(calling):
    call = {"function": {"name": "weather", "arguments": {"city": "Bern"}}}
    messages = [
        *USER,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "sunny"},
    ]
    body = {"model": "smart", "messages": messages, "tools": [TOOL], "stream": False}
    assert calling.client.post("/api/chat", json=body).status_code == 200
    prompt = prompt_of(calling)
    assert "weather: sunny" in prompt
    assert '"arguments": {"city": "Bern"}' in prompt


def test_without_tools_a_call_is_only_text(calling):
    body = {"model": "smart", "messages": USER, "stream": False}
    message = calling.client.post("/api/chat", json=body).json()["message"]
    assert message["content"] == "".join(CALLED)
    assert "tool_calls" not in message


@pytest.mark.compat("POST /api/chat", "tools on a model that has none", "same", "400")
def test_a_model_without_tools_says_so(client):
    response = client.post("/api/chat", json={"model": "tiny", "messages": USER, "tools": [TOOL]})
    assert response.status_code == 400
    expected = "registry.ollama.ai/library/tiny:latest does not support tools"
    assert response.json()["error"].startswith(expected)


@pytest.mark.compat(
    "POST /api/chat", "images on a model without vision", "not supported", "400 in words"
)
def test_images_are_refused_in_words(client):
    messages = [{"role": "user", "content": "x", "images": ["aGk="]}]
    response = client.post("/api/chat", json={"model": "tiny", "messages": messages})
    assert response.status_code == 400
    assert response.json()["error"].startswith('"tiny:latest" does not support vision')
    body = {"model": "tiny", "prompt": "x", "images": ["aGk"]}
    assert "illegal base64" in client.post("/api/generate", json=body).json()["error"]


@pytest.mark.compat("POST /api/generate", "suffix (insertion)", "same")
def test_a_suffix_is_put_behind_the_gap(thinking, monkeypatch):
    manifest = install_tiny(thinking.store, "coder", context_length=4096)
    body = {"model": "coder", "prompt": "def f(", "suffix": "return 1", "stream": False}
    response = thinking.client.post("/api/generate", json=body)
    assert response.status_code == 400
    full = "registry.ollama.ai/library/coder:latest does not support insert"
    assert response.json()["error"].startswith(full)
    monkeypatch.setitem(abilities._READ, manifest.digest, abilities.INSERTIONS[0])
    assert thinking.client.post("/api/generate", json=body).status_code == 200
    asked = prompt_of(thinking, "coder:latest")
    assert asked.endswith("<|fim_prefix|>def f(<|fim_suffix|>return 1<|fim_middle|>")
    shown = thinking.client.post("/api/show", json={"model": "coder"}).json()
    assert "insert" in shown["capabilities"]


@pytest.mark.compat("POST /api/chat", "_debug_render_only", "same", "loads nothing")
@pytest.mark.compat("POST /api/generate", "_debug_render_only", "same", "loads nothing")
def test_the_prompt_can_be_seen_without_a_load(client):
    body = {"model": "tiny", "messages": USER, "prompt": "Hi", "_debug_render_only": True}
    for path, text in (("/api/chat", USER[0]["content"]), ("/api/generate", "Hi")):
        found = client.post(path, json=body).json()
        expected = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
        assert found["_debug_info"]["rendered_template"] == expected
        assert found["done"] is False


@pytest.mark.compat("POST /api/generate", "raw", "same")
def test_raw_takes_the_prompt_as_it_is(service):
    whole = service.generate("Hi", raw=True).json()
    assert whole["response"] == ANSWER
    assert "context" not in whole
    assert service.requests()[-1]["prompt"][-2:] == [42, 75]
    assert service.generate("Hi", raw=True, system="x").status_code == 400


@pytest.mark.compat("POST /api/generate", "context", "same")
def test_a_context_comes_before_the_prompt(service):
    first = service.generate("One").json()
    service.generate("Two", context=first["context"])
    assert service.requests()[-1]["prompt"][: len(first["context"])] == first["context"]
    assert service.generate("x", context="y").status_code == 400


@pytest.mark.compat(
    "POST /api/generate", "truncate", "better", "what was cut is told in `hyperllama`"
)
def test_a_cut_prompt_is_told_about(service):
    whole = service.generate("x" * 3000, options={"num_ctx": 1000}).json()
    assert whole["hyperllama"]["truncated_tokens"] > 2000
    refused = service.generate("x" * 3000, options={"num_ctx": 1000}, truncate=False)
    assert refused.status_code == 400
    assert "the prompt is longer than the context length" in refused.json()["error"]


@pytest.mark.compat(
    "POST /api/generate",
    "shift",
    "better",
    "only when asked for, and told in `hyperllama`; without it an answer ends with its context",
)
def test_an_answer_goes_past_its_context_when_asked():
    with hosting("thread", [Script(pieces=["ab"], repeat=10**6)]) as service:
        options = {"num_ctx": 100, "num_predict": 300}
        whole = service.generate("Hi", options=options).json()
        assert whole["done_reason"] == "length"
        assert whole["eval_count"] < 100
        whole = service.generate("Hi", options=options, shift=True).json()
        assert (whole["done_reason"], whole["eval_count"]) == ("length", 300)
        assert whole["hyperllama"]["shifted_tokens"] > 0


@pytest.mark.compat("POST /api/generate", "template", "not supported", "400: templates are code")
def test_a_template_in_a_request_is_refused(client):
    body = {"model": "tiny", "prompt": "x", "template": "{{ .Prompt }}"}
    assert client.post("/api/generate", json=body).status_code == 400


@pytest.mark.compat(
    "POST /api/generate", "options: a wrong type or value", "better", "400, where Ollama says 500"
)
def test_a_wrong_option_is_400(client):
    for options in ({"temperature": "hot"}, {"top_k": -5}, {"backend": 1}, []):
        body = {"model": "tiny", "prompt": "x", "options": options}
        assert client.post("/api/generate", json=body).status_code == 400


@pytest.mark.compat("POST /api/show", "system, messages, parameters, capabilities", "same")
def test_show_tells_what_a_model_brings(thinking):
    install_tiny(
        thinking.store,
        "pirate",
        system="Talk like a pirate.",
        options={"temperature": 0.5, "stop": ["A", "B"]},
        messages=({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Arr"}),
    )
    shown = thinking.client.post("/api/show", json={"name": "Pirate"}).json()
    assert shown["system"] == "Talk like a pirate."
    assert [m["content"] for m in shown["messages"]] == ["Hi", "Arr"]
    assert "MESSAGE assistant" in shown["modelfile"]
    assert [line.split()[0] for line in shown["parameters"].splitlines()] == [
        "temperature",
        "stop",
        "stop",
    ]
    assert shown["template"] == TEMPLATE
    assert shown["hyperllama"]["backends"]["fake"]["format"]
    _, lines = thinking.lines("/api/chat", model="pirate", messages=USER)
    assert lines[-1]["done"]
    asked = prompt_of(thinking, "pirate:latest")
    assert asked.index("Talk like") < asked.index("Arr") < asked.index("Bern")
    assert json.dumps(shown)


@pytest.mark.compat(
    "POST /api/generate", "options: ignore_eos", "better", "an answer of just `num_predict` tokens"
)
@pytest.mark.compat(
    "POST /api/chat", "options: ignore_eos", "better", "an answer of just `num_predict` tokens"
)
@pytest.mark.parametrize("route", ["generate", "chat"])
def test_an_answer_can_be_made_as_long_as_wanted(service, route):
    body = {"model": "tiny", "prompt": "x", "messages": USER, "stream": False}
    options = {"ignore_eos": True, "num_predict": 40}
    made = service.client.post(f"/api/{route}", json={**body, "options": options}).json()
    assert (made["eval_count"], made["done_reason"]) == (40, "length")
    assert service.requests()[-1]["params"]["ignore_eos"] is True
    usual = service.client.post(f"/api/{route}", json={**body, "options": {"num_predict": 40}})
    assert usual.json()["done_reason"] == "stop"
    assert "ignore_eos" not in service.requests()[-1]["params"]


def test_the_models_own_stop_strings_do_not_end_it_but_those_of_the_request_do(thread):
    with thread() as service:
        body = {"model": "halting", "from": "tiny", "parameters": {"stop": " France"}}
        service.client.post("/api/create", json={**body, "stream": False})
        assert service.generate(model="halting").json()["response"] == "The capital of"
        options = {"ignore_eos": True, "num_predict": 9}
        assert service.generate(model="halting", options=options).json()["eval_count"] == 9
        options["stop"] = [" is"]
        made = service.generate(model="halting", options=options).json()
        assert (made["response"], made["done_reason"]) == ("The capital of France", "stop")


def test_what_cannot_go_on_after_its_end_says_so(thread, monkeypatch):
    class Ending(FakeBackend):
        def capabilities(self, spec):
            return super().capabilities(spec) - {"ignore_eos"}

    monkeypatch.setattr("tests.service.hosting.FakeBackend", Ending)
    with thread() as service:
        options = {"ignore_eos": True}
        refused = service.generate(options=options)
        assert refused.status_code == 400
        assert "backend fake cannot go on" in refused.json()["error"]
        assert service.requests() == []
        assert service.told("ignore_eos") is False
        formed = service.generate(options=options, format="json")
        assert formed.status_code == 400
        assert "`format`" in formed.json()["error"]
        assert service.generate(options={"ignore_eos": False}).json()["done_reason"] == "stop"


def test_the_status_tells_what_a_launch_fixes(service):
    service.generate()
    assert service.told("cache_type") == "float32"
    assert service.told("encoding") == "float32"
    assert service.told("threads") == 1
    assert service.told("ignore_eos") is True
