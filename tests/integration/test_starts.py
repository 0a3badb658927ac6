"""Starts with a real engine: what the extension began, the first cell finds."""

import time

from hyperllama_nb import Client
from hyperllama_nb.runtime import remember_last
from tests.integration.kernel import MODEL, kernel


def test_the_first_cell_finds_the_engine_that_the_extension_began_to_load(client: Client) -> None:
    client.unload(MODEL)
    remember_last(MODEL)
    with kernel(prewarm="last") as cells:
        started = time.monotonic()
        while not [e for e in client.status()["engines"] if e["state"] in {"loading", "ready"}]:
            assert time.monotonic() - started < 60
            time.sleep(0.05)
        cell = cells.run(f"%%llm {MODEL} --temperature 0\nWhat is the capital of France?")
        assert cell.status == "ok", cell.messages
        assert "Paris" in cell.text
        [engine] = [e for e in client.status()["engines"] if e["model"] == MODEL]
        assert engine["requests"] == 1


def test_a_pull_of_what_is_compiled_ends_at_once(client: Client) -> None:
    client.load(MODEL)
    lines = [line["status"] for line in client.pull(MODEL, stream=True)]
    print(lines)
    assert lines[-1] == "success"
    assert not [status for status in lines if "compil" in status]
