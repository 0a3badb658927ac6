"""Starting the user's service, and the one lease that this process holds on it."""

import atexit
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperllama_nb import _version, runtime
from hyperllama_nb.client import _fork
from hyperllama_nb.errors import ConflictError, ServiceError, from_wire

DEADLINE = 60.0
"""Seconds that a service gets to answer: one that still stops may have to end its engines."""

LOST_RACE = 0.5
"""Seconds before another try when the lock was held by a service that does not answer."""

_ALLOWED_NAMES = (
    "PATH HOME LANG LANGUAGE TZ TMPDIR USER LOGNAME SHELL VIRTUAL_ENV LD_LIBRARY_PATH "
    "DYLD_LIBRARY_PATH HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy "
    "no_proxy SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE XDG_CACHE_HOME "
    "XDG_CONFIG_HOME XDG_DATA_HOME XDG_RUNTIME_DIR CUDA_VISIBLE_DEVICES HIP_VISIBLE_DEVICES "
    "ROCR_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES CUDA_HOME OMP_NUM_THREADS "
    "MAX_SERVE_DUMMY_MODEL"
)
_ALLOWED = frozenset(_ALLOWED_NAMES.split())
_ALLOWED_PREFIXES = ("LC_", "PIP_", "HF_", "OLLAMA_", "HYPERLLAMA_", "MODULAR_")


@dataclass
class Lease:
    """An open connection to the service that keeps what this process used loaded."""

    id: str
    sock: socket.socket
    status: dict[str, Any]

    def alive(self) -> bool:
        """Tell whether the service still holds its end; it says nothing more until it ends."""
        try:
            self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


_leases: dict[Path, Lease] = {}
_lock = threading.RLock()


def lease(path: Path, *, start: bool, fresh: bool = False) -> Lease:
    """Return this process's lease on the service at a socket, starting the service if allowed.

    `fresh` drops what is held: the caller has seen the connection fail. Raises ServiceError if
    nothing answers, with the end of the service's log if it was started and did not come up.
    """
    with _lock:
        held = _leases.get(path)
        # A service that is ending is gone from its socket before it lets go of its leases.
        if held is not None and not fresh and path.exists() and held.alive():
            return held
        drop(path)
        _leases[path] = held = open_lease(path, start=start)
        return held


def open_lease(path: Path, *, start: bool, kind: str | None = None) -> Lease:
    """Return a lease that the caller alone holds, until it closes its `sock`.

    `kind` is what the service calls the holder; raises what `lease` raises.
    """
    try:
        return _attach(path, kind or own_kind())
    except (FileNotFoundError, ConnectionError) as error:
        if start:
            return _start(path, kind or own_kind())
        raise ServiceError(
            f"No service answers at unix:{path} ({error.strerror or error}). "
            "`hyperllama start` (`%llm start`) starts it."
        ) from None


def drop(path: Path) -> None:
    """End the lease on the service at a socket, if there is one."""
    with _lock:
        held = _leases.pop(path, None)
        if held is not None:
            held.sock.close()


def start_in_kernel() -> None:
    """Host the service in a thread of this process, for clients of this user everywhere.

    Its engines end with the process. Does nothing if it is hosted here already; raises
    ConflictError, which names `%llm stop`, if a service runs elsewhere.
    """
    from hyperllama_nb.service.host import start_in_thread

    try:
        host = start_in_thread()
    except ConflictError:
        status = lease(runtime.socket_path(), start=False).status
        if status["host"] == "kernel" and status["pid"] == os.getpid():
            return
        raise
    atexit.register(host.stop, 3.0)


def service_environment() -> dict[str, str]:
    """Return the part of this process's environment that the service may see."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)
    }


def own_max() -> str | None:
    """Return the path of the `max` program that belongs to this process's environment."""
    named = os.environ.get("HYPERLLAMA_MAX")
    if named:
        return named
    beside = Path(sys.executable).parent / "max"
    return shutil.which(str(beside))


