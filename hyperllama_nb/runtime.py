"""Where a user's service is found: the runtime directory and the files in it."""

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from hyperllama_nb.errors import ServiceError

PROTOCOL = 1
"""The number of the private routes' protocol: equal numbers talk, whatever the package versions."""

SOCKET_PATH_LIMIT = 100
"""Bytes; `sun_path` holds 104 on macOS and 108 on Linux."""

ENVIRONMENT_RELEVANT = (
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HIP_VISIBLE_DEVICES",
    "HYPERLLAMA_CACHE",
    "HYPERLLAMA_KEYS",
    "HYPERLLAMA_LINGER",
    "HYPERLLAMA_MAX",
    "HYPERLLAMA_MODELS",
    "HYPERLLAMA_PULL_HOSTS",
    "HYPERLLAMA_REQUEST_TIMEOUT",
    "HYPERLLAMA_REQUIRE_KEYS",
    "HYPERLLAMA_SLEEP_AFTER",
    "OLLAMA_CONTEXT_LENGTH",
    "OLLAMA_KEEP_ALIVE",
    "OLLAMA_LOAD_TIMEOUT",
    "OLLAMA_MAX_LOADED_MODELS",
    "OLLAMA_MAX_QUEUE",
    "OLLAMA_MODELS",
    "OLLAMA_NUM_PARALLEL",
    "OLLAMA_ORIGINS",
)
"""Variables that change what the service does: passed on at its start, compared at each attach."""


def runtime_dir() -> Path:
    """Return the private directory of this user's service, making it where it is missing.

    `HYPERLLAMA_RUNTIME_DIR` names it; otherwise it lies in the system's temporary directory, never
    in a home directory, since sockets and locks do not work on every network file system.
    Raises ServiceError if the directory belongs to somebody else, is a link, or is open to others.
    """
    named = os.environ.get("HYPERLLAMA_RUNTIME_DIR")
    # macOS has a temporary directory for each user whose path leaves no room for a socket's name.
    base = "/tmp" if sys.platform == "darwin" else tempfile.gettempdir()  # noqa: S108
    path = Path(named) if named else Path(base) / f"hyperllama-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, parents=bool(named), exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise ServiceError(
            f"The runtime directory {path} cannot be made: {error.strerror}. "
            "Set HYPERLLAMA_RUNTIME_DIR to a directory of your own on a local disk."
        ) from error
    if not stat.S_ISDIR(status.st_mode):
        raise ServiceError(
            f"The runtime directory {path} is a link or a file, which another user could have put "
            "there. Remove it, or set HYPERLLAMA_RUNTIME_DIR to a directory of your own."
        )
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ServiceError(
            f"The runtime directory {path} is not private (owner {status.st_uid}, mode "
            f"{stat.S_IMODE(status.st_mode):o}; expected {os.getuid()} and 700). Run "
            f"`chmod 700 {path}` if it is yours, or set HYPERLLAMA_RUNTIME_DIR to a directory of "
            "your own."
        )
    return path


def socket_path(name: str = "service.sock") -> Path:
    """Return the path of a Unix socket in the runtime directory.

    Raises ServiceError if the path is longer than a socket's address can hold.
    """
    path = runtime_dir() / name
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_LIMIT:
        raise ServiceError(
            f"The socket path {path} has {length} bytes; a Unix socket takes {SOCKET_PATH_LIMIT}. "
            "Set HYPERLLAMA_RUNTIME_DIR to a shorter path."
        )
    return path


def lock_path() -> Path:
    """Return the file that the running service holds an exclusive lock on."""
    return runtime_dir() / "service.lock"


def log_path() -> Path:
    """Return the service's log file."""
    return runtime_dir() / "service.log"


def engines_dir() -> Path:
    """Return the directory that holds one private directory for each running engine."""
    path = runtime_dir() / "e"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def engine_log(model: str) -> Path:
    """Return the log file of a model's engine, which outlives the engine."""
    directory = runtime_dir() / "logs"
    directory.mkdir(mode=0o700, exist_ok=True)
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in model)
    return directory / f"{safe}.log"


def last_model() -> str | None:
    """Return the model that a notebook of this user ran last; None if none is known."""
    try:
        return _last_path().read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def remember_last(model: str | None) -> None:
    """Note the model that a notebook ran; None forgets it. A disk that is full is no error."""
    path = _last_path()
    fresh = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        if model is None:
            path.unlink(missing_ok=True)
            return
        fresh.touch(mode=0o600)
        fresh.write_text(model + "\n", encoding="utf-8")
        fresh.replace(path)


def _last_path() -> Path:
    return runtime_dir() / "last-model"


def cache_dir() -> Path:
    """Return the directory for compiled models; `HYPERLLAMA_CACHE` moves it."""
    named = os.environ.get("HYPERLLAMA_CACHE")
    if named:
        return Path(named)
    import platformdirs

    return platformdirs.user_cache_path("hyperllama")
