"""`/v1/completions` and `/v1/models`."""

import pytest

from hyperllama_nb.engines.events import TokenLogprob
from hyperllama_nb.service import abilities
from hyperllama_nb.service.ask import Outcome, Piece
from hyperllama_nb.service.openai.chat import Chat
from hyperllama_nb.service.openai.fields import Form
from hyperllama_nb.service.openai.text import Text
from hyperllama_nb.testing import install_tiny
from tests.service.hosting import ANSWER, hosting
from tests.service.openai_calls import HI, chunks, complete, error, text_of
from tests.service.test_features import prompt_of

ROUTE = "POST /v1/completions"
PATH = "/v1/completions"


@pytest.mark.compat(ROUTE, "a whole answer", "same")
def test_a_whole_text(client):
    answer = complete(client).json()
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    assert answer["model"] == "tiny"
    [choice] = answer["choices"]
    assert (choice["index"], choice["text"], choice["finish_reason"]) == (0, ANSWER, "stop")
    assert answer["usage"]["completion_tokens"] == 7


@pytest.mark.compat(ROUTE, "stream, with usage in the last chunk", "same")
def test_a_stream(client):
    got, headers = chunks(client, PATH, prompt="Hi", stream_options={"include_usage": True})
    assert headers["content-type"] == "text/event-stream"
    assert got[-1] == "[DONE]"
    assert {part["object"] for part in got[:-1]} == {"text_completion"}
    assert text_of(got[:-1]) == ANSWER
    assert [part["usage"] for part in got[:-2]] == [None] * 8
    assert got[-2]["choices"] == []
    assert got[-2]["usage"]["completion_tokens"] == 7
    assert got[-3]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.compat(
    ROUTE,
    "the prompt's form",
    "better",
    "continued as it is, as OpenAI's; `raw: false` puts it into the chat template, as Ollama does",
)
def test_a_prompt_is_continued_as_it_is(service):
    assert complete(service.client).status_code == 200
    assert prompt_of(service, "tiny:latest") == "Hi"
    assert complete(service.client, raw=False).status_code == 200
    assert "<|im_start|>user\nHi<|im_end|>" in prompt_of(service, "tiny:latest")


@pytest.mark.compat(ROUTE, "max_tokens, stop, seed, temperature, top_p, penalties", "same")
def test_sampling_is_passed_on(service):
    fields = {"seed": 3, "temperature": 0.5, "top_p": 0.6, "frequency_penalty": 0.1}
    [choice] = complete(service.client, max_tokens=3, stop=["x"], **fields).json()["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("The capital of", "length")
    sent = service.requests()[-1]["params"]
    assert {name: sent[name] for name in fields} == fields
    assert (sent["max_tokens"], sent["stop"]) == (3, ["x"])


@pytest.mark.compat(
    ROUTE, "suffix (insertion)", "same", "400 where the model was not trained for it"
)
def test_a_suffix_is_put_behind_the_gap(monkeypatch):
    with hosting("thread") as service:
        manifest = install_tiny(service.store, "coder")
        refused = complete(service.client, model="coder", prompt="def f(", suffix="return 1")
        assert "does not support insert" in error(refused, 400)["message"]
        monkeypatch.setitem(abilities._READ, manifest.digest, abilities.INSERTIONS[0])
        answer = complete(service.client, model="coder", prompt="def f(", suffix="return 1")
        assert answer.status_code == 200
        asked = prompt_of(service, "coder:latest")
        assert asked.endswith("<|fim_prefix|>def f(<|fim_suffix|>return 1<|fim_middle|>")


@pytest.mark.compat(
    ROUTE, "several prompts, n", "better", "up to 8 answers; Ollama takes one prompt"
)
def test_each_prompt_has_its_answers(service):
    answer = complete(service.client, prompt=["One", "Three"], n=2, max_tokens=1, echo=True).json()
    texts = [(choice["index"], choice["text"]) for choice in answer["choices"]]
    assert texts == [(0, "OneThe"), (1, "OneThe"), (2, "ThreeThe"), (3, "ThreeThe")]
    assert answer["usage"]["prompt_tokens"] == len("One") + len("Three")
    assert answer["usage"]["completion_tokens"] == 4
    assert complete(service.client, prompt=["Hi"]).json()["choices"][0]["text"] == ANSWER


@pytest.mark.compat(ROUTE, "echo", "better", "the prompt before the answer; Ollama drops it")
def test_the_prompt_is_echoed(client):
    got, _ = chunks(client, PATH, prompt="Hi", echo=True)
    assert text_of(got[:-1]) == f"Hi{ANSWER}"
    got, _ = chunks(client, PATH, prompt="Hi", echo=True, max_tokens=0)
    assert text_of(got[:-1]) == "Hi"
    assert (
        "`echo` with `logprobs`" in error(complete(client, echo=True, logprobs=1), 400)["message"]
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"prompt": None}, "`prompt` is empty"),
        ({"prompt": ""}, "`prompt` is empty"),
        ({"prompt": ["x", ""]}, "`prompt` is empty"),
        ({"prompt": []}, "up to 8 answers"),
        ({"prompt": ["x"] * 9}, "up to 8 answers"),
        ({"prompt": [1, 2]}, "cannot unmarshal `prompt`"),
        ({"prompt": 1}, "cannot unmarshal `prompt`"),
        ({"logprobs": True}, "cannot unmarshal"),
        ({"logprobs": 21}, "top_logprobs must be between 0 and 20"),
        ({"best_of": 3}, "`best_of` is not supported"),
        ({"echo": "yes"}, "cannot unmarshal"),
    ],
)
def test_what_is_wrong_is_said(client, fields, text):
    assert text in error(complete(client, **fields), 400)["message"]


