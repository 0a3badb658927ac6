"""Text to token ids and back, without an engine."""

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from hyperllama_nb.testing import install_tiny, tiny_model
from tests.service.hosting import error_of

# The tiny model has a token for each byte, after its three special ones.
START, END = 1, 2


def tokenize(client, **body):
    return client.post("/api/tokenize", json={"model": "tiny", **body})


def detokenize(client, tokens, **body):
    return client.post("/api/detokenize", json={"model": "tiny", "tokens": tokens, **body})


@pytest.mark.compat("POST /api/tokenize", "text to token ids", "better", "Ollama has no such route")
@pytest.mark.compat(
    "POST /api/detokenize", "token ids to text", "better", "Ollama has no such route"
)
def test_text_goes_to_ids_and_back(service, client):
    for text in ("Hello", "Grüße, 世界", "a\nb\u0085c", "🦙" * 3, " "):
        tokens = tokenize(client, content=text).json()["tokens"]
        assert len(tokens) == len(text.encode())
        assert detokenize(client, tokens).json() == {"content": text}
    assert tokenize(client, content="").json() == {"tokens": []}
    assert detokenize(client, []).json() == {"content": ""}
    assert service.status()["engines"] == []


@pytest.mark.parametrize("field", ["content", "text", "prompt", "Content"])
def test_the_text_has_any_of_its_usual_names(client, field):
    assert len(tokenize(client, **{field: "four"}).json()["tokens"]) == 4


def test_special_tokens_are_read_or_left_as_text(client):
    text = "<|im_start|>a<|im_end|>"
    tokens = tokenize(client, content=text).json()["tokens"]
    assert (tokens[0], len(tokens), tokens[-1]) == (START, 3, END)
    assert detokenize(client, tokens).json()["content"] == text
    literal = tokenize(client, content=text, parse_special=False).json()["tokens"]
    assert len(literal) == len(text)
    assert not {START, END} & set(literal)
    assert detokenize(client, literal).json()["content"] == text


def test_special_tokens_of_the_tokenizer_are_added_on_request(service, client, tmp_path):
    directory = tiny_model(tmp_path / "starts")
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", START)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    service.store.pull(f"file:{directory}", name="starts")
    for special in (True, False):
        fields = {"model": "starts", "content": "ab", "parse_special": special}
        plain = tokenize(client, **fields).json()["tokens"]
        with_start = tokenize(client, **fields, add_special=True).json()["tokens"]
        assert with_start == [START, *plain]
    service.store.delete("starts")


@pytest.mark.parametrize("length", [4_001, 200_000])
def test_a_long_text_is_whole(client, length):
    tokens = tokenize(client, content="x" * length).json()["tokens"]
    assert len(tokens) == length
    assert detokenize(client, tokens).json()["content"] == "x" * length


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("tokenize", {"model": "tiny"}, 400, "There is no text to tokenize"),
        ("tokenize", {"model": "tiny", "content": 1}, 400, "json: cannot unmarshal number"),
        ("tokenize", {"model": "tiny", "content": ["a"]}, 400, "json: cannot unmarshal array"),
        ("tokenize", {"content": "x"}, 404, "model '' not found"),
        ("tokenize", {"model": "nope", "content": "x"}, 404, "model 'nope' not found"),
        ("tokenize", {"model": "x!", "content": "x"}, 400, "invalid model name"),
        ("detokenize", {"model": "tiny"}, 400, "There are no token ids"),
        ("detokenize", {"model": "tiny", "tokens": "x"}, 400, "json: cannot unmarshal `tokens`"),
        ("detokenize", {"model": "tiny", "tokens": [1.5]}, 400, "json: cannot unmarshal `tokens`"),
        ("detokenize", {"model": "tiny", "tokens": [True]}, 400, "json: cannot unmarshal `tokens`"),
        ("detokenize", {"model": "tiny", "tokens": [-1]}, 400, "-1 is not a token id"),
        ("detokenize", {"model": "tiny", "tokens": [2**40]}, 400, "1099511627776 is not a token"),
        ("detokenize", {"model": "nope", "tokens": [1]}, 404, "model 'nope' not found"),
    ],
)
def test_what_is_wrong_is_said(client, path, body, status, text):
    response = client.post(f"/api/{path}", json=body)
    assert response.status_code == status
    assert error_of(response).startswith(text)


def test_an_embedding_model_has_a_tokenizer_too(service, client):
    install_tiny(service.store, "embedder", architecture="BertModel")
    plain = tokenize(client, model="embedder", content="abc").json()["tokens"]
    assert len(plain) == 3
    around = tokenize(client, model="embedder", content="abc", add_special=True).json()["tokens"]
    assert around == plain  # this tokenizer puts nothing around a text
    service.store.delete("embedder")
