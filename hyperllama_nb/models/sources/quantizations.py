"""Which GGUF file of a repository a quantisation means."""

import re
from collections.abc import Iterable, Sequence

from hyperllama_nb.errors import InvalidFileError, NotSupportedError

DEFAULT = "Q4_K_M"
"""What Ollama takes where none is named."""

_INSTEAD = ("Q4_K_S", "Q4_0", "Q4_1", "Q5_K_M", "Q5_0", "Q6_K", "Q8_0")
"""What is taken where that is not there: of about its size, the smaller ones first."""

TO_QUANTIZE = ("Q4_0", "F16", "BF16", "F32", "Q8_0", "Q6_K", "Q5_K_M")
"""What is taken where the weights are to be re-encoded: what is so already, or the most exact."""

_KIND = re.compile(
    r"(?:.*[-._/])?((?:UD-)?(?:I?Q\d\w*|TQ\d_\d|MXFP4\w*|BF16|F16|F32|FP16|FP32))", re.IGNORECASE
)
_PART = re.compile(r"-\d{5}-of-\d{5}\Z")
_NO_MODEL = re.compile(r"(?:.*/)?(?:mmproj|imatrix)[^/]*", re.IGNORECASE)


def pick(
    files: Iterable[str], wanted: str | None, repository: str, first: Sequence[str] = ()
) -> str | None:
    """Return the GGUF file of a quantisation; None if there are no GGUF files at all.

    `wanted` is a quantisation or the name of a file, in any case; None means one of `first`, or
    else `DEFAULT`, or the nearest to it. Raises InvalidFileError, which lists the quantisations
    that are there, and NotSupportedError for a file that is split into parts.
    """
    stems = {
        file: file[: -len(".gguf")]
        for file in sorted(files, key=lambda file: (len(file), file))
        if file.lower().endswith(".gguf") and not _NO_MODEL.fullmatch(file)
    }
    if not stems:
        return None
    if wanted is None and len(stems) == 1:
        return _whole(next(iter(stems)), repository)
    for kind in (*first, DEFAULT, *_INSTEAD) if wanted is None else (wanted,):
        found = next((file for file, stem in stems.items() if _is(kind, file, stem)), None)
        if found is not None:
            return _whole(found, repository)
    known = ", ".join(dict.fromkeys(_kind(stem) for stem in stems.values()))
    asked = f"no GGUF file {wanted!r}" if wanted else f"no GGUF file {DEFAULT}, nor one near it"
    raise InvalidFileError(
        f"{repository} has {asked}. It has: {known}. Name one, as in {repository}:"
        f"{_kind(next(iter(stems.values())))}."
    )


def _is(wanted: str, file: str, stem: str) -> bool:
    """Tell whether a file is the wanted one: by its quantisation, its ending or its name."""
    wanted = wanted.lower()
    whole = _PART.sub("", stem).lower()
    names = {file.lower(), file.lower().rpartition("/")[2], whole, whole.rpartition("/")[2]}
    return wanted in names or whole.endswith(tuple(f"{sign}{wanted}" for sign in "-._/"))


def _kind(stem: str) -> str:
    """Return the quantisation in a file's name, or the name where there is none."""
    plain = _PART.sub("", stem)
    found = _KIND.fullmatch(plain)
    return found[1] if found else plain.rpartition("/")[2]


def _whole(file: str, repository: str) -> str:
    """Return the file; raises NotSupportedError if it is only a part."""
    if _PART.search(file[: -len(".gguf")]):
        raise NotSupportedError(
            f"{file} of {repository} is one part of several, and a model is one file here. Pull a "
            "smaller quantisation, or merge the parts (llama-gguf-split --merge) and pull "
            "file:/path/to/the.gguf."
        )
    return file
