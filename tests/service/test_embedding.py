"""Embeddings: what is asked for, what the engine gets, and what comes back."""

import base64
import json
import math
import struct
import threading
import time
from contextlib import ExitStack

import httpx
import pytest

from hyperllama_nb.service import embedding
from hyperllama_nb.testing import Script, fake_vector, install_tiny
from tests.service.hosting import error_of, hosting, until

MODEL = "embedder:latest"
CONTEXT, TRAINED = 64, 32
FIELDS = {"architecture": "BertModel", "family": "bert", "template": None}


def install(store, name="embedder", **fields):
    options = {"num_ctx": TRAINED}
    install_tiny(store, name, **{"context_length": CONTEXT, "options": options, **FIELDS, **fields})


@pytest.fixture(scope="module")
def embedder():
    with hosting("thread") as running:
        install(running.store)
        yield running


@pytest.fixture
def own(thread):
    """Return what hosts an embedder of the test's own, with a script."""
    with ExitStack() as stack:

        def host(script):
            running = stack.enter_context(thread([script]))
            install(running.store)
            return running

        yield host


def embed(service, given="Hi", **fields):
    body = {"model": "embedder", **({} if given is None else {"input": given}), **fields}
    return service.client.post("/api/embed", json=body)


def expected(text, dimensions=None):
    """Return the vector of a text: the tiny model's tokens are bytes, in the order of GPT-2's."""
    vector = fake_vector(text)[:dimensions]
    return [value / math.hypot(*vector) for value in vector]


def asked(service):
    """Return the lists of texts that the engine got, as token ids."""
    return [request["prompt"] for request in service.requests(MODEL)]


@pytest.mark.compat("POST /api/embed", "input: a text or a list, in order", "same")
def test_a_text_and_a_list_give_unit_vectors_in_order(embedder):
    whole = embed(embedder, ["one", "three", "one"]).json()
    assert whole["model"] == "embedder"
    one, three, again = whole["embeddings"]
    assert one == again != three
    for vector in whole["embeddings"]:
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-6)
    ids = next(ids for ids in asked(embedder)[-1] if len(ids) == 5)
    assert three == pytest.approx(expected(ids), abs=1e-6)
    assert embed(embedder, "one").json()["embeddings"] == [one]


@pytest.mark.compat("POST /api/embed", "durations and prompt_eval_count", "same")
def test_counts_and_durations_are_whole_numbers(embedder):
    whole = embed(embedder, ["four", "five!"]).json()
    assert whole["prompt_eval_count"] == 9
    for name in ("total_duration", "load_duration", "prompt_eval_count"):
        assert type(whole[name]) is int
    assert whole["total_duration"] > whole["load_duration"] >= 0
    assert whole["hyperllama"]["backend"] == "fake"
    assert whole["hyperllama"]["context_length"] == TRAINED


@pytest.mark.compat("POST /api/embed", "an empty input loads the model", "same")
@pytest.mark.parametrize("given", [None, "", []])
def test_nothing_to_embed_loads_the_model(own, given):
    service = own(Script())
    whole = embed(service, given).json()
    assert whole["embeddings"] == []
    assert whole["model"] == "embedder"
    assert service.engine(MODEL)["state"] == "ready"
    assert asked(service) == []


@pytest.mark.compat(
    "POST /api/embed", "keep_alive", "better", "0 without input unloads, and loads nothing first"
)
def test_keep_alive_is_the_models(own):
    service = own(Script())
    embed(service, None, keep_alive=0)
    assert service.engine(MODEL) is None
    assert embed(service, keep_alive="1h").status_code == 200
    (running,) = service.client.get("/api/ps").json()["models"]
    assert running["context_length"] == CONTEXT
    embed(service, None, keep_alive=0)
    until(lambda: service.engine(MODEL) is None)
    assert embed(service, keep_alive=0).status_code == 200
    until(lambda: service.engine(MODEL) is None)


@pytest.mark.compat("POST /api/embed", "truncate: true", "same", "says how much was cut")
def test_a_long_text_loses_its_end(embedder):
    whole = embed(embedder, ["x" * TRAINED, "x" * 50]).json()
    assert whole["prompt_eval_count"] == 2 * TRAINED
    assert whole["hyperllama"]["truncated_tokens"] == 50 - TRAINED
    first, second = whole["embeddings"]
    assert first == second


