"""The main job: cells stream from a real engine, can be interrupted, and share it."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from hyperllama_nb import Client
from tests.integration.kernel import MODEL, Kernel, kernel
from tests.integration.processes import group_of, listening

QUESTION = "What is the capital of France?"
LONG = "Write a very long story about a river."


@pytest.fixture(scope="module")
def cells(client: Client) -> Iterator[Kernel]:
    with kernel() as started:
        yield started


def engine_of(client: Client) -> dict:
    [engine] = [e for e in client.status()["engines"] if e["model"] == MODEL]
    return engine


def wait_free(client: Client, seconds: float) -> float:
    """Wait until no request holds a slot of the engine; return how long that took."""
    started = time.monotonic()
    while engine_of(client)["running"]:
        assert time.monotonic() - started < seconds, engine_of(client)
        time.sleep(0.02)
    return time.monotonic() - started


def test_cell_streams_the_answer(cells: Kernel) -> None:
    cell = cells.run(f"%%llm {MODEL} --temperature 0\n{QUESTION}")
    assert cell.status == "ok", cell.messages
    assert len(cell.of("update_display_data")) >= 2
    assert "Paris" in cell.text
    assert cell.metadata["model"] == MODEL
    assert "tokens/s" in str(cell.displays[-1]["data"])


def test_nothing_listens_on_tcp_while_a_cell_streams(cells: Kernel, client: Client) -> None:
    status = client.status()
    ours = group_of(status["pid"])
    assert engine_of(client)["pid"] in {p.pid for p in ours}
    seen: list[list[str]] = []

    def look(message: dict) -> None:
        if message["msg_type"] == "update_display_data":
            seen.append(listening(ours))

    cell = cells.run(f"%%llm {MODEL} --max-tokens 60\n{LONG}", watch=look)
    print("TCP listeners of", len(ours), "processes, at each update:", seen)
    assert cell.status == "ok"
    assert len(seen) >= 3
    assert not any(seen)


def test_emoji_and_chinese_stream_whole(client: Client) -> None:
    messages = [{"role": "user", "content": "Say hello in Chinese, with emoji."}]
    options = {"temperature": 0, "num_predict": 40}
    stream = client.chat(MODEL, messages, stream=True, options=options)
    pieces = [chunk.message.content for chunk in stream]
    text = "".join(pieces)
    print(text)
    assert "\ufffd" not in text
    assert any(0x2E80 < ord(c) < 0xA000 for c in text), "no Chinese in it"
    assert any(ord(c) > 0xFFFF for c in text), "no emoji in it"


def test_interrupt_keeps_the_text_and_frees_the_engine(cells: Kernel, client: Client) -> None:
    request = cells.submit(f"%%llm {MODEL} --max-tokens 2000\n{LONG}")
    queued = cells.submit("reached = True")
    updates = 0
    pressed = [0.0]

    def press(message: dict) -> None:
        nonlocal updates
        updates += message["msg_type"] == "update_display_data"
        if updates == 3 and not pressed[0]:
            pressed[0] = time.monotonic()
            cells.interrupt()

    cell = cells.collect(request, 60, press)
    took = time.monotonic() - pressed[0]
    free = wait_free(client, 10)
    print(f"prompt back after {took * 1e3:.0f} ms, slot free {free * 1e3:.0f} ms later")
    assert took < 2.0
    assert cell.status == "error"
    assert len(cell.text) > 10
    assert cell.metadata["finish_reason"] == "interrupted"
    assert cells.reply(queued)["status"] == "aborted"
    assert cells.run(f"%%llm {MODEL} --temperature 0\n{QUESTION}").status == "ok"


def test_interrupt_during_a_long_prefill(cells: Kernel, client: Client) -> None:
    words = " ".join(f"w{number}" for number in range(480))
    assert engine_of(client)["context_length"] >= 2048
    request = cells.submit(f"%%llm {MODEL} --raw --max-tokens 20\n{words}")
    while not engine_of(client)["running"]:
        time.sleep(0.005)
    pressed = time.monotonic()
    cells.interrupt()
    cell = cells.collect(request, 60)
    took = time.monotonic() - pressed
    started = time.monotonic()
    answer = client.generate(MODEL, "Hello", options={"num_predict": 1})
    after = time.monotonic() - started
    print(f"prompt back after {took * 1e3:.0f} ms, next request took {after * 1e3:.0f} ms")
    assert cell.status == "error"
    assert took < 2.0
    assert answer.usage.output_tokens == 1
    assert after < 3.0


def test_two_clients_share_one_engine(client: Client) -> None:
    before = engine_of(client)
    answers: list[str] = []

    def ask() -> None:
        options = {"temperature": 0, "num_predict": 24}
        answers.append(Client().generate(MODEL, QUESTION, options=options).text)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 2
    assert answers[0] == answers[1]
    assert "Paris" in answers[0]
    assert engine_of(client)["pid"] == before["pid"]


def test_killed_kernel_finds_the_model_warm(client: Client) -> None:
    pid = engine_of(client)["pid"]
    with kernel() as first:
        assert first.run(f"%%llm {MODEL} --max-tokens 5\n{QUESTION}").status == "ok"
        leased = engine_of(client)["leases"]
        first.kill()
        deadline = time.monotonic() + 10
        while engine_of(client)["leases"] >= leased:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    with kernel() as second:
        started = time.monotonic()
        cell = second.run(f"%%llm {MODEL} --temperature 0\n{QUESTION}")
        print(f"first cell of the new kernel took {time.monotonic() - started:.2f} s")
        assert "Paris" in cell.text
    assert engine_of(client)["pid"] == pid


def test_bad_cells_say_what_to_do(cells: Kernel) -> None:
    unknown = cells.run("%%llm nosuchmodel\nHello")
    assert unknown.status == "error"
    said = str(unknown.of("error", "stream"))
    assert "nosuchmodel" in said
    assert "pull" in said
    misspelt = cells.run(f"%%llm {MODEL} --temprature 0\nHello")
    assert misspelt.status == "error"
    assert "--temperature" in str(misspelt.of("error", "stream"))
    assert cells.run(f"%%llm {MODEL} --max-tokens 3\nHello").status == "ok"


def test_limits_are_told(cells: Kernel) -> None:
    short = cells.run(f"%%llm {MODEL} --max-tokens 5\n{LONG}")
    assert "--max-tokens" in str(short.displays[-1]["data"])
    assert short.metadata["finish_reason"] == "length"
    cut = cells.run(f"%%llm {MODEL} --num-ctx 128 --max-tokens 5\n{'river ' * 400}")
    assert "--num-ctx" in str(cut.displays[-1]["data"])


def test_plot_ends_as_a_static_figure(cells: Kernel) -> None:
    cell = cells.run(f"%%llm {MODEL} --plot --max-tokens 40\n{LONG}")
    assert cell.status == "ok", cell.messages
    figures = [d for d in cell.displays if "image/svg+xml" in d["data"]]
    assert figures
    assert "text/plain" in figures[-1]["data"]
    assert re.search(r"tok", figures[-1]["data"]["text/plain"])


def test_a_cell_opens_and_closes_a_tcp_listener(cells: Kernel) -> None:
    opened = cells.run("%llm serve --port 0")
    assert opened.status == "ok", opened.messages
    [port] = re.findall(r"127\.0\.0\.1:(\d+)", opened.printed)[:1]
    url = f"http://127.0.0.1:{port}/api/tags"
    assert MODEL in httpx.get(url).text
    assert httpx.get(url, headers={"Host": "elsewhere.example"}).status_code == 403
    assert cells.run("%llm serve --stop").status == "ok"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_command_prints_only_the_answer(client: Client) -> None:
    command = [sys.executable, "-m", "hyperllama_nb", "generate", MODEL, QUESTION]
    done = subprocess.run(
        [*command, "--temperature", "0"], capture_output=True, text=True, timeout=60, check=True
    )
    print(repr(done.stdout))
    print(repr(done.stderr))
    assert "Paris" in done.stdout
    assert "tokens/s" not in done.stdout


def test_killed_engine_is_told_and_started_again(cells: Kernel, client: Client) -> None:
    """Last in this file: it costs a start."""
    engine = engine_of(client)
    parts = group_of(engine["pid"])
    updates = 0

    def shoot(message: dict) -> None:
        nonlocal updates
        updates += message["msg_type"] == "update_display_data"
        if updates == 3 and psutil.pid_exists(engine["pid"]):
            updates += 1
            for process in parts:
                process.kill()

    cell = cells.run(f"%%llm {MODEL} --max-tokens 2000\n{LONG}", watch=shoot)
    assert cell.status == "error"
    assert "ended" in str(cell.of("error", "stream"))
    again = cells.run(f"%%llm {MODEL} --temperature 0\n{QUESTION}")
    assert again.status == "ok", again.messages
    assert "Paris" in again.text
    assert engine_of(client)["pid"] != engine["pid"]
