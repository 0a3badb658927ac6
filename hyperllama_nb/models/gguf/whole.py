"""A GGUF file as a model without any import: for engines that read the file themselves."""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperllama_nb.errors import InvalidFileError
from hyperllama_nb.models.gguf import tokenizer
from hyperllama_nb.models.gguf.architectures import ARCHITECTURES
from hyperllama_nb.models.gguf.check import Header
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.work import Fetched, Staged, Work

WHOLE = "gguf "
"""How the encoding of such a model begins; no engine of safetensors has it."""


def keep_whole(
    source: Staged, header: Header, work: Work, facts: Mapping[str, Any]
) -> Fetched | None:
    """Return the model whose only weights are the file itself; None if no backend would run it.

    `facts` are the fields of the manifest that come from elsewhere. The tokenizer is still made,
    since prompts are tokenised by the service. Raises InvalidFileError.
    """
    read = _Sizes(header.metadata)
    context = read.size("context_length")
    heads = read.size("attention.head_count")
    hidden = read.size("embedding_length")
    words = tokenizer.build(header.metadata, context)
    family, kind = read.family, quantization(header)
    known = ARCHITECTURES.get(family)
    # What makes vectors of texts says how it pools them.
    suffix = "Model" if f"{family}.pooling_type" in header.metadata else "ForCausalLM"
    files = (
        source,
        work.write("tokenizer.json", "tokenizer", words.tokenizer_json.encode()),
        work.write("tokenizer_config.json", "tokenizer", words.tokenizer_config_json.encode()),
    )
    manifest = Manifest(
        **facts,
        files=tuple(item.file for item in files),
        architecture=known.name if known and suffix != "Model" else f"{family}{suffix}",
        family=family,
        parameters=parameters(header),
        quantization=kind,
        encoding=f"{WHOLE}{kind}",
        context_length=context,
        embedding_length=hidden,
        layers=read.size("block_count"),
        kv_heads=read.size("attention.head_count_kv", heads),
        head_dim=read.size("attention.key_length", max(1, hidden // heads)),
        vocab_size=len(header.metadata["tokenizer.ggml.tokens"]),
        format="gguf",
        template=plain_text(header, "tokenizer.chat_template"),
        license=plain_text(header, "general.license"),
    )
    return Fetched(manifest, files) if work.runs(manifest, source.path) else None


def outdated(manifest: Manifest, source: Path, work: Work) -> bool:
    """Tell whether a model was kept whole, and no backend runs it so any more."""
    return manifest.encoding.startswith(WHOLE) and not work.runs(manifest, source)


class _Sizes:
    """The sizes of any architecture; where each layer has its own, the largest counts."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        self.family = str(metadata.get("general.architecture", ""))[:80]

    def size(self, key: str, default: int | None = None) -> int:
        value = self._metadata.get(f"{self.family}.{key}", default)
        if isinstance(value, list):
            value = max((item for item in value if type(item) is int), default=None)
        if type(value) is not int or not 0 < value < 1 << 31:
            raise InvalidFileError(
                f"The GGUF file does not say its {self.family}.{key}. Choose another file."
            )
        return value


def parameters(header: Header) -> int:
    """Return the number of weights."""
    return sum(math.prod(tensor.shape) for tensor in header.tensors.values())


def plain_text(header: Header, key: str) -> str | None:
    """Return a text of the metadata, None if there is none."""
    value = header.metadata.get(key)
    return value if isinstance(value, str) and value else None


def quantization(header: Header) -> str:
    """Return the kind that most of the weights have, with the suffix of its mixture."""
    counts: Counter[str] = Counter()
    for tensor in header.tensors.values():
        if tensor.name.startswith("blk.") and len(tensor.shape) > 1:
            counts[tensor.kind.name] += math.prod(tensor.shape)
    if not counts:
        raise InvalidFileError("The GGUF file has no layers. Choose a complete file.")
    kind = counts.most_common(1)[0][0]
    number = header.metadata.get("general.file_type")
    mixture = _MIXTURES.get(number) if type(number) is int else None
    return mixture if mixture and mixture.startswith(kind) else kind


_MIXTURES = {
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
}
"""Mixtures of kinds that have a name of their own, by `general.file_type`."""
