"""The arguments, names and defaults of ollama-python 0.6."""

import inspect

import pytest

from hyperllama_nb.client import AsyncClient, Client

OLLAMA = {
    "generate": (
        "self model='' prompt=None suffix=None * system=None template=None context=None "
        "stream=False think=None logprobs=None top_logprobs=None raw=None format=None images=None "
        "options=None keep_alive=None width=None height=None steps=None"
    ),
    "chat": (
        "self model='' messages=None * tools=None stream=False think=None logprobs=None "
        "top_logprobs=None format=None options=None keep_alive=None"
    ),
    "embed": ("self model='' input='' truncate=None options=None keep_alive=None dimensions=None"),
    "create": (
        "self model quantize=None from_=None files=None adapters=None template=None license=None "
        "system=None parameters=None messages=None * stream=False"
    ),
    "pull": "self model * insecure=False stream=False",
    "list": "self",
    "show": "self model",
    "ps": "self",
    "copy": "self source destination",
    "delete": "self model",
}
OURS = {"pull": " name=None compile=True quantize=None"}


def shape(function):
    words, keyword = [], False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword:
            words.append("*")
            keyword = True
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        words.append(name + default)
    return " ".join(words)


@pytest.mark.parametrize("name", OLLAMA)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_methods_take_what_ollama_python_takes(kind, name):
    assert shape(getattr(kind, name)) == OLLAMA[name] + OURS.get(name, "")


def test_both_clients_have_the_same_methods():
    def public(kind):
        return {name for name in vars(kind) if not name.startswith("_")}

    only_blocking = {"load_progress", "serve", "close"}
    assert public(Client) - only_blocking == public(AsyncClient)
    for name in public(AsyncClient):
        if isinstance(vars(Client)[name], property):
            continue
        assert shape(getattr(Client, name)) == shape(getattr(AsyncClient, name))
