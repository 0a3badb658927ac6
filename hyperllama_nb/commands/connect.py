"""The command `connect`: where other programs reach the engine, and with which key."""

import json
import os
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperllama_nb.commands.keys import lifetime
from hyperllama_nb.commands.options import Parser, UsageError
from hyperllama_nb.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hyperllama_nb.access.key import Key
    from hyperllama_nb.commands.context import Context

LIFETIME = "1d"

MODEL = "smollm2:135m"

PATIENCE = 60.0
"""Seconds that the door may take to answer: it may start the service first."""

_made: dict[tuple[str, ...], tuple[str, str]] = {}
"""What this process made, by what it allows and for how long: (id, text). A cell is run again."""


@dataclass(frozen=True)
class Address:
    """A value of OLLAMA_HOST, and what is to be said about it."""

    host: str
    about: str


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `connect`."""
    parser.add_argument(
        "--env",
        action="store_true",
        help="in a notebook: set OLLAMA_HOST and OLLAMA_API_KEY in its kernel and show no key; in "
        "a terminal: print the lines that set them, for `eval`",
    )
    parser.add_argument(
        "--scope",
        metavar="SCOPES",
        default="infer,models:read",
        help="what the key allows (default infer,models:read; see `key`)",
    )
    parser.add_argument(
        "--expires",
        metavar="TIME",
        default=LIFETIME,
        help=f"how long the key is good: 12h, 30d or never (default {LIFETIME})",
    )


def connect(context: "Context", args: Namespace) -> str:
    """Make a key and show what a program needs to reach the engine, or set it in this kernel."""
    scopes = tuple(sorted({scope.strip() for scope in args.scope.split(",") if scope.strip()}))
    text, key = _key(scopes, args.expires)
    address = _find(context, text)
    values = {"OLLAMA_HOST": address.host, "OLLAMA_API_KEY": text}
    if not args.env:
        return _page(context, address, values, key)
    if not context.cell:
        return "\n".join(f"export {name}={value}" for name, value in values.items())
    os.environ.update(values)
    lines = [
        f"OLLAMA_HOST is {address.host} in this kernel. {address.about}",
        f"OLLAMA_API_KEY is set to {_described(key)}.",
    ]
    if "ollama" in sys.modules:
        lines.append(
            "The package ollama was imported before and keeps its old settings: use "
            "`ollama.Client()`, or restart the kernel and connect first."
        )
    return "\n".join(lines)


def _key(scopes: tuple[str, ...], expires: str) -> "tuple[str, Key]":
    """Return a key of this process with these scopes: the one it made before, while it is good."""
    from hyperllama_nb.access.keys import KeyStore

    store = KeyStore()
    id_, text = _made.get((*scopes, expires, str(store.path)), ("", ""))
    known = store.get(id_)
    if known is not None:
        return text, known
    notebook = Path(os.environ.get("JPY_SESSION_NAME", "")).name
    name = f"connect {notebook}".strip()
    for old in store.list():
        if old.expired and old.name == name:
            store.revoke(old.id)
    text, key = store.create(scopes, name=name, lifetime=lifetime(expires))
    _made[(*scopes, expires, str(store.path))] = (key.id, text)
    return text, key


def _find(context: "Context", key: str) -> Address:
    """Return the door of the Jupyter server around us, or else a TCP address of the service.

    Each has answered to the key. Raises UsageError or ServiceError if there is none.
    """
    why = "There is no Jupyter server around this process"
    for url in _servers():
        host = f"{url.rstrip('/')}/hyperllama"
        problem = _problem(host, key)
        if problem is None:
            return Address(host, f"It is the door of this Jupyter server.{_outside(url)}")
        why = f"The Jupyter server at {url} does not lead to the engine ({problem})"
    address = _listener(context, why) if context.cell else _served(context, why)
    problem = _problem(address.host, key)
    if problem is not None:
        raise ServiceError(
            f"{why}, and the service at {address.host} does not answer ({problem}). "
            f"`{context.prog} status` shows the service and what differs."
        )
    return address


def _served(context: "Context", why: str) -> Address:
    """Return an address that somebody else holds open; raises UsageError if there is none."""
    try:
        listeners = context.running.status()["listeners"]
    except ServiceError:
        listeners = []
    address = _local(listeners)
    if address is None:
        raise UsageError(
            f"{why}, and the service listens on no TCP address. Run `{context.prog} serve` in "
            "another terminal and this again."
        )
    return Address(f"http://{address}", "`hyperllama serve` holds this address open.")


def _listener(context: "Context", why: str) -> Address:
    """Return an address that this kernel holds open."""
    from hyperllama_nb.commands.listener import Listener

    address = _local(Listener.kept())
    if address is None:
        listener = Listener(context.client, "127.0.0.1", 0)
        listener.keep()
        address = listener.address
    return Address(
        f"http://{address}",
        f"{why}, so the service listens there, for programs on this machine, until this kernel "
        "ends or `%llm serve --stop`.",
    )


def _local(addresses: "Sequence[str]") -> str | None:
    """Return the first of these addresses that this machine reaches under 127.0.0.1, or None."""
    for address in addresses:
        name, _, port = address.rpartition(":")
        if name in ("127.0.0.1", "localhost", "0.0.0.0"):  # noqa: S104 - compared, not bound
            return f"127.0.0.1:{port}"
    return None


def _servers() -> list[str]:
    """Return the URLs of the one server that started this process, the best first.

    Its file holds its token too, which is not looked at: a key is handed out instead.
    """
    terminal = os.environ.get("JUPYTER_SERVER_URL")
    found = _server_file()
    urls = [terminal] if terminal and not found else []
    if found and str(found.get("url", "")).startswith(("http://", "https://")):
        scheme = "https" if found.get("secure") else "http"
        urls = [
            found["url"],
            f"{scheme}://127.0.0.1:{found.get('port')}{found.get('base_url', '/')}",
        ]
    return urls


def _server_file() -> dict[str, Any]:
    """Return what the server that started this kernel wrote about itself, {} if none did."""
    from jupyter_core.paths import jupyter_runtime_dir

    parent = os.environ.get("JPY_PARENT_PID", "")
    if not parent.isdecimal():
        return {}
    try:
        found = json.loads((Path(jupyter_runtime_dir()) / f"jpserver-{parent}.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _problem(host: str, key: str) -> str | None:
    """Ask the door for the version; return what is wrong with it in a few words, or None."""
    import httpx

    try:
        answer = httpx.get(
            f"{host}/api/version",
            headers={"Authorization": f"Bearer {key}"},
            timeout=PATIENCE,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__
    if answer.status_code == 200:
        return None
    if answer.status_code == 401:
        return "it does not know the keys of this environment: HYPERLLAMA_KEYS may differ"
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}; is hyperllama_nb installed where the server runs?"


def _outside(url: str) -> str:
    """Return what is to be said about reaching a hub's server from another machine."""
    prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
    if not prefix:
        return ""
    public = os.environ.get("JUPYTERHUB_PUBLIC_URL") or f"https://HUB{prefix}"
    return f" From elsewhere it is {public.rstrip('/')}/hyperllama, and here {url} will do."


