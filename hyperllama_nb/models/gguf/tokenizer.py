"""A GGUF's vocabulary, byte-level BPE or WordPiece, as the files that MAX and `tokenizers` read."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from hyperllama_nb.errors import InvalidFileError
from hyperllama_nb.models.gguf import wordpiece

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
"""Token types of GGML that are found in a text before it is split into words."""

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Splitter(NamedTuple):
    """How a pre-tokenizer cuts a text into words: regular expressions, applied in turn."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False
    normalizer: str | None = None


SPLITTERS = {
    "gpt-2": Splitter((_GPT2,)),
    "smollm": Splitter((r"\p{N}", _GPT2)),
    "llama-bpe": Splitter((_LLAMA3,), ignore_merges=True, add_bos=True),
    "qwen2": Splitter((_LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"),), normalizer="NFC"),
}
"""By the name in `tokenizer.ggml.pre`. Each is proven against llama.cpp's own token ids."""


class Tokenizer(NamedTuple):
    """The tokenizer of a model: the texts of its two files, and the ids that matter."""

    tokenizer_json: str
    tokenizer_config_json: str
    bos: int | None
    eos: int | None
    pad: int | None
    stops: tuple[int, ...]
    """Every token that ends an answer."""


def build(metadata: Mapping[str, Any], context_length: int) -> Tokenizer:
    """Return the tokenizer files for a GGUF's metadata.

    Raises InvalidFileError for a vocabulary that is incomplete, or of a kind or with a
    pre-tokenizer that is not known here.
    """
    if metadata.get("tokenizer.ggml.model") == "bert":
        return _wordpiece(metadata, context_length)
    splitter = _splitter(metadata)
    tokens = _strings(metadata, "tokenizer.ggml.tokens")
    merges = [_pair(merge) for merge in _strings(metadata, "tokenizer.ggml.merges")]
    types = metadata.get("tokenizer.ggml.token_type", [1] * len(tokens))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens) or not isinstance(types, list) or len(types) != len(tokens):
        raise InvalidFileError(
            "The GGUF file's vocabulary has a token twice, or not a type for each. Choose another "
            "file."
        )
    special = {
        number: type_ != _USER_DEFINED
        for number, type_ in enumerate(types)
        if type_ in {_UNKNOWN, _CONTROL, _USER_DEFINED} and tokens[number]
    }
    ids = {kind: _id(metadata, kind, len(tokens)) for kind in ("bos", "eos", "eot", "padding")}
    bos = ids["bos"] if metadata.get("tokenizer.ggml.add_bos_token", splitter.add_bos) else None
    eos = ids["eos"] if metadata.get("tokenizer.ggml.add_eos_token", False) else None
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(number, tokens[number], flag) for number, flag in special.items()],
        "normalizer": {"type": splitter.normalizer} if splitter.normalizer else None,
        "pre_tokenizer": _pre_tokenizer(splitter),
        "post_processor": _post_processor(tokens, bos, eos),
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": splitter.ignore_merges,
            "vocab": vocabulary,
            "merges": merges,
        },
    }
    text = json.dumps(content, ensure_ascii=False)
    _prove(text)
    named = {"bos": ids["bos"], "eos": ids["eos"], "pad": ids["padding"]}
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": bos is not None,
        "add_eos_token": eos is not None,
        **{f"{kind}_token": tokens[id_] for kind, id_ in named.items() if id_ is not None},
    }
    if template := metadata.get("tokenizer.chat_template"):
        config["chat_template"] = template
    stops = tuple(dict.fromkeys(id_ for id_ in (ids["eos"], ids["eot"]) if id_ is not None))
    return Tokenizer(
        text,
        json.dumps(config, ensure_ascii=False, indent=1),
        ids["bos"],
        ids["eos"],
        ids["padding"],
        stops,
    )


