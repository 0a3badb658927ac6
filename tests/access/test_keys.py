"""Keys and their file."""

import hmac
import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.access import keys
from hyperllama_nb.access.callers import Caller
from hyperllama_nb.access.keys import KeyStore, credential, default_path
from hyperllama_nb.errors import RequestError, StoreError


@pytest.fixture
def store(tmp_path):
    return KeyStore(tmp_path / "new" / "keys.json")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_long_random_and_says_whose_it_is(store):
    text, key = store.create(["infer", "models:read"], name="editor")
    other, _ = store.create()
    assert text.startswith("hlnb_")
    assert len(text) == len("hlnb_") + 43  # 32 bytes in base64
    assert text != other
    assert text.endswith(key.last_four)
    assert store.find(text) == Caller(f"key:{key.id}", frozenset({"infer", "models:read"}))


def test_the_defaults_are_careful(store):
    _, key = store.create()
    assert key.scopes == ("infer", "models:read")
    assert timedelta(days=29) < key.expires - datetime.now(UTC) <= timedelta(days=30)


def test_the_file_holds_a_hash_and_only_its_user_reads_it(store):
    old = os.umask(0)
    try:
        text, key = store.create(name="editor", requests_per_minute=5, concurrent=2)
    finally:
        os.umask(old)
    content = store.path.read_text()
    assert text not in content
    assert text.removeprefix("hlnb_") not in content
    assert mode(store.path) == 0o600
    assert mode(store.path.parent) == 0o700
    assert list(KeyStore(store.path).list()) == [key]
    assert sorted(path.name for path in store.path.parent.iterdir()) == [
        "keys.json",
        "keys.json.lock",
    ]


@given(st.text() | st.binary() | st.none() | st.integers())
def test_garbage_finds_nobody_and_raises_nothing(text):
    store = KeyStore(Path("/nonexistent/keys.json"))
    assert store.find(text) is None
    assert store.find(f"hlnb_{text}") is None


def test_almost_the_key_is_not_the_key(store):
    text, key = store.create()
    wrong = (text[:-1], text + "x", text.upper(), f" {text}", text + "\n", key.hash, key.id, "")
    assert [store.find(other) for other in wrong] == [None] * len(wrong)


def test_all_keys_are_compared_in_constant_time(store, monkeypatch):
    texts = [store.create(name=str(number))[0] for number in range(5)]
    compared = []

    def compare(a, b):
        compared.append((a, b))
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(keys, "hmac", SimpleNamespace(compare_digest=compare))
    for text in (texts[0], texts[4], "hlnb_unknown"):
        compared.clear()
        store.find(text)
        assert len(compared) == 5
        assert all(len(a) == len(b) == 64 for a, b in compared)


def test_an_expired_key_is_unknown(store):
    text, key = store.create(lifetime=timedelta(microseconds=1))
    assert store.find(text) is None
    assert store.get(key.id) is None
    assert [found.expired for found in store.list()] == [True]
    text, key = store.create(lifetime=None)
    assert store.find(text) == key.caller
    assert store.get(key.id) == key
    assert key.expires is None


def test_a_revocation_counts_at_once_for_other_readers(store):
    text, key = store.create(name="editor")
    reader = KeyStore(store.path)
    assert reader.find(text) is not None
    assert store.revoke(key.id) == key
    assert reader.find(text) is None
    assert reader.get(key.id) is None
    text, _ = store.create()
    assert reader.find(text) is not None
    store.path.unlink()
    assert reader.find(text) is None


def test_the_file_is_parsed_once_for_each_of_its_states(store, monkeypatch):
    text, _ = store.create()
    reader = KeyStore(store.path)
    assert reader.find(text)
    monkeypatch.setattr(keys.json, "loads", None)
    assert reader.find(text)


def test_a_key_is_revoked_by_its_name_if_only_one_has_it(store):
    store.create(name="one")
    store.create(name="two")
    store.create(name="two")
    assert store.revoke("one").name == "one"
    with pytest.raises(RequestError, match="2 keys are called 'two'"):
        store.revoke("two")
    with pytest.raises(RequestError, match="No key is called 'three'"):
        store.revoke("three")
    assert len(store.list()) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scopes": ["infer", "root"]}, "no scope 'root'"),
        ({"scopes": []}, "needs a scope"),
        ({"lifetime": timedelta(0)}, "later than now"),
        ({"lifetime": timedelta(days=40_000)}, "hundred years"),
        ({"requests_per_minute": 0}, "from 1"),
        ({"concurrent": -1}, "from 1"),
    ],
)
def test_what_makes_no_sense_is_refused(store, arguments, words):
    with pytest.raises(RequestError, match=words):
        store.create(**arguments)
    assert not store.path.exists()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"keys": [{}]}', b'{"keys": 3}', b"\xff", b"[" * 100_000]
)
def test_a_damaged_file_lets_nobody_in_and_is_not_overwritten(store, content, caplog):
    text, _ = store.create()
    store.path.write_bytes(content)
    assert store.find(text) is None
    assert "damaged" in caplog.text
    with pytest.raises(StoreError, match="damaged"):
        store.create()
    with pytest.raises(StoreError):
        store.list()
    assert store.path.read_bytes() == content


def test_a_file_that_others_may_write_counts_for_nothing(store):
    text, _ = store.create()
    store.path.chmod(0o620)
    assert store.find(text) is None
    with pytest.raises(StoreError, match="chmod 600"):
        store.list()
    store.path.chmod(0o600)
    assert store.find(text) is not None


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    store = KeyStore(tmp_path / "file" / "keys.json")
    with pytest.raises(StoreError, match="HYPERLLAMA_KEYS"):
        store.create()
    assert store.find("hlnb_x") is None


def test_keys_made_at_the_same_time_are_all_kept(store):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: KeyStore(store.path).create(), range(24)))
    assert {key for _, key in made} == set(store.list())
    assert all(store.find(text) == key.caller for text, key in made)


def test_the_variable_names_the_file(monkeypatch, tmp_path):
    assert default_path().parts[-2:] == ("hyperllama", "keys.json")
    monkeypatch.setenv("HYPERLLAMA_KEYS", str(tmp_path / "k"))
    assert KeyStore().path == tmp_path / "k"


def test_a_name_is_one_short_line(store):
    _, key = store.create(name="a\nb\x1b[31m" + "c" * 200)
    assert key.name == "ab[31m" + "c" * 94
    assert json.loads(store.path.read_text())["keys"][0]["name"] == key.name


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (("Bearer hlnb_x", None), "hlnb_x"),
        (("bearer   hlnb_x ", None), "hlnb_x"),
        (("token hlnb_x", None), "hlnb_x"),
        ((None, "hlnb_x"), "hlnb_x"),
        (("Bearer ollama", "hlnb_x"), "hlnb_x"),
        (("Bearer hlnb_a", "hlnb_b"), "hlnb_a"),
        (("Bearer ollama", None), None),
        (("Basic hlnb_x", None), None),
        (("hlnb_x", None), None),
        (("Bearer", None), None),
        (("Bearer a hlnb_x", None), None),
        ((None, None), None),
        (("", ""), None),
    ],
)
def test_credentials_in_headers(headers, found):
    assert credential(*headers) == found


def test_importing_brings_nothing_heavy():
    code = (
        "import sys, hyperllama_nb.access.keys; "
        "heavy = {'asyncio', 'httpx', 'aiohttp', 'filelock', 'platformdirs', 'traitlets'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.strip() == ""
