"""A GGUF's WordPiece vocabulary, which BERT's family has, as the files that `tokenizers` reads."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hyperllama_nb.errors import InvalidFileError

_FIRST = "\u2581"
"""Marks the first piece of a word; in BERT's own files the other ones are marked, with `##`."""

_CONTROL, _UNKNOWN = 3, 2
_LONGEST_WORD = 100
_NAMES = {
    "cls": ("[CLS]", "cls_token_id", "bos_token_id"),
    "sep": ("[SEP]", "seperator_token_id", "separator_token_id", "eos_token_id"),
    "unk": ("[UNK]", "unknown_token_id"),
    "pad": ("[PAD]", "padding_token_id"),
    "mask": ("[MASK]", "mask_token_id"),
}
"""How each special token is written, and the keys that may give its number."""


def build(
    metadata: Mapping[str, Any], tokens: Sequence[str], types: Sequence[int], context_length: int
) -> tuple[str, str, dict[str, int]]:
    """Return `tokenizer.json`, `tokenizer_config.json`, and the ids of the special tokens.

    Texts are lowered and lose their accents, as in llama.cpp. Raises InvalidFileError for a
    vocabulary that is inconsistent, or lacks the tokens that begin and end a text, or the one for
    an unknown word.
    """
    special = {number for number, kind in enumerate(types) if kind in {_CONTROL, _UNKNOWN}} | {
        tokens.index(names[0]) for names in _NAMES.values() if names[0] in tokens
    }
    ids = {kind: _id(metadata, tokens, *names) for kind, names in _NAMES.items()}
    missing = [_NAMES[kind][0] for kind in ("cls", "sep", "unk") if ids[kind] is None]
    if missing:
        raise InvalidFileError(
            f"The GGUF file's vocabulary has no {' and no '.join(missing)}, so texts cannot be "
            "tokenised. Choose another file."
        )
    known = {kind: number for kind, number in ids.items() if number is not None}
    special |= set(known.values())
    words = [t if number in special else _piece(t) for number, t in enumerate(tokens)]
    named = {kind: words[number] for kind, number in known.items()}
    vocabulary = {word: number for number, word in enumerate(words)}
    if len(vocabulary) != len(words) or not any(token.startswith(_FIRST) for token in tokens):
        raise InvalidFileError(
            "The GGUF file's vocabulary has a token twice, or does not mark the first pieces of "
            "words, so that it would be read wrongly. Choose another file."
        )
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(number, words[number]) for number in sorted(special)],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": True,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "BertProcessing",
            "sep": [named["sep"], known["sep"]],
            "cls": [named["cls"], known["cls"]],
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": named["unk"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": _LONGEST_WORD,
            "vocab": vocabulary,
        },
    }
    config = {
        "tokenizer_class": "BertTokenizer",
        "model_max_length": context_length,
        "do_lower_case": True,
        **{f"{kind}_token": text for kind, text in named.items()},
    }
    return (
        json.dumps(content, ensure_ascii=False),
        json.dumps(config, ensure_ascii=False, indent=1),
        known,
    )


def _piece(token: str) -> str:
    return token[1:] if token.startswith(_FIRST) else f"##{token}"


def _id(metadata: Mapping[str, Any], tokens: Sequence[str], text: str, *keys: str) -> int | None:
    """Return the number of a special token, by the first key that is there, or by its text."""
    for key in keys:
        value = metadata.get(f"tokenizer.ggml.{key}")
        if type(value) is int and 0 <= value < len(tokens):
            return value
    return tokens.index(text) if text in tokens else None


def _added(number: int, content: str) -> dict[str, Any]:
    return {
        "id": number,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