def _described(key: "Key") -> str:
    until = f"until {key.expires.astimezone():%Y-%m-%d %H:%M}" if key.expires else "for ever"
    return f"key {key.id}, which allows {', '.join(key.scopes)} {until}"


def _page(context: "Context", address: Address, values: dict[str, str], key: "Key") -> str:
    host, text = values["OLLAMA_HOST"], values["OLLAMA_API_KEY"]
    lines = [
        *(f"export {name}={value}" for name, value in values.items()),
        "",
        address.about,
        f"The key is {_described(key)}. `{context.prog} key revoke {key.id}` ends it.",
        "",
        "# curl",
        f'curl -H "Authorization: Bearer {text}" {host}/api/tags',
        "# ollama, with the two variables set",
        f'import ollama; ollama.chat("{MODEL}", [{{"role": "user", "content": "Hi"}}])',
        "# openai",
        f'import openai; openai.OpenAI(base_url="{host}/v1", api_key="{text}")',
        "# langchain, with the two variables set",
        f'from langchain_ollama import ChatOllama; ChatOllama(model="{MODEL}", base_url="{host}")',
    ]
    if context.cell:
        lines.append(
            "\n`%llm connect --env` sets the variables in this kernel and shows no key. A notebook "
            "keeps this output: clear it before you share or save the file."
        )
    return "\n".join(lines)