@pytest.mark.compat("POST /api/embed", "truncate: false", "same")
def test_a_long_text_is_refused_where_it_may_not_be_cut(embedder):
    answer = embed(embedder, ["short", "x" * 50], truncate=False)
    assert answer.status_code == 400
    error = error_of(answer)
    assert error.startswith("the input length exceeds the context length")
    assert "text 2 of 2 has 50 tokens" in error
    assert embed(embedder, "x" * TRAINED, truncate=False).status_code == 200


@pytest.mark.compat("POST /api/embed", "options: num_ctx", "same")
def test_num_ctx_is_how_long_a_text_may_be(embedder):
    def count(given, **options):
        whole = embed(embedder, given, options=options).json()
        return whole["prompt_eval_count"]

    assert count("x" * 50, num_ctx=10) == 10
    assert count("x" * 50, num_ctx=CONTEXT) == 50
    assert count("x" * 90, num_ctx=4096) == CONTEXT


@pytest.mark.compat(
    "POST /api/embed", "a wrong option", "better", "400, where Ollama says 500; unknown ones told"
)
def test_options_are_checked(embedder):
    answer = embed(embedder, options={"num_ctx": "long"})
    assert answer.status_code == 400
    assert 'option "num_ctx"' in error_of(answer)
    told = embed(embedder, options={"num_gpu": 1, "colour": 2}).json()["hyperllama"]
    assert told["ignored_options"] == ["num_gpu", "colour"]


@pytest.mark.compat("POST /api/embed", "dimensions", "same")
def test_dimensions_cut_a_vector_and_make_it_one_of_length_one_again(embedder):
    (whole,) = embed(embedder).json()["embeddings"]
    (short,) = embed(embedder, dimensions=3).json()["embeddings"]
    length = math.hypot(*whole[:3])
    assert short == pytest.approx([value / length for value in whole[:3]], abs=1e-6)
    for dimensions in (0, -1, len(whole), 4096):
        assert embed(embedder, dimensions=dimensions).json()["embeddings"] == [whole]


@pytest.mark.compat("POST /api/embed", "a wrong input", "same")
@pytest.mark.parametrize("given", [7, {"a": 1}, [1, 2], [["a"]], [None], ["a", {}], True])
def test_what_is_no_text_is_refused(embedder, given):
    answer = embed(embedder, given)
    assert answer.status_code == 400
    assert error_of(answer).startswith("invalid input type")


@pytest.mark.compat("POST /api/embed", "an unknown model", "same")
@pytest.mark.compat("POST /api/embeddings", "an unknown model", "same")
def test_unknown_models_are_told_in_ollamas_words(embedder):
    for path, blank, status in (
        ("/api/embed", "model '' not found", 404),
        ("/api/embeddings", "model is required", 400),
    ):
        answer = embedder.client.post(path, json={"model": "nobody", "input": "x", "prompt": "x"})
        assert answer.status_code == 404
        assert error_of(answer).startswith('model "nobody" not found, try pulling it first')
        answer = embedder.client.post(path, json={"input": "x"})
        assert answer.status_code == status
        assert error_of(answer).startswith(blank)
        answer = embedder.client.post(path, json={"model": "a b", "input": "x"})
        assert answer.status_code == 400
        assert error_of(answer).startswith("invalid model name")


@pytest.mark.compat(
    "POST /api/embed",
    "a model that generates text",
    "better",
    "400 that names the models that embed; Ollama gives vectors that nobody trained",
)
def test_a_model_that_generates_does_not_embed(embedder):
    for path in ("/api/embed", "/api/embeddings", "/v1/embeddings"):
        answer = embedder.client.post(path, json={"model": "tiny", "input": "x", "prompt": "x"})
        assert answer.status_code == 400
        text = answer.text
        assert "does not support embeddings" in text
        assert MODEL in text
    assert embedder.engine("tiny:latest") is None


@pytest.mark.compat("POST /api/generate", "a model that makes embeddings", "same")
@pytest.mark.compat("POST /api/chat", "a model that makes embeddings", "same")
def test_a_model_that_embeds_does_not_generate(embedder):
    message = {"role": "user", "content": "Hi"}
    for path, word in (("generate", "generate"), ("chat", "chat")):
        body = {"model": "embedder", "prompt": "Hi", "messages": [message]}
        answer = embedder.client.post(f"/api/{path}", json=body)
        assert answer.status_code == 400
        assert f'"{MODEL}" does not support {word}' in error_of(answer)


