"""Import: what MAX can run, and its configuration, made from a GGUF file."""

import json
from dataclasses import replace
from typing import Any

from hyperllama_nb.errors import ForeignFileError, InvalidFileError
from hyperllama_nb.models.gguf import quantize, rope, tokenizer
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

    Matrices that MAX runs as they are stay: the GGUF itself becomes the weights. Where the work
    asks for q4_0, or a Q4_0 file has other kinds in its embeddings, a GGUF in Q4_0 is made and is
    all that is kept. Other matrices become `encoding` (float32, bfloat16; default: what this
    machine's devices want), and the GGUF is kept as the source. It is kept alone where nothing
    else can be made of it, or where `keep` asks for that, if an installed backend runs it so.
    Raises InvalidFileError for a file that is damaged or cannot be imported, or not as it is
    asked, NoSpaceError.
    """
    encoding = encoding or default_encoding()
    asked = work.quantize
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
        runs_as = _runs_as(header, shape, asked) if encoding == "float32" or asked else None
        if runs_as is None or not _is_ready(header, runs_as):
            check_kinds(header)
    except ForeignFileError as error:
        if asked is not None:
            raise InvalidFileError(f"The model cannot be re-encoded as {asked}. {error}") from error
        try:
            kept = keep_whole(source, whole, work, facts)
        except InvalidFileError:
            kept = None  # why it cannot be imported says more
        if kept is None:
            raise
        work.report(f"keeping the GGUF file as it is: {error}")
        return kept
    # What a file says wrongly about itself is found above, whoever runs it.
    if keep and asked is None and (kept := keep_whole(source, whole, work, facts)) is not None:
        return kept
    words = tokenizer.build(header.metadata, shape.context_length)
    weights = _weights(source, whole, header, shape, runs_as, encoding, work)
    staged = (*weights, *_configuration(shape, words, runs_as or encoding, work))
    manifest = Manifest(
        **facts,
        files=tuple(item.file for item in staged),
        architecture=shape.architecture.name,
        family=shape.architecture.model_type,
        parameters=parameters(header),
        quantization="Q4_0" if runs_as == "q4_0" else quantization(header),
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


_SPELLED = {"q4_0": "q4_0", "q4_k": "q4_k_m", "q6_k": "q6_k"}
"""How an encoding is written in a file name that MAX understands."""


def _weights(
    source: Staged,
    whole: Header,
    header: Header,
    shape: Shape,
    runs_as: str | None,
    encoding: str,
    work: Work,
) -> list[Staged]:
    """Stage the weights, and the source where it is not itself among them."""
    if runs_as is None:
        size = size_on_disk(header, encoding)
        work.report(f"importing as {encoding}: {megabytes(size)} on disk")
        work.require(size, "The import")
        return [source, convert(source.path, header, shape, encoding, work)]
    if _is_ready(header, runs_as):
        # MAX takes the encoding from the file's name alone.
        kept = replace(source.file, path=f"model-{_SPELLED[runs_as]}.gguf", role="weights")
        return [Staged(kept, source.path)]
    quantize.check(header, shape)
    size = quantize.size_on_disk(whole)
    work.report(f"quantizing to q4_0: {megabytes(size)} on disk")
    work.require(size, "The import")
    return [quantize.quantize(source.path, whole, work)]


def _runs_as(header: Header, shape: Shape, asked: str | None) -> str | None:
    """Return the encoding under which MAX runs a GGUF file on a CPU: `asked`, the file's, or None.

    Only Llama's architecture runs so: in Q4_0, or with K-quants of four or six bits. A file is
    Q4_0 if its layers are: whoever chose it wants that, whatever its embeddings have.
    Raises InvalidFileError for a model that cannot be what is asked.
    """
    if asked is not None:
        quantize.check(header, shape)
        return asked
    if shape.architecture.model_type != "llama":
        return None
    layers = {t.kind.name for t in header.tensors.values() if t.name.startswith("blk.")} - {"F32"}
    if layers == {"Q4_0"}:
        return "q4_0"
    return next((known for known in ("q6_k", "q4_k") if _is_ready(header, known)), None)


def _is_ready(header: Header, encoding: str) -> bool:
    """Tell whether MAX runs the file's own tensors in this encoding."""
    matrices = {tensor.kind.name for tensor in header.tensors.values() if len(tensor.shape) > 1}
    others = {tensor.kind.name for tensor in header.tensors.values() if len(tensor.shape) == 1}
    if others != {"F32"}:
        return False
    if encoding == "q4_k":
        return "Q4_K" in matrices and matrices <= {"Q4_K", "Q6_K"}
    return matrices == {encoding.upper()}


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
