"""Pieces of text: together they are the whole, and none has half a character."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from hyperllama_nb.engines.max.lean.text import Text, Vocabulary
from tests.engines.lean.fake import EOS


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=60))
def test_the_pieces_are_the_text(vocabulary: Vocabulary, text: str) -> None:
    stream = Text(vocabulary, vocabulary.encode("the llama")[-8:])
    pieces = [stream.add(token) for token in vocabulary.encode(text)]
    assert "".join(pieces) == text


def test_half_a_character_is_an_empty_piece(vocabulary: Vocabulary) -> None:
    stream = Text(vocabulary, [])
    pieces = [stream.add(token) for token in vocabulary.encode("a🦙b")]
    assert pieces == ["a", "", "", "", "🦙", "b"]


def test_a_prompt_that_ends_in_half_a_character(vocabulary: Vocabulary) -> None:
    tokens = vocabulary.encode("🦙")
    stream = Text(vocabulary, tokens[:2])
    pieces = [stream.add(token) for token in vocabulary.encode("ok")]
    assert pieces == ["o", "k"]


def test_a_byte_that_begins_no_character_holds_nothing_up_for_good(vocabulary: Vocabulary) -> None:
    stream = Text(vocabulary, [])
    lone = vocabulary.encode("🦙")[-1]
    pieces = [stream.add(token) for token in [lone, *vocabulary.encode("ok")]]
    assert "".join(pieces) == "\ufffdok"


def test_special_tokens_are_left_out(vocabulary: Vocabulary) -> None:
    stream = Text(vocabulary, [])
    assert "".join(map(stream.add, [*vocabulary.encode("a"), EOS, *vocabulary.encode("b")])) == "ab"
    assert vocabulary.spell(EOS) == "<end>"


def test_spaces_of_a_tokenizer_that_strips_them_where_a_text_begins(tmp_path: Path) -> None:
    vocab = {"<unk>": 0, "▁hello": 1, "▁world": 2, "s": 3}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    stream = Text(Vocabulary(tmp_path), [1])
    assert [stream.add(token) for token in (2, 3, 2)] == [" world", "s", " world"]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, frozenset()),
        ({"config.json": {"eos_token_id": 3}}, {3}),
        ({"generation_config.json": {"eos_token_id": [3, 4]}, "config.json": {}}, {3, 4}),
        ({"tokenizer_config.json": {"eos_token": "<end>"}}, {EOS}),
        ({"tokenizer_config.json": {"eos_token": {"content": "<end>"}}}, {EOS}),
        ({"tokenizer_config.json": {"eos_token": "<none>"}, "config.json": []}, frozenset()),
    ],
)
def test_the_tokens_that_end_a_text(
    tmp_path: Path, directory: Path, files: dict[str, object], wanted: set[int]
) -> None:
    (tmp_path / "tokenizer.json").write_bytes((directory / "tokenizer.json").read_bytes())
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert Vocabulary(tmp_path).eos == wanted