@pytest.mark.compat("POST /api/show", "an embedding model", "same")
def test_show_and_tags_tell_that_it_embeds(embedder):
    shown = embedder.client.post("/api/show", json={"model": "embedder"}).json()
    assert shown["capabilities"] == ["embedding"]
    assert shown["model_info"]["bert.embedding_length"] == 16
    assert shown["model_info"]["bert.context_length"] == CONTEXT
    assert shown["parameters"].split() == ["num_ctx", str(TRAINED)]
    tags = embedder.client.get("/api/tags").json()["models"]
    assert next(m for m in tags if m["name"] == MODEL)["capabilities"] == ["embedding"]


@pytest.mark.compat("POST /api/embeddings", "prompt", "same")
@pytest.mark.compat(
    "POST /api/embeddings",
    "a vector of unit length",
    "better",
    "the one of /api/embed, where Ollama's two routes may differ in length",
)
def test_the_first_form_of_the_route(embedder):
    body = {"model": "embedder", "prompt": "Hi"}
    answer = embedder.client.post("/api/embeddings", json=body)
    assert answer.json() == {"embedding": embed(embedder).json()["embeddings"][0]}


@pytest.mark.compat("POST /api/embeddings", "an empty prompt loads the model", "same")
def test_the_first_form_without_a_prompt(own):
    service = own(Script())
    for body in ({}, {"prompt": ""}):
        answer = service.client.post("/api/embeddings", json={"model": "embedder", **body})
        assert answer.json() == {"embedding": []}
    assert service.engine(MODEL)["state"] == "ready"
    service.client.post("/api/embeddings", json={"model": "embedder", "keep_alive": 0})
    until(lambda: service.engine(MODEL) is None)


@pytest.mark.compat(
    "POST /api/embeddings", "a prompt that is too long", "better", "400, where Ollama says 500"
)
def test_the_first_form_cuts_only_where_it_is_told_to(embedder):
    body = {"model": "embedder", "prompt": "x" * 50}
    answer = embedder.client.post("/api/embeddings", json=body)
    assert answer.status_code == 400
    assert error_of(answer).startswith("the input length exceeds the context length: it has 50")
    cut = embedder.client.post("/api/embeddings", json={**body, "truncate": True})
    assert len(cut.json()["embedding"]) == 8


def openai(service, given="Hi", **fields):
    return service.client.post(
        "/v1/embeddings", json={"model": "embedder", "input": given} | fields
    )


@pytest.mark.compat("POST /v1/embeddings", "input: a text or a list, in order, and usage", "same")
def test_openais_form(embedder):
    whole = openai(embedder, ["Hi", "there"]).json()
    assert whole["object"] == "list"
    assert whole["model"] == "embedder"
    assert whole["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert [item["index"] for item in whole["data"]] == [0, 1]
    assert {item["object"] for item in whole["data"]} == {"embedding"}
    native = embed(embedder, ["Hi", "there"]).json()["embeddings"]
    assert [item["embedding"] for item in whole["data"]] == native
    assert openai(embedder, dimensions=3).json()["data"][0]["embedding"] == pytest.approx(
        embed(embedder, dimensions=3).json()["embeddings"][0]
    )


@pytest.mark.compat("POST /v1/embeddings", "encoding_format", "same")
def test_base64_is_of_little_endian_float32(embedder):
    (item,) = openai(embedder, encoding_format="BASE64").json()["data"]
    raw = base64.b64decode(item["embedding"])
    numbers = openai(embedder, encoding_format="float").json()["data"][0]["embedding"]
    assert struct.unpack("<8f", raw) == pytest.approx(numbers, abs=1e-8)
    answer = openai(embedder, encoding_format="hex")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        "Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64']."
    )


