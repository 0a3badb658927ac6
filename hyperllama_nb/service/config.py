"""Settings of the service."""

import os

from traitlets import Bool, Float, Integer, List, Unicode, default
from traitlets.config import Configurable

from hyperllama_nb.engines.sleep import AFTER
from hyperllama_nb.errors import InvalidOptionError
from hyperllama_nb.models.sources.hosts import default_hosts
from hyperllama_nb.service.options import parse_keep_alive


class HyperLlamaService(Configurable):
    """Settings of the engine service; each default comes from an environment variable."""

    models_dir = Unicode(help="Directory of the model store (HYPERLLAMA_MODELS).").tag(config=True)
    linger = Float(
        help="Seconds without lease, request or listener after which the service exits "
        "(HYPERLLAMA_LINGER, default 600; 0: at once)."
    ).tag(config=True)
    keep_alive = Float(
        help="Seconds that an unused model stays loaded (OLLAMA_KEEP_ALIVE, default 5m; negative: "
        "for ever)."
    ).tag(config=True)
    sleep_after = Float(
        help="Seconds without a request after which an engine that would use the processor while "
        "it is idle is stopped until the next one (HYPERLLAMA_SLEEP_AFTER, default 2; negative: "
        "never)."
    ).tag(config=True)
    max_queue = Integer(
        help="Requests that may wait for one model before others get 503 (OLLAMA_MAX_QUEUE, 512)."
    ).tag(config=True)
    num_parallel = Integer(
        help="Batch size of an engine (OLLAMA_NUM_PARALLEL; 0: what the backend finds best)."
    ).tag(config=True)
    max_loaded_models = Integer(
        help="Models loaded at once (OLLAMA_MAX_LOADED_MODELS; 0: as many as memory holds)."
    ).tag(config=True)
    context_length = Integer(
        help="Context of a newly loaded model, in tokens (OLLAMA_CONTEXT_LENGTH, 4096)."
    ).tag(config=True)
    backend = Unicode(
        help="Backend for models that name none (HYPERLLAMA_BACKEND; empty: the first that can)."
    ).tag(config=True)
    load_timeout = Float(
        help="Seconds that a model may take to load (OLLAMA_LOAD_TIMEOUT, default 15m: a first "
        "start compiles the model; 0: no limit)."
    ).tag(config=True)
    request_timeout = Float(
        help="Seconds that a request may take, loading and waiting included "
        "(HYPERLLAMA_REQUEST_TIMEOUT, as 90 or 5m; 0, the default: no limit)."
    ).tag(config=True)
    require_keys = Bool(
        help="Ask for a key on loopback addresses, too (HYPERLLAMA_REQUIRE_KEYS)."
    ).tag(config=True)
    origins = List(
        Unicode(),
        help="Web pages that may ask over TCP, as https://app.example or http://localhost:* "
        "(OLLAMA_ORIGINS, separated by commas; none by default).",
    ).tag(config=True)

    pull_hosts = List(
        Unicode(),
        help="Hosts that models are pulled from, as models.example or 127.0.0.1:5000 "
        "(HYPERLLAMA_PULL_HOSTS, separated by commas; the usual registry and the hub by default).",
    ).tag(config=True)

    @default("models_dir")
    def _default_models_dir(self) -> str:
        return os.environ.get("HYPERLLAMA_MODELS", "")

    @default("pull_hosts")
    def _default_pull_hosts(self) -> list[str]:
        return sorted(default_hosts())

    @default("linger")
    def _default_linger(self) -> float:
        return _seconds("HYPERLLAMA_LINGER", 600.0)

    @default("keep_alive")
    def _default_keep_alive(self) -> float:
        return _seconds("OLLAMA_KEEP_ALIVE", 300.0)

    @default("sleep_after")
    def _default_sleep_after(self) -> float:
        return _seconds("HYPERLLAMA_SLEEP_AFTER", AFTER)

    @default("max_queue")
    def _default_max_queue(self) -> int:
        return _whole("OLLAMA_MAX_QUEUE", 512)

    @default("num_parallel")
    def _default_num_parallel(self) -> int:
        return _whole("OLLAMA_NUM_PARALLEL", 0)

    @default("max_loaded_models")
    def _default_max_loaded_models(self) -> int:
        return _whole("OLLAMA_MAX_LOADED_MODELS", 0)

    @default("context_length")
    def _default_context_length(self) -> int:
        return _whole("OLLAMA_CONTEXT_LENGTH", 4096)

    @default("backend")
    def _default_backend(self) -> str:
        return os.environ.get("HYPERLLAMA_BACKEND", "")

    @default("load_timeout")
    def _default_load_timeout(self) -> float:
        return _seconds("OLLAMA_LOAD_TIMEOUT", 900.0)

    @default("request_timeout")
    def _default_request_timeout(self) -> float:
        return _seconds("HYPERLLAMA_REQUEST_TIMEOUT", 0.0)

    @default("require_keys")
    def _default_require_keys(self) -> bool:
        return _yes("HYPERLLAMA_REQUIRE_KEYS")

    @default("origins")
    def _default_origins(self) -> list[str]:
        named = os.environ.get("OLLAMA_ORIGINS", "").split(",")
        return [name.strip() for name in named if name.strip()]


def _yes(variable: str) -> bool:
    """Return a yes or no from the environment; not set is no."""
    text = os.environ.get(variable, "").strip().lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"", "0", "false", "no", "off"}:
        return False
    raise InvalidOptionError(f"{variable}={text!r} is neither yes (1) nor no (0).")


def _seconds(variable: str, fallback: float) -> float:
    """Return a duration from the environment ("5m", or bare seconds); inf is for ever."""
    text = os.environ.get(variable, "").strip()
    try:
        seconds = parse_keep_alive(text or None, bare=True)
    except InvalidOptionError as error:
        raise InvalidOptionError(
            f"{variable}={text!r} is not a duration ({error}). Write seconds (300) or a duration "
            "with a unit (5m, 1h30m)."
        ) from error
    return fallback if seconds is None else seconds


def _whole(variable: str, fallback: int) -> int:
    """Return a whole number, zero or more, from the environment."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return fallback
    if not text.isdecimal():
        raise InvalidOptionError(f"{variable}={text!r} is not a whole number, zero or more.")
    return int(text)
