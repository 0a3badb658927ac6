"""WordPiece vocabularies of GGUF files: the tokens that BERT's own tokenizer gives."""

import json
from typing import Any

import pytest
import tokenizers

from hyperllama_nb.errors import InvalidFileError
from hyperllama_nb.models.gguf.tokenizer import build

TOKENS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("▁a", "▁cat", "s", "▁is", "▁un", "believ", "able", "▁.", "▁東", "▁[", "▁]", "▁sep"),
]
METADATA = {
    "tokenizer.ggml.model": "bert",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [3] * 5 + [1] * (len(TOKENS) - 5),
    "tokenizer.ggml.bos_token_id": 2,
    "tokenizer.ggml.seperator_token_id": 3,
    "tokenizer.ggml.padding_token_id": 0,
    "tokenizer.ggml.unknown_token_id": 1,
}

BARE = {"tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": TOKENS}


def encode(text: str, metadata: dict[str, Any] = METADATA, *, literal: bool = False) -> list[str]:
    tokenizer = tokenizers.Tokenizer.from_str(build(metadata, 512).tokenizer_json)
    tokenizer.encode_special_tokens = literal
    return list(tokenizer.encode(text).tokens)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("A cat.", ["a", "cat", "."]),
        ("cats is unbelievable", ["cat", "##s", "is", "un", "##believ", "##able"]),
        ("CÀTS", ["cat", "##s"]),
        ("東東", ["東", "東"]),
        ("dog a", ["[UNK]", "a"]),
    ],
)
def test_texts_become_the_pieces_of_their_words(text: str, tokens: list[str]) -> None:
    assert encode(text) == ["[CLS]", *tokens, "[SEP]"]


def test_special_tokens_can_be_text() -> None:
    assert encode("[SEP]", literal=True) == ["[CLS]", "[", "sep", "]", "[SEP]"]


def test_the_ids_are_the_files() -> None:
    words = build(METADATA, 512)
    assert (words.bos, words.eos, words.pad, words.stops) == (2, 3, 0, (3,))
    config = json.loads(words.tokenizer_config_json)
    assert config["cls_token"] == "[CLS]"
    assert config["model_max_length"] == 512
    tokenizer = tokenizers.Tokenizer.from_str(words.tokenizer_json)
    assert tokenizer.encode("cats").ids == [2, 6, 7, 3]


def test_special_tokens_are_found_by_their_text_where_no_key_names_them() -> None:
    assert encode("a", BARE) == ["[CLS]", "a", "[SEP]"]


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({**BARE, "tokenizer.ggml.tokens": ["▁a", "b"]}, r"\[CLS\] and no \[SEP\]"),
        ({**METADATA, "tokenizer.ggml.token_type": [1]}, "a type for each"),
        ({**METADATA, "tokenizer.ggml.tokens": [*TOKENS[:-1], "▁a"]}, "a token twice"),
        (
            {**METADATA, "tokenizer.ggml.tokens": [t.replace("▁", "x") for t in TOKENS]},
            "does not mark",
        ),
        ({**BARE, "tokenizer.ggml.tokens": []}, "carries no tokenizer"),
    ],
)
def test_a_vocabulary_that_is_not_one_is_refused(metadata: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidFileError, match=words):
        build(metadata, 512)