@pytest.mark.compat("POST /v1/embeddings", "an empty input", "same")
def test_openais_form_of_nothing(embedder):
    for body in ({"model": "embedder"}, {"model": "embedder", "input": []}):
        answer = embedder.client.post("/v1/embeddings", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith("invalid input")


@pytest.mark.compat(
    "POST /v1/embeddings", "token ids as input", "better", "400 that says why, and what to set"
)
@pytest.mark.parametrize("given", [[1, 2], [[1, 2], [3]]])
def test_token_ids_of_another_model_are_refused(embedder, given):
    answer = openai(embedder, given)
    assert answer.status_code == 400
    assert "check_embedding_ctx_length" in answer.json()["error"]["message"]


@pytest.mark.compat("POST /v1/embeddings", "errors in OpenAI's envelope", "same")
def test_openais_errors(embedder):
    answer = openai(embedder, model="nobody")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert openai(embedder, 7).json()["error"]["type"] == "invalid_request_error"


def test_a_text_without_a_token_is_refused(embedder):
    """Most tokenizers put tokens around an empty text; the tiny model's does not."""
    answer = embed(embedder, ["x", ""])
    assert answer.status_code == 400
    assert "text 2 of 2 has no tokens" in error_of(answer)


def test_half_a_surrogate_pair_does_not_break_the_service(embedder):
    content = json.dumps({"model": "embedder", "input": "a\ud800b"})
    answer = embedder.client.post("/api/embed", content=content)
    assert answer.json()["prompt_eval_count"] == 5


def test_more_texts_than_fit_into_an_answer_are_refused(embedder, monkeypatch):
    monkeypatch.setattr(embedding, "MOST_NUMBERS", 64)
    answer = embed(embedder, ["x"] * 5)
    assert answer.status_code == 400
    assert "one request may have 4" in error_of(answer)
    assert embed(embedder, ["x"] * 4).status_code == 200


@pytest.mark.compat("POST /api/embed", "many texts", "same", "sent to the engine in pieces")
def test_many_texts_go_in_pieces_of_about_one_length(own):
    service = own(Script())
    texts = [f"{number}" * (1 + number % 9) for number in range(100)]
    whole = embed(service, texts).json()
    assert len(whole["embeddings"]) == len(texts)
    sent = asked(service)
    assert all(len(piece) <= embedding.PIECE_TEXTS for piece in sent)
    assert sum(map(len, sent)) == len(texts)
    lengths = [len(ids) for piece in sent for ids in piece]
    assert lengths == sorted(lengths)
    alone = embed(service, texts[37]).json()["embeddings"][0]
    assert whole["embeddings"][37] == alone


@pytest.mark.slow
def test_others_get_their_turn_between_the_pieces(thread):
    with thread([Script(delay=0.02)], slots=1) as service:
        install(service.store)
        embed(service, None)
        done = []

        def run(texts, name):
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(service.socket))) as alone:
                body = {"model": "embedder", "input": texts}
                alone.post("http://service/api/embed", json=body, timeout=60)
            done.append(name)

        long = threading.Thread(target=run, args=(["x"] * 160, "long"))
        long.start()
        until(lambda: service.told("running", MODEL))
        run("y", "short")
        long.join()
        assert done == ["short", "long"]


@pytest.mark.compat("POST /api/embed", "a client that disconnects frees the engine", "same")
def test_a_client_that_leaves_ends_the_request(own):
    service = own(Script(delay=0.05))
    embed(service, None)
    with pytest.raises(httpx.ReadTimeout):
        service.client.post(
            "/api/embed", json={"model": "embedder", "input": ["x"] * 64}, timeout=0.3
        )
    until(lambda: not service.engine(MODEL)["running"])
    last = until(
        lambda: next((r for r in service.requests(MODEL) if r["cancelled_at"] is not None), None)
    )
    assert last["cancelled_at"] < len(last["prompt"])
    assert len(service.requests(MODEL)) < 4
    assert embed(service).status_code == 200


@pytest.mark.slow
@pytest.mark.compat("POST /api/embed", "a full queue", "same")
@pytest.mark.compat("POST /v1/embeddings", "a full queue", "better", "429 with Retry-After")
def test_a_full_queue_is_told(thread):
    with thread([Script(stall_after=0)], slots=1, env={"OLLAMA_MAX_QUEUE": "1"}) as service:
        install(service.store)
        embed(service, None)
        waiting = [threading.Thread(target=abandoned, args=(service,)) for _ in range(2)]
        for thread_ in waiting:
            thread_.start()
        until(lambda: (service.engine(MODEL)["running"], service.engine(MODEL)["queued"]) == (1, 1))
        answer = embed(service)
        assert answer.status_code == 503
        assert error_of(answer).startswith("server busy, please try again.  maximum pending")
        assert openai(service).status_code == 429
        for thread_ in waiting:
            thread_.join()