@pytest.mark.compat(
    ROUTE, "logprobs", "better", "told in OpenAI's form; Ollama computes them and leaves them out"
)
def test_log_probabilities_of_a_text():
    answer = Text("tiny", Form(), [""])
    tokens = (TokenLogprob("Hi", -0.1, (("Hi", -0.1), ("Ho", -2.0))), TokenLogprob("!", -1.0))
    [choice] = answer.choices(0, Piece("Hi!", logprobs=tokens))
    assert '"tokens":["Hi","!"]' in choice
    whole = answer.choice(0, Outcome([], text="Hi!", logprobs=list(tokens)))
    assert whole["logprobs"] == {
        "tokens": ["Hi", "!"],
        "token_logprobs": [-0.1, -1.0],
        "top_logprobs": [{"Hi": -0.1, "Ho": -2.0}, {}],
        "text_offset": [3, 5],
    }


@pytest.mark.compat("POST /v1/chat/completions", "logprobs, top_logprobs", "same")
def test_log_probabilities_of_a_chat():
    answer = Chat("tiny", Form(), 1)
    tokens = (TokenLogprob("é", -0.5, (("é", -0.5), ("e", -1.5))),)
    told = {
        "token": "é",
        "logprob": -0.5,
        "bytes": [195, 169],
        "top_logprobs": [
            {"token": "é", "logprob": -0.5, "bytes": [195, 169]},
            {"token": "e", "logprob": -1.5, "bytes": [101]},
        ],
    }
    whole = answer.choice(0, Outcome([], text="é", logprobs=list(tokens)))
    assert whole["logprobs"] == {"content": [told], "refusal": None}
    [choice] = answer.choices(0, Piece("", logprobs=tokens))
    assert '"content":""' in choice
    assert '"logprobs":{"content":[{"token":"é"' in choice


# Models


@pytest.mark.compat("GET /v1/models", "the list, in the order of /api/tags", "same")
def test_the_models_are_listed(client):
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    [model] = listed["data"]
    assert model["id"] == "tiny:latest"
    assert (model["object"], model["owned_by"]) == ("model", "library")
    assert isinstance(model["created"], int)
    assert client.head("/v1/models").status_code == 200


@pytest.mark.compat("GET /v1/models", "an empty store", "better", "[], where Ollama says null")
def test_an_empty_store_is_an_empty_list(thread):
    with thread() as service:
        service.client.request("DELETE", "/api/delete", json={"model": "tiny"})
        assert service.client.get("/v1/models").json()["data"] == []


@pytest.mark.compat(
    "GET /v1/models/{name}", "names with slashes", "better", "found, where Ollama says 404"
)
def test_a_model_is_described_by_any_of_its_names(service, client):
    install_tiny(service.store, "me/other:v1")
    for name in ("tiny", "TINY:latest", "library/tiny", "me/other:v1", "me%2Fother:v1"):
        model = client.get(f"/v1/models/{name}").json()
        assert model["id"] == name.replace("%2F", "/")
        assert model["owned_by"] == ("me" if "other" in name else "library")
    assert client.head("/v1/models/me/other:v1").status_code == 200
    client.request("DELETE", "/api/delete", json={"model": "me/other:v1"})


@pytest.mark.compat("GET /v1/models/{name}", "an unknown model", "same", "404 in the envelope")
def test_an_unknown_model_is_404(client):
    found = error(client.get("/v1/models/nope"), 404)
    assert found["message"].startswith("model 'nope:latest' not found")
    assert (found["type"], found["code"]) == ("not_found_error", "model_not_found")
    assert error(client.get("/v1/models/x!"), 400)["code"] == "invalid_name"


@pytest.mark.compat("POST /v1/audio/transcriptions", "audio", "not supported", "501 in words")
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages", "/v1/audio/transcriptions"])
def test_other_routes_are_refused_in_words(client, path):
    found = error(client.post(path, json={"model": "tiny", "messages": HI}), 501)
    assert found["message"].startswith(f"POST {path} is not supported.")
