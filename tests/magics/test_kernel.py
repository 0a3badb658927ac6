"""`%%llm` in a real kernel, in front of a scripted service."""

import queue
import time

import ipykernel
import pytest
from jupyter_client.manager import KernelManager

from hyperllama_nb.runtime import remember_last
from hyperllama_nb.testing import Script
from tests.client.fakeservice import messages, words
from tests.service.hosting import hosting, until

pytestmark = pytest.mark.slow

GENERATE = "POST /api/generate"


class Notebook:
    """Runs cells and keeps what they show."""

    def __init__(self, *settings):
        self.manager = KernelManager()
        self.manager.start_kernel(extra_arguments=[*settings])
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.run("%load_ext hyperllama_nb")

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def run(self, code, interrupt_at=None, then=()):
        """Return (status, error name, outputs); the cells in `then` wait behind this one."""
        message = self.client.execute(code)
        later = [self.client.execute(cell) for cell in then]
        shown, interrupted = [], None
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                found = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if found["parent_header"].get("msg_id") != message:
                continue
            kind, content = found["msg_type"], found["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind in {"display_data", "update_display_data", "stream", "error"}:
                shown.append((kind, content))
            if interrupt_at and not interrupted and interrupt_at(shown):
                interrupted = time.monotonic()
                self.manager.interrupt_kernel()
        replies = {}
        while not {message, *later} <= set(replies):
            reply = self.client.get_shell_msg(timeout=60)
            replies[reply["parent_header"]["msg_id"]] = reply["content"]
        self.behind = [replies[each]["status"] for each in later]
        found = replies[message]
        return found["status"], found.get("ename"), shown

    def all_of(self, *codes):
        """Run cells behind each other; return what each shows until the last one has ended."""
        ids = [self.client.execute(code) for code in codes]
        shown = {each: [] for each in ids}
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                found = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            parent, kind = found["parent_header"].get("msg_id"), found["msg_type"]
            if (kind, parent) == ("status", ids[-1]):
                if found["content"]["execution_state"] == "idle":
                    break
            elif parent in shown and kind != "status":
                shown[parent].append((kind, found["content"]))
        return [shown[each] for each in ids]


@pytest.fixture
def notebook(service):
    found = Notebook()
    yield found
    found.close()


def displays(shown):
    return [content for kind, content in shown if kind.endswith("display_data")]


def test_a_cell_streams_into_one_output_and_saves_its_figures(service, notebook):
    def answer(body):
        yield {"status": "loading", "model": "m", "phase": "compile", "elapsed": 3.0}
        time.sleep(0.2)
        for line in words("The ", "capital\n```", eval_count=2, eval_duration=10**9):
            yield line
            time.sleep(0.15)

    service.routes[GENERATE] = answer
    status, _, shown = notebook.run("%%llm m --seed 5\nWhat?")
    assert status == "ok"
    [first, *_, last] = displays(shown)
    assert first["data"] == {"text/plain": "Loading m: compile, 3 s"}
    assert len({found["transient"]["display_id"] for found in displays(shown)}) == 1
    assert last["data"]["text/plain"] == "The capital\n```\n\n2 tokens · 1.0 tokens/s"
    assert last["data"]["text/markdown"].startswith("The capital\n```\n```")
    saved = last["metadata"]["hyperllama"]
    assert saved["options"] == {"seed": 5}
    assert saved["finish_reason"] == "stop"
    assert service.requests[0][1]["kind"] == "kernel"


def test_an_interrupt_keeps_the_text_and_stops_the_cells_behind(service, notebook):
    def forever(body):
        while True:
            yield from words("x")[:1]
            time.sleep(0.02)

    service.routes[GENERATE] = forever
    status, name, shown = notebook.run(
        "%%llm m\nWhat?", interrupt_at=lambda shown: len(shown) > 2, then=["y = 1", "y = 2"]
    )
    assert (status, name) == ("error", "GenerationInterrupted")
    assert notebook.behind == ["aborted", "aborted"]
    assert service.gone.wait(10)
    last = displays(shown)[-1]
    assert last["data"]["text/plain"].startswith("xx")
    assert last["metadata"]["hyperllama"]["finish_reason"] == "interrupted"
    [error] = [content for kind, content in shown if kind == "error"]
    assert len(error["traceback"]) == 1
    status, _, _ = notebook.run("assert _llm.text.startswith('x') and not _llm.done")
    assert status == "ok"


def test_a_plot_ends_as_a_figure_that_can_be_saved(service, notebook):
    def answer(body):
        for line in words(*"abcdefgh", eval_count=8):
            yield line
            time.sleep(0.06)

    service.routes[GENERATE] = answer
    status, _, shown = notebook.run("%%llm m --plot\nWhat?")
    assert status == "ok"
    figure = displays(shown)[-1]["data"]
    assert set(figure) == {
        "application/vnd.plotly.v1+json", "image/svg+xml", "text/plain",
    }  # fmt: skip
    assert figure["text/plain"].startswith("m: median")


def test_a_call_that_waits_tells_so(service, notebook):
    def answer(body):
        yield {"status": "loading", "model": "m", "phase": "compile", "elapsed": 3.0}
        yield from words("x")

    service.routes[GENERATE] = answer
    code = "import hyperllama_nb as hl; assert hl.generate('m', '?').text == 'x'"
    status, _, shown = notebook.run(code)
    assert status == "ok"
    assert "Loading m: compile" in displays(shown)[0]["data"]["text/plain"]
    assert displays(shown)[-1]["data"]["text/plain"].startswith("Waited ")


def test_the_first_cell_joins_a_load_that_the_extension_began():
    with hosting("process", [Script(startup=3.0)]) as service:
        notebook = Notebook("--HyperLlamaMagics.prewarm=tiny")
        try:
            until(lambda: service.told("pid"))
            assert service.told("leases") == 0
            status, _, shown = notebook.run("%%llm tiny\nHi")
            assert status == "ok"
            [first, *_, last] = displays(shown)
            # The present stage at once, with the time since the load began.
            assert first["data"]["text/plain"].startswith("Loading tiny:latest: ")
            assert "Paris" in last["data"]["text/plain"]
            assert service.told("leases") == 1
            assert service.told("requests") == 1
        finally:
            notebook.close()


def test_the_next_notebook_loads_what_the_last_one_ran():
    with hosting("process") as service:
        remember_last("tiny:latest")
        notebook = Notebook()
        try:
            until(lambda: service.told("state") == "ready")
            assert service.told("requests") == 0
            status, _, shown = notebook.run("1 + 1")
            assert (status, shown) == ("ok", [])
        finally:
            notebook.close()


def slowly(*texts):
    """Answer with a pause behind each word."""

    def answer(body):
        for text in texts:
            yield messages(text)[0] if "messages" in body else words(text)[0]
            time.sleep(0.2)
        yield from messages() if "messages" in body else words()

    return answer


def test_an_answer_in_the_background_lands_in_its_own_cell(service, notebook):
    service.routes[GENERATE] = slowly(*"abcdefgh")
    first, busy, last = notebook.all_of(
        "%%llm m --bg\nHi",
        "import time; [(time.sleep(0.05), print(end='.')) for _ in range(20)]; kept = _llm.done",
        "assert not kept and _llm.wait(30).text == 'abcdefgh'; _llm",
    )
    assert "display_data" in {kind for kind, _ in first}
    shown = displays([*first, *busy, *last])
    assert len({found["transient"]["display_id"] for found in shown}) == 1
    # Before its version 7, ipykernel sends updates under the cell that runs; front ends go by the
    # display's id. Waiting sends the answer once more.
    if ipykernel.version_info >= (7,):
        assert displays(busy) == []
        assert displays(first)[-1]["data"]["text/plain"] == "abcdefgh"
    assert shown[0]["data"]["text/plain"] == "Waiting for m"
    assert shown[-1]["data"]["text/plain"] == "abcdefgh"
    assert "display_data" not in {kind for kind, _ in [*busy, *last]}
    assert "".join(content["text"] for kind, content in busy if kind == "stream") == "." * 20
    [result] = [content for kind, content in last if kind == "execute_result"]
    assert result["data"]["text/plain"] == "<Background m done, 8 characters>"


def test_a_kernel_ends_while_answers_grow(service, notebook):
    service.routes[GENERATE] = slowly(*"x" * 1000)
    notebook.run("%%llm m --bg\nHi")
    until(lambda: service.bodies(GENERATE))
    notebook.client.shutdown()
    until(lambda: not notebook.manager.is_alive())
    assert service.gone.wait(10)


def test_a_cell_awaits_answers(service, notebook):
    service.routes["POST /api/chat"] = slowly("Hi ", "you")
    code = (
        "import asyncio, hyperllama_nb as hl\n"
        "both = await asyncio.gather(hl.achat('x', 'm'), hl.achat('y', 'm'))\n"
        "assert [one.text for one in both] == ['Hi you'] * 2"
    )
    status, _, shown = notebook.run(code)
    assert status == "ok"
    last = {found["transient"]["display_id"]: found["data"] for found in displays(shown)}
    assert [data["text/markdown"][:6] for data in last.values()] == ["Hi you"] * 2


def test_an_interrupt_ends_what_a_cell_awaits(service, notebook):
    service.routes["POST /api/chat"] = slowly(*"x" * 1000)
    status, name, shown = notebook.run(
        "import hyperllama_nb as hl; await hl.achat('x', 'm')",
        interrupt_at=lambda shown: len(shown) > 2,
        then=["y = 1"],
    )
    assert (status, name) == ("error", "CancelledError")
    assert notebook.behind == ["aborted"]
    assert service.gone.wait(10)
    last = displays(shown)[-1]
    assert last["data"]["text/plain"].startswith("xx")
    assert last["metadata"]["hyperllama"]["finish_reason"] == "interrupted"


def test_new_code_comes_as_a_cell_and_a_turn_belongs_to_its_cell(service, notebook):
    service.routes["POST /api/chat"] = lambda body: messages("```python\nx = 1\n```")
    for _ in range(2):
        message = notebook.client.session.msg(
            "execute_request",
            {"code": "%%llm m -c a -f code\nHi", "silent": False, "store_history": True},
            metadata={"cellId": "one"},
        )
        notebook.client.shell_channel.send(message)
        reply = notebook.client.get_shell_msg(timeout=60)
        [payload] = reply["content"]["payload"]
        assert payload["source"] == "set_next_input"
        assert (payload["text"], payload["replace"]) == ("x = 1", False)
    bodies = service.bodies("POST /api/chat")
    assert [len(body["messages"]) for body in bodies] == [1, 1]
