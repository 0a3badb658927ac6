"""What the words of MAX's log and the signals that end it mean."""

from collections.abc import Sequence

from hyperllama_nb.engines import causes

_BY_CODE = {
    4: "the processor lacks an instruction that MAX compiled for. MAX does not support this "
    "machine's CPU; on a virtual machine, pass the host's CPU features through.",
    9: "the system killed it, which is what happens when the memory is used up. Unload other "
    "models (`hyperllama ps`), lower num_ctx or OLLAMA_NUM_PARALLEL, or take a smaller model.",
    11: "it crashed (segmentation fault). If this machine has a GPU, check its driver; otherwise "
    "run `hyperllama status` and report the log.",
}

_MEMORY = (
    "its memory did not suffice. Unload other models (`hyperllama ps`), lower num_ctx or "
    "OLLAMA_NUM_PARALLEL, or take a smaller model."
)
_ADDRESS = "its address was taken. Run it again."
_ARCHITECTURE = "MAX does not know this model's architecture. Choose another model."
_ENCODING = "MAX cannot run its weights' type on this device. Pull the model in another one."
_COMMAND = (
    "MAX does not take its command line. This package works with MAX 26.7; `hyperllama status` "
    "shows the one in use."
)

_MISFIT = (
    "this MAX runs no four-bit weights. Install MAX 26.7.0, or pull the model in float32 (without "
    "`--quantize`)."
)

_BY_WORDS = {
    r"out of memory|cannot allocate memory|MemoryError|insufficient memory": _MEMORY,
    r"Worker crashed \(Killed": _BY_CODE[9],
    r"Worker crashed \(Segmentation fault": _BY_CODE[11],
    r"Illegal instruction": _BY_CODE[4],
    r"No space left on device": "the disk is full. Free some space, then run it again.",
    r"network port \d+ is already in use|address already in use": _ADDRESS,
    r"AF_UNIX path too long": "its socket's path is too long. Set HYPERLLAMA_RUNTIME_DIR.",
    r"MisfitError": _MISFIT,
    r"architecture.{0,60}not (supported|found)|not supported.{0,60}architecture": _ARCHITECTURE,
    r"different dtype|not compatible with device|Unknown GGML DType": _ENCODING,
    r"compatible weights cannot be found|encoding.{0,60}not supported": _ENCODING,
    r"No such option|Error: Invalid value": _COMMAND,
}


def explain(log_tail: Sequence[str], returncode: int | None) -> str:
    """Return why MAX ended, the next step, and its last words."""
    return causes.explain(log_tail, returncode, by_words=_BY_WORDS, by_signal=_BY_CODE)