def abandoned(service):
    """Ask, and leave after a while."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(service.socket))) as alone:
        body = {"model": "embedder", "input": "x"}
        with pytest.raises(httpx.ReadTimeout):
            alone.post("http://service/api/embed", json=body, timeout=3)


@pytest.mark.compat("POST /api/embed", "a vector that is not of numbers", "same")
def test_a_vector_that_is_not_of_numbers_is_an_error(own):
    poison = 60
    service = own(Script(poison=poison))
    embed(service, None)
    text = service.client.post(
        "/api/detokenize", json={"model": "embedder", "tokens": [poison]}
    ).json()["content"]
    answer = embed(service, ["fine", text])
    assert answer.status_code == 400
    assert error_of(answer).startswith("embedding contains NaN or Inf values")
    assert embed(service, "fine").status_code == 200


@pytest.mark.compat("POST /api/embed", "an engine that fails", "same")
def test_an_engine_that_fails_is_told(own):
    service = own(Script(error_after=0))
    answer = embed(service)
    assert answer.status_code == 500
    assert "The engine failed with status 500" in error_of(answer)


@pytest.mark.compat("POST /api/embed", "an engine that dies", "better", "started anew")
def test_an_engine_that_dies_is_started_anew(thread):
    with thread([Script(die_after=0), Script()]) as service:
        install(service.store)
        answer = embed(service)
        assert answer.status_code == 500
        assert "ended while it was answering" in error_of(answer)
        assert embed(service).status_code == 200


@pytest.mark.compat(
    "POST /api/embed", "a limit on a request's time", "better", "504, where Ollama waits for ever"
)
def test_a_request_that_takes_too_long_is_ended(thread):
    env = {"HYPERLLAMA_REQUEST_TIMEOUT": "1"}
    with thread([Script(stall_after=0)], env=env) as service:
        install(service.store)
        answer = embed(service)
        assert answer.status_code == 504
        assert "1 s" in error_of(answer)
        until(lambda: not service.engine(MODEL)["running"])


def test_metrics_count_what_was_embedded(own):
    service = own(Script())
    embed(service, ["four", "five!"])
    text = service.client.get("/metrics").text
    assert f'hyperllama_tokens_total{{kind="prompt",model="{MODEL}"}} 9.0' in text
    assert f'hyperllama_queue_wait_seconds_count{{model="{MODEL}"}} 1.0' in text


def test_parallel_requests_all_get_their_own_vectors(embedder):
    found = {}

    def run(number):
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(embedder.socket))) as alone:
            body = {"model": "embedder", "input": [f"{number}", f"{number}!"]}
            answer = alone.post("http://service/api/embed", json=body, timeout=60)
            found[number] = answer.json()["embeddings"]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(24)]
    for thread_ in threads:
        thread_.start()
    for thread_ in threads:
        thread_.join()
    started = time.monotonic()
    for number, vectors in found.items():
        assert vectors == embed(embedder, [f"{number}", f"{number}!"]).json()["embeddings"]
    assert time.monotonic() - started < 60


def test_texts_are_cut_inside_what_the_tokenizer_puts_around_them(tmp_path):
    import tokenizers
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    from hyperllama_nb.service.tokens import Tokens

    words = {word: number for number, word in enumerate(["[CLS]", "[SEP]", "[UNK]", "a", "b"])}
    made = tokenizers.Tokenizer(WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.add_special_tokens(["[CLS]", "[SEP]", "[UNK]"])
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    made.enable_truncation(3)
    made.enable_padding(length=9)
    made.save(str(tmp_path / "tokenizer.json"))
    tokens = Tokens(tmp_path, "m")
    assert tokens.whole("a b a", 9) == ([0, 3, 4, 3, 1], 5)
    assert tokens.whole("a b a", 4) == ([0, 3, 4, 1], 5)
    assert tokens.whole("a b a", 3) == ([0, 3, 1], 5)
    assert tokens.whole("a b a", 2) == ([], 5)
    assert tokens.whole("", 2) == ([0, 1], 2)
    ids, _ = tokens.whole("a [SEP] b", 9)
    assert ids.count(1) == 1  # a text cannot say that it ends
