"""Embeddings of real MAX, against another implementation of the same model."""

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from hyperllama_nb import Client
from hyperllama_nb.models import Store
from hyperllama_nb.runtime import socket_path
from tests.integration import bert_gguf
from tests.integration.minilm import MiniLM

MODEL = "all-minilm:latest"

TEXTS = (
    "a cat",
    "A cat sat on the mat.",
    "A kitten lay on the rug.",
    "The invoice is due on 31 March 2026.",
    "What is the capital of France?",
    "Paris is the capital of France.",
    "The quick brown fox jumps over the lazy dog",
    "unbelievably antidisestablishmentarianism",
    "def add(a, b):\n    return a + b",
    "SELECT name FROM users WHERE age >= 21;",
    "E = mc²",
    "3.14159, 2.71828 and 1,000,000",
    "Où est la bibliothèque ? À côté.",
    "Straße, Übung, ÄÖÜ",
    "Señor Núñez vive en España.",
    "東京は日本の首都です。",
    "中文 and English in one sentence",
    "Привет, мир",
    "emoji 🙂 and more 🎉🎉",
    "tabs\tand\nnew lines  and   spaces",
    "[SEP] is no end, and [PAD] is no padding",
    "https://example.org/a?b=c&d=e#f",
    "!!!",
    "",
    "word " * 100,
    "It was the best of times, it was the worst of times. " * 40,
)


@pytest.fixture(scope="module")
def service(client: Client) -> Iterator[httpx.Client]:
    """Return a client of the service, with the embedder loaded."""
    client.load(MODEL, keep_alive="1h")
    transport = httpx.HTTPTransport(uds=str(socket_path()))
    with httpx.Client(transport=transport, base_url="http://service", timeout=120) as own:
        yield own
    client.unload(MODEL)


@pytest.fixture(scope="module")
def reference(models: str) -> MiniLM:
    """Return the same weights in numpy."""
    store = Store()
    return MiniLM(store.view(store.get(MODEL)))


@pytest.mark.compat("POST /api/embed", "all-minilm on MAX: the right vectors", "same")
def test_vectors_are_those_of_another_implementation(
    service: httpx.Client, reference: MiniLM
) -> None:
    whole = service.post("/api/embed", json={"model": MODEL, "input": TEXTS}).json()
    vectors = np.array(whole["embeddings"])
    expected = np.array([reference.embed(text) for text in TEXTS])
    cosines = (vectors * expected).sum(axis=1)
    print(f"smallest cosine of {len(TEXTS)}: {cosines.min():.9f}")
    assert cosines.min() >= 0.999
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    counts = [len(reference.tokens(text)) for text in TEXTS]
    assert whole["prompt_eval_count"] == sum(counts)
    assert max(counts) == whole["hyperllama"]["context_length"] == 256


def test_a_text_has_the_same_vector_alone_and_among_others(service: httpx.Client) -> None:
    texts = list(TEXTS[:9])
    among = service.post("/api/embed", json={"model": MODEL, "input": texts}).json()
    for text, vector in zip(texts, among["embeddings"], strict=True):
        alone = service.post("/api/embeddings", json={"model": MODEL, "prompt": text}).json()
        assert alone["embedding"] == pytest.approx(vector, abs=1e-5)


def test_num_ctx_reaches_what_the_model_was_made_for(
    service: httpx.Client, reference: MiniLM
) -> None:
    long = "word " * 400
    for num_ctx in (8, 512):
        body = {"model": MODEL, "input": long, "options": {"num_ctx": num_ctx}}
        whole = service.post("/api/embed", json=body).json()
        assert whole["prompt_eval_count"] == min(num_ctx, 402)
        cosine = np.dot(whole["embeddings"][0], reference.embed(long, num_ctx))
        assert cosine >= 0.999
    body["truncate"] = False
    assert service.post("/api/embed", json={**body, "input": "word " * 600}).status_code == 400


@pytest.mark.compat("POST /v1/embeddings", "all-minilm on MAX: base64", "same")
def test_openais_form(service: httpx.Client) -> None:
    body = {"model": MODEL, "input": ["a cat", "a dog"], "encoding_format": "base64"}
    whole = service.post("/v1/embeddings", json=body).json()
    cat, dog = (np.frombuffer(base64.b64decode(i["embedding"]), "<f4") for i in whole["data"])
    assert cat.shape == (384,)
    assert 0.3 < float(cat @ dog) < 0.9
    assert whole["usage"]["prompt_tokens"] == 8


@pytest.mark.compat("POST /api/embed", "a BERT model in a GGUF file, on llama.cpp", "same")
def test_a_gguf_file_has_the_same_vectors_on_another_backend(
    service: httpx.Client, client: Client, reference: MiniLM, tmp_path: Path
) -> None:
    store = Store()
    bert_gguf.write(store.view(store.get(MODEL)), tmp_path / "minilm.gguf")
    name = "minilm-of-gguf:latest"
    client.pull(f"file:{tmp_path}/minilm.gguf", name=name)
    try:
        body = {"model": name, "input": TEXTS, "options": {"num_ctx": 256}}
        whole = service.post("/api/embed", json=body).json()
        cosines = [
            float(np.dot(vector, reference.embed(text)))
            for text, vector in zip(TEXTS, whole["embeddings"], strict=True)
        ]
        assert min(cosines) >= 0.999
        assert whole["prompt_eval_count"] == sum(len(reference.tokens(text)) for text in TEXTS)
        assert whole["hyperllama"]["backend"] == "llamacpp"
        assert service.post("/api/show", json={"model": name}).json()["capabilities"] == [
            "embedding"
        ]
    finally:
        client.delete(name)


def test_it_is_shown_as_what_it_is(service: httpx.Client) -> None:
    shown = service.post("/api/show", json={"model": "all-minilm"}).json()
    assert shown["capabilities"] == ["embedding"]
    assert shown["model_info"]["general.architecture"] == "bert"
    assert shown["model_info"]["bert.embedding_length"] == 384
    assert shown["model_info"]["bert.context_length"] == 512
    assert shown["parameters"].split() == ["num_ctx", "256"]
    assert shown["license"] == "apache-2.0"
    running = service.get("/api/ps").json()["models"]
    assert next(m for m in running if m["name"] == MODEL)["context_length"] == 512
