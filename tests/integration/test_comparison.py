"""A comparison of the real engines: each reads and writes just what was asked for."""

import shutil
import tempfile
from collections.abc import Iterator

import pytest

from hyperllama_nb import Client
from hyperllama_nb.bench.choice import Choice
from hyperllama_nb.bench.session import Session
from tests.integration.kernel import MODEL


@pytest.fixture
def own(models: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Return a client of a service of its own: a comparison unloads what is loaded."""
    place = tempfile.mkdtemp(prefix="hl", dir="/tmp")
    monkeypatch.setenv("HYPERLLAMA_RUNTIME_DIR", place)
    client = Client()
    yield client
    client.stop(wait=False)
    shutil.rmtree(place, ignore_errors=True)


def test_all_engines_read_and_write_as_many_tokens_as_were_asked_for(own: Client) -> None:
    targets = ("max", "llamacpp")
    sizes = {"input_tokens": 50, "output_tokens": 12, "requests": 2, "blocks": 1}
    session = Session(own, Choice(MODEL, targets, concurrency=(2,), **sizes))
    session.run()
    found = session.requests()
    assert {each.status for each in found} == {"succeeded"}
    assert {(each.target, each.prompt_tokens, each.output_tokens) for each in found} == {
        (name, 50, 12) for name in targets
    }
    rules = {check.rule: check.state for check in session.checks()}
    assert rules["same tokens in"] == rules["same tokens out"] == rules["same sampler"] == "pass"
    assert rules["failures"] == rules["warm"] == rules["same slots"] == "pass"
    assert rules["one engine at a time"] != "fail"