def _wordpiece(metadata: Mapping[str, Any], context_length: int) -> Tokenizer:
    tokens = _strings(metadata, "tokenizer.ggml.tokens")
    types = metadata.get("tokenizer.ggml.token_type", [1] * len(tokens))
    if not isinstance(types, list) or len(types) != len(tokens):
        raise InvalidFileError(
            "The GGUF file's vocabulary has not a type for each token. Choose another file."
        )
    text, config, ids = wordpiece.build(metadata, tokens, types, context_length)
    _prove(text)
    return Tokenizer(text, config, ids["cls"], ids["sep"], ids.get("pad"), (ids["sep"],))


_BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": False,
}


def _splitter(metadata: Mapping[str, Any]) -> Splitter:
    model = metadata.get("tokenizer.ggml.model")
    if model != "gpt2":
        raise InvalidFileError(
            f"The GGUF file's tokenizer is of the kind {str(model)[:80]!r}, and only byte-level "
            "BPE ('gpt2') and WordPiece ('bert') can be imported. Pull the model's own repository "
            "with hf:organisation/repository instead."
        )
    name = metadata.get("tokenizer.ggml.pre", "default")
    splitter = SPLITTERS.get(name) if isinstance(name, str) else None
    if splitter is None:
        raise InvalidFileError(
            f"The GGUF file's pre-tokenizer {str(name)[:80]!r} is not known here (known: "
            f"{', '.join(SPLITTERS)}), and a guess would give the model wrong tokens. Pull the "
            "model's own repository with hf:organisation/repository instead."
        )
    return splitter


def _pre_tokenizer(splitter: Splitter) -> dict[str, Any]:
    splits = [
        {
            "type": "Split",
            "pattern": {"Regex": pattern},
            "behavior": "Isolated",
            "invert": False,
        }
        for pattern in splitter.patterns
    ]
    return {"type": "Sequence", "pretokenizers": [*splits, _BYTE_LEVEL]}


def _post_processor(tokens: list[str], bos: int | None, eos: int | None) -> dict[str, Any]:
    if bos is None and eos is None:
        return _BYTE_LEVEL
    before = [] if bos is None else [{"SpecialToken": {"id": tokens[bos], "type_id": 0}}]
    after = [] if eos is None else [{"SpecialToken": {"id": tokens[eos], "type_id": 0}}]
    return {
        "type": "TemplateProcessing",
        "single": [*before, {"Sequence": {"id": "A", "type_id": 0}}, *after],
        "pair": [
            *(*before, {"Sequence": {"id": "A", "type_id": 0}}, *after),
            *(*before, {"Sequence": {"id": "B", "type_id": 1}}, *after),
        ],
        "special_tokens": {
            tokens[id_]: {"id": tokens[id_], "ids": [id_], "tokens": [tokens[id_]]}
            for id_ in (bos, eos)
            if id_ is not None
        },
    }


def _added(number: int, content: str, special: bool) -> dict[str, Any]:
    return {
        "id": number,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }


def _strings(metadata: Mapping[str, Any], key: str) -> list[str]:
    values = metadata.get(key)
    if not isinstance(values, list) or not values or type(values[0]) is not str:
        raise InvalidFileError(
            f"The GGUF file has no {key}, so it carries no tokenizer. Choose a complete file."
        )
    return values


def _pair(merge: str) -> list[str]:
    left, space, right = merge.partition(" ")
    if not (left and space and right) or " " in right:
        raise InvalidFileError(
            f"The GGUF file's merge {merge[:80]!r} is not two tokens. Choose another file."
        )
    return [left, right]


def _id(metadata: Mapping[str, Any], kind: str, count: int) -> int | None:
    value = metadata.get(f"tokenizer.ggml.{kind}_token_id")
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < count:
        raise InvalidFileError(
            f"The GGUF file's {kind} token {str(value)[:80]} is not in its vocabulary. "
            "Choose another file."
        )
    return value


def _prove(text: str) -> None:
    """Raise InvalidFileError unless the tokenizer library can build the tokenizer."""
    import tokenizers

    try:
        tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing more specific
        raise InvalidFileError(
            f"The GGUF file's vocabulary is not consistent: {str(error)[:200]}. Choose another "
            "file."
        ) from error
