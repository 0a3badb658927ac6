"""The command `key`, on its file and without a service."""

from datetime import UTC, datetime, timedelta

import pytest

from hyperllama_nb.access.keys import KeyStore
from hyperllama_nb.commands import UsageError, execute
from hyperllama_nb.commands.keys import lifetime
from hyperllama_nb.errors import RequestError, ServiceError, StoreError
from tests.commands.fakes import FakeClient, FakeContext


class Untouched(FakeClient):
    """A client that must not be used: keys need no service."""

    def __getattribute__(self, name):
        raise AssertionError(f"`key` used the client ({name})")


def run(*argv, cell=False):
    context = FakeContext(object.__new__(Untouched), cell=cell)
    execute(["key", *argv], context)
    return "\n".join(context.shown)


def key_in(text):
    (found,) = [word for word in text.split() if word.startswith("hlnb_")]
    return found


def test_a_key_is_shown_once_with_what_it_is_for():
    text = run("create", "--scope", "infer", "--expires", "30d", "--name", "editor")
    key = key_in(text)
    (stored,) = KeyStore().list()
    assert KeyStore().find(key) == stored.caller
    assert (stored.name, stored.scopes) == ("editor", ("infer",))
    assert timedelta(days=29) < stored.expires - datetime.now(UTC) <= timedelta(days=30)
    assert "shown once" in text
    assert f"OLLAMA_API_KEY={key}" in text
    assert f"hyperllama key revoke {stored.id}" in text
    assert key not in run("list")


def test_the_defaults_are_to_generate_and_to_see_for_a_month():
    text = run("create")
    (stored,) = KeyStore().list()
    assert stored.scopes == ("infer", "models:read")
    assert "allows infer, models:read and expires on 2" in text
    assert timedelta(days=29) < stored.expires - datetime.now(UTC) <= timedelta(days=30)


@pytest.mark.parametrize(
    "scopes", [("infer, models:write",), ("models:write,infer",), ("infer", "models:write")]
)
def test_several_scopes(scopes):
    run("create", *(word for scope in scopes for word in ("--scope", scope)))
    assert KeyStore().list()[0].scopes == ("infer", "models:write")


def test_limits_and_a_key_without_an_end():
    text = run("create", "--expires", "never", "--requests-per-minute", "60", "--concurrent", "2")
    (stored,) = KeyStore().list()
    assert (stored.requests_per_minute, stored.concurrent, stored.expires) == (60, 2, None)
    assert "never expires" in text
    row = run("list").splitlines()[1]
    assert "60 a minute, 2 at once" in row
    assert row.endswith("never")


def test_a_notebook_is_told_that_it_keeps_its_output():
    assert "clear it" in run("create", cell=True)
    assert "clear it" not in run("create")


def test_the_list_tells_the_keys_apart_and_not_what_they_are():
    assert "There are no keys" in run("list")
    key = key_in(run("create", "--name", "editor"))
    KeyStore().create(["admin"], lifetime=timedelta(microseconds=1))
    head, first, second = run("list").splitlines()
    assert head.split() == ["ID", "NAME", "KEY", "SCOPES", "LIMITS", "CREATED", "EXPIRES"]
    assert f"hlnb_…{key[-4:]}" in first
    assert "in 29 days" in first
    assert "expired now" in second


def test_revoking():
    run("create", "--name", "one")
    run("create", "--name", "two")
    ids = [key.id for key in KeyStore().list()]
    assert (
        run("revoke", ids[0], "two") == f"Revoked {', '.join(ids)}. It counts from the next "
        "request on."
    )
    assert KeyStore().list() == []
    with pytest.raises(RequestError, match="No key is called 'three'"):
        run("revoke", "three")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "ACTION"),
        (("make",), "invalid choice"),
        (("create", "id"), "takes no id"),
        (("list", "--name", "x"), "takes no options"),
        (("revoke",), "Name the key"),
        (("create", "--expires", "30"), "never"),
        (("create", "--expires", "0.5d"), "never"),
        (("create", "--concurrent", "many"), "invalid int"),
    ],
)
def test_a_line_that_makes_no_sense_says_so(argv, words):
    with pytest.raises(UsageError, match=words):
        run(*argv)
    assert KeyStore().list() == []


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--scope", "root"), "The scopes are infer, models:read, models:write, admin"),
        (("--scope", ","), "needs a scope"),
        (("--expires", "0d"), "later than now"),
        (("--expires", "999999d"), "hundred years"),
        (("--requests-per-minute", "0"), "from 1"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(argv, words):
    with pytest.raises(RequestError, match=words):
        run("create", *argv)
    assert KeyStore().list() == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("12H", timedelta(hours=12)),
        ("8w", timedelta(weeks=8)),
        ("Never", None),
    ],
)
def test_lifetimes(text, found):
    assert lifetime(text) == found


def test_a_damaged_file_is_said():
    KeyStore().path.parent.mkdir(parents=True)
    KeyStore().path.write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        run("list")


@pytest.mark.parametrize(("host", "told"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_a_listener_for_others_says_that_it_asks_for_a_key(host, told):
    class Serving(FakeClient):
        def serve(self, host, port):
            yield {"address": f"{host}:{port}"}

    context = FakeContext(Serving())
    with pytest.raises(ServiceError):  # the service ends at once
        execute(["serve", "--host", host, "--port", "1"], context)
    assert ("asks for a key: `hyperllama key create`" in context.notes[0]) is told
