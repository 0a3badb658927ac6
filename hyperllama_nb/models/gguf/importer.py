"""Import: what MAX can run, and its configuration, made from a GGUF file."""

import json
from dataclasses import replace
from typing import Any

from hyperllama_nb.errors import ForeignFileError, InvalidFileError
from hyperllama_nb.models.gguf import rope, tokenizer
from hyperllama_nb.models.gguf.architectures import Shape, config, read_shape
from hyperllama_nb.models.gguf.check import Header, read_header
from hyperllama_nb.models.gguf.convert import check_kinds, convert, size_on_disk
from hyperllama_nb.models.gguf.whole import keep_whole, parameters, plain_text, quantization
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.work import Fetched, Staged, Work, megabytes


def default_encoding() -> str:
    """Return what weights become on this machine: bfloat16 with an accelerator, else float32."""
    from hyperllama_nb import hardware

    return "bfloat16" if hardware.detect().devices else "float32"


def import_gguf(
    source: Staged,
    work: Work,
    *,
    name: Name,
    text: str,
    revision: str | None = None,
    encoding: str | None = None,
    keep: bool = False,
) -> Fetched:
    """Make a model of a staged GGUF file.

    Matrices that MAX runs as they are stay: the GGUF itself becomes the weights. Other ones become
    `encoding` (float32, bfloat16; default: what this machine's devices want), and the GGUF is
    kept as the source. It is kept alone where nothing else can be made of it, or where `keep` asks
    for that, if an installed backend runs it so.
    Raises InvalidFileError for a file that is damaged or cannot be imported, NoSpaceError.
    """
    encoding = encoding or default_encoding()
    work.report("checking the GGUF file")
    whole = read_header(source.path)
    facts: dict[str, Any] = {
        "name": name,
        "source": text,
        "revision": revision or source.file.digest,
    }
    try:
        header, factors = rope.take_factors(source.path, whole)
        shape = read_shape(header, factors)
        runs_as = _runs_as_it_is(header, shape) if encoding == "float32" else None
        if runs_as is None:
            check_kinds(header)
    except ForeignFileError as error:
        try:
            kept = keep_whole(source, whole, work, facts)
        except InvalidFileError:
            kept = None  # why it cannot be imported says more
        if kept is None:
            raise
        work.report(f"keeping the GGUF file as it is: {error}")
        return kept
    # What a file says wrongly about itself is found above, whoever runs it.
    if keep and (kept := keep_whole(source, whole, work, facts)) is not None:
        return kept
    words = tokenizer.build(header.metadata, shape.context_length)
    if runs_as is not None:
        # MAX takes the encoding from the file's name alone.
        kept_file = replace(source.file, path=f"model-{_SPELLED[runs_as]}.gguf", role="weights")
        weights = [Staged(kept_file, source.path)]
    else:
        size = size_on_disk(header, encoding)
        work.report(f"importing as {encoding}: {megabytes(size)} on disk")
        work.require(size, "The import")
        weights = [source, convert(source.path, header, shape, encoding, work)]
    staged = (*weights, *_configuration(shape, words, runs_as or encoding, work))
    manifest = Manifest(
        **facts,
        files=tuple(item.file for item in staged),
        architecture=shape.architecture.name,
        family=shape.architecture.model_type,
        parameters=parameters(header),
        quantization=quantization(header),
        encoding=runs_as or encoding,
        context_length=shape.context_length,
        embedding_length=shape.hidden,
        layers=shape.layers,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        vocab_size=shape.vocab_size,
        format="gguf",
        template=plain_text(header, "tokenizer.chat_template"),
        license=plain_text(header, "general.license"),
    )
    return Fetched(manifest, staged)


_SPELLED = {"q4_k": "q4_k_m", "q6_k": "q6_k"}
"""How an encoding is written in a file name that MAX understands."""


def _runs_as_it_is(header: Header, shape: Shape) -> str | None:
    """Return the encoding under which MAX runs the file's own tensors on a CPU, or None.

    Only Llama's architecture does, with K-quants of four or six bits. Its Q4_0 embedding lookup
    reads past its buffers, so Q4_0 files are converted.
    """
    matrices = {tensor.kind.name for tensor in header.tensors.values() if len(tensor.shape) > 1}
    others = {tensor.kind.name for tensor in header.tensors.values() if len(tensor.shape) == 1}
    if shape.architecture.model_type != "llama" or others != {"F32"}:
        return None
    if matrices == {"Q6_K"}:
        return "q6_k"
    return "q4_k" if "Q4_K" in matrices and matrices <= {"Q4_K", "Q6_K"} else None


def _configuration(
    shape: Shape, words: tokenizer.Tokenizer, encoding: str, work: Work
) -> tuple[Staged, ...]:
    """Stage the files that say how the weights are used."""
    dtype = encoding if encoding in {"float32", "bfloat16"} else "float32"
    ids = {"bos_token_id": words.bos, "eos_token_id": words.eos, "pad_token_id": words.pad}
    known = {key: id_ for key, id_ in ids.items() if id_ is not None}
    stops: Any = words.stops[0] if len(words.stops) == 1 else list(words.stops)
    generation = {**known, **({"eos_token_id": stops} if words.stops else {})}
    files = (
        ("config.json", "config", json.dumps({**config(shape, dtype), **known}, indent=1)),
        ("generation_config.json", "config", json.dumps(generation, indent=1)),
        ("tokenizer.json", "tokenizer", words.tokenizer_json),
        ("tokenizer_config.json", "tokenizer", words.tokenizer_config_json),
    )
    return tuple(work.write(path, role, text.encode()) for path, role, text in files)
