"""`connect`: the door of the server around us, or a TCP address, and a key for either."""

import os
import shutil
import sys
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from hyperllama_nb.access.keys import KeyStore
from hyperllama_nb.client import Client
from hyperllama_nb.commands import UsageError, connect, execute
from hyperllama_nb.commands.listener import Listener
from hyperllama_nb.errors import ServiceError
from tests.commands.fakes import FakeClient, FakeContext
from tests.magics.test_kernel import Notebook
from tests.serverextension.jupyter import TOKEN, jupyter
from tests.service.hosting import hosting


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Return the file of keys that the service, the servers and this process share."""
    return str(tmp_path_factory.mktemp("keys") / "keys.json")


@pytest.fixture(scope="module")
def service(keys):
    with hosting("process", env={"HYPERLLAMA_KEYS": keys}) as running:
        yield running


@pytest.fixture(scope="module")
def server(service, keys):
    place = {"HYPERLLAMA_RUNTIME_DIR": str(service.socket.parent), "HYPERLLAMA_KEYS": keys}
    with jupyter(env=place) as running:
        yield running


@pytest.fixture(autouse=True)
def alone(monkeypatch, keys):
    """Take away what the process that runs the tests may have around it."""
    for name in ("JPY_PARENT_PID", "JPY_SESSION_NAME", "JUPYTER_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OLLAMA_HOST", "OLLAMA_API_KEY"):
        # set first, so that what a test sets is taken back
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HYPERLLAMA_KEYS", keys)
    monkeypatch.setattr(connect, "_made", {})
    yield
    Listener.close_all()


@pytest.fixture
def inside(server, monkeypatch):
    """Make this process look like a kernel of the server."""
    monkeypatch.setenv("JPY_PARENT_PID", str(server.process.pid))
    monkeypatch.setenv("JPY_SESSION_NAME", "work/story.ipynb")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(server.place / "runtime"))
    return server


def shown(*argv, client=None, cell=True):
    context = FakeContext(client, cell=cell)
    execute(["connect", *argv], context)
    return "\n".join(context.shown)


def own(service):
    return Client(f"unix:{service.socket}")


def exported(text):
    """Return the variables that the lines of a shell set."""
    lines = [line.removeprefix("export ") for line in text.splitlines() if "export " in line]
    return dict(line.split("=", 1) for line in lines)


def works(values):
    """Ask for the models as a client with these two variables does."""
    bearer = {"Authorization": f"Bearer {values['OLLAMA_API_KEY']}"}
    answer = httpx.get(f"{values['OLLAMA_HOST']}/api/tags", headers=bearer, timeout=60)
    return answer.status_code == 200 and answer.json()["models"][0]["name"] == "tiny:latest"


@pytest.mark.slow
def test_a_kernel_of_a_server_is_led_to_its_door(inside):
    text = shown()
    values = exported(text)
    assert values["OLLAMA_HOST"] == inside.door
    assert works(values)
    for words in ("curl -H", "import ollama", "openai.OpenAI(", "ChatOllama(", "clear it before"):
        assert words in text
    assert f'base_url="{inside.door}/v1"' in text
    assert TOKEN not in text


@pytest.mark.slow
def test_the_key_does_little_and_not_for_long(inside):
    key = KeyStore().get(shown().partition("The key is key ")[2].partition(",")[0])
    assert key.scopes == ("infer", "models:read")
    assert key.name == "connect story.ipynb"
    assert key.expires - datetime.now(UTC) <= timedelta(days=1)
    wide = shown("--scope", "infer, models:write", "--expires", "2h")
    assert "infer, models:write until" in wide


def test_a_cell_that_runs_again_makes_no_other_key(inside):
    first = exported(shown())
    count = len(KeyStore().list())
    assert exported(shown()) == first
    assert len(KeyStore().list()) == count
    KeyStore().revoke(KeyStore().list()[-1].id)
    other = exported(shown())
    assert other["OLLAMA_API_KEY"] != first["OLLAMA_API_KEY"]
    assert works(other)


def test_keys_of_earlier_days_are_cleared_away(inside):
    store = KeyStore()
    _, old = store.create(name="connect story.ipynb", lifetime=timedelta(microseconds=1))
    _, foreign = store.create(name="editor", lifetime=timedelta(microseconds=1))
    shown()
    ids = {key.id for key in store.list()}
    assert old.id not in ids
    assert foreign.id in ids


def test_the_environment_of_a_kernel_is_set_and_no_key_is_shown(inside):
    text = shown("--env")
    assert works(os.environ)
    assert os.environ["OLLAMA_API_KEY"] not in text
    assert inside.door in text


def test_a_package_that_is_there_already_is_told_of(inside, monkeypatch):
    monkeypatch.setitem(sys.modules, "ollama", sys)
    assert "ollama.Client()" in shown("--env")


def test_a_terminal_of_a_server_gets_lines_for_its_shell(inside, monkeypatch):
    monkeypatch.delenv("JPY_PARENT_PID")
    monkeypatch.setenv("JUPYTER_SERVER_URL", inside.root)
    text = shown("--env", cell=False)
    assert works(exported(text))
    assert len(text.splitlines()) == 2
    assert "OLLAMA_HOST" not in os.environ


def test_a_hubs_prefix_is_told_of(inside, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ann/")
    assert "https://HUB/user/ann/hyperllama" in shown()


def test_without_a_server_the_service_listens_for_this_kernel(service):
    text = shown(client=own(service))
    values = exported(text)
    assert values["OLLAMA_HOST"].startswith("http://127.0.0.1:")
    assert "no Jupyter server around" in text
    assert works(values)
    assert exported(shown(client=own(service))) == values
    assert len(Listener.kept()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "fields", "words"),
    [
        (["--HyperLlamaApp.enabled=False"], {}, "is hyperllama_nb installed"),
        ([], {"env": {"HYPERLLAMA_KEYS": "/nowhere/keys.json"}}, "HYPERLLAMA_KEYS may differ"),
    ],
)
def test_a_server_without_a_door_for_us_is_named(service, monkeypatch, arguments, fields, words):
    with jupyter(*arguments, **fields) as other:
        monkeypatch.setenv("JPY_PARENT_PID", str(other.process.pid))
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(other.place / "runtime"))
        text = shown(client=own(service))
    assert words in text
    assert works(exported(text))


@pytest.mark.parametrize("content", ["", "[]", '{"url": "http+unix://%2Ftmp%2Fx"}', "{broken"])
def test_a_servers_file_that_leads_nowhere_is_passed_over(service, monkeypatch, tmp_path, content):
    (tmp_path / "jpserver-7.json").write_text(content)
    monkeypatch.setenv("JPY_PARENT_PID", "7")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    assert works(exported(shown(client=own(service))))


def test_a_service_that_does_not_know_our_keys_is_told_of(service, monkeypatch, tmp_path):
    monkeypatch.setenv("HYPERLLAMA_KEYS", str(tmp_path / "other.json"))
    with pytest.raises(ServiceError, match="HYPERLLAMA_KEYS may differ"):
        shown(client=own(service))


def test_a_terminal_takes_what_serve_holds_open_or_names_it(service):
    with pytest.raises(UsageError, match="hyperllama serve"):
        shown(cell=False, client=FakeClient(alive=False))
    with pytest.raises(UsageError, match="hyperllama serve"):
        shown(cell=False, client=own(service))
    Listener(own(service), "127.0.0.1", 0).keep()
    assert works(exported(shown(cell=False, client=own(service))))


@pytest.mark.compat(
    "every route", "OLLAMA_HOST and OLLAMA_API_KEY in a notebook", "better",
    "`%llm connect --env` sets them",
)  # fmt: skip
@pytest.mark.slow
def test_the_next_cell_of_a_real_kernel_reaches_the_engine(inside):
    place = inside.place / "runtime"
    mine = place / f"jpserver-{os.getpid()}.json"
    # a kernel's parent is who launched it, here this process
    shutil.copy(place / f"jpserver-{inside.process.pid}.json", mine)
    notebook = Notebook()
    try:
        status, _, outputs = notebook.run("%llm connect --env")
        assert status == "ok", outputs
        assert "hlnb_" not in str(outputs)
        cell = (
            "import json, os, urllib.request\n"
            "request = urllib.request.Request(\n"
            "    os.environ['OLLAMA_HOST'] + '/api/generate',\n"
            "    json.dumps({'model': 'tiny', 'prompt': 'Hi', 'stream': False}).encode(),\n"
            "    {'Authorization': 'Bearer ' + os.environ['OLLAMA_API_KEY']},\n"
            ")\n"
            "print(json.load(urllib.request.urlopen(request))['response'])"
        )
        status, _, outputs = notebook.run(cell)
        assert status == "ok", outputs
        assert "Paris" in str(outputs)
    finally:
        notebook.close()
        mine.unlink()