def own_kind() -> str:
    """Return what this process is to the service: a kernel, a command or a program."""
    from hyperllama_nb.display.sinks import in_kernel

    if in_kernel():
        return "kernel"
    return "cli" if Path(sys.argv[0] if sys.argv else "").name == "hyperllama" else "python"


def _attach(path: Path, kind: str) -> Lease:
    body = json.dumps(
        {
            "protocol": runtime.PROTOCOL,
            "version": _version.__version__,
            "kind": kind,
            "pid": os.getpid(),
            "max": own_max(),
            "env": {
                name: os.environ[name]
                for name in runtime.ENVIRONMENT_RELEVANT
                if name in os.environ
            },
        }
    ).encode()
    head = (
        "POST /admin/attach HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(DEADLINE)
        sock.connect(str(path))
        sock.sendall(head.encode() + body)
        answer = http.client.HTTPResponse(sock, method="POST")
        answer.begin()
        if answer.status != http.HTTPStatus.OK:
            _refused(answer)
        line = answer.readline()
        if not line:
            raise ConnectionResetError("it ended")
        found = json.loads(line)
        sock.setblocking(True)
        _fork.guard(sock)
        return Lease(found["lease"], sock, found["status"])
    except TimeoutError:
        sock.close()
        raise ServiceError(
            f"The service at unix:{path} took the connection and did not answer in {DEADLINE:.0f} "
            "s. `hyperllama logs` may tell why; ending the process `hyperllama status` names helps."
        ) from None
    except http.client.HTTPException as error:
        sock.close()
        raise ConnectionResetError(str(error)) from error
    except BaseException:
        sock.close()
        raise


def _refused(answer: http.client.HTTPResponse) -> None:
    try:
        found = json.loads(answer.read())
        message, code = str(found["error"]), found.get("code")
    except (ValueError, TypeError, KeyError):
        message, code = f"The service refused to be attached to (status {answer.status}).", None
    if code == "protocol_mismatch" and "stop" not in message:
        message += " `%llm stop` (`hyperllama stop`) ends it; the next call starts a matching one."
    raise from_wire(code or "service", message, answer.status)


def _start(path: Path, kind: str) -> Lease:
    """Start the service and attach; whoever else starts one at the same time shares the winner."""
    deadline = time.monotonic() + DEADLINE
    process = _spawn()
    ended = 0.0
    while True:
        with contextlib.suppress(FileNotFoundError, ConnectionError):
            return _attach(path, kind)
        now = time.monotonic()
        code = process.poll()
        if code or now > deadline:
            raise _failed(code)
        if code == 0:
            # another service holds the lock: it is starting, or it is on its way out
            ended = ended or now
            if now - ended > LOST_RACE:
                process, ended = _spawn(), 0.0
        time.sleep(0.01)


def _spawn() -> "subprocess.Popen[bytes]":
    directory = runtime.runtime_dir()
    with runtime.log_path().open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hyperllama_nb.service"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            env=service_environment(),
            start_new_session=True,
            close_fds=True,
        )
    # a service that ends before this process would stay its zombie
    threading.Thread(target=process.wait, name="hyperllama-reaper", daemon=True).start()
    return process


def _failed(code: int | None) -> ServiceError:
    what = "did not answer in time" if code is None else f"ended with status {code}"
    try:
        with runtime.log_path().open(errors="replace") as file:
            tail = "".join(deque(file, maxlen=15)).strip()
    except OSError:
        tail = ""
    said = f" The end of its log:\n{tail}" if tail else " Its log is empty."
    return ServiceError(
        f"The engine service {what}. Its log is {runtime.log_path()}; mend what it names and call "
        f"again.{said}"
    )


def _forget() -> None:
    global _lock
    # a thread of the parent may have held the lock while it forked
    _lock = threading.RLock()
    _leases.clear()


_fork.in_child(_forget)
