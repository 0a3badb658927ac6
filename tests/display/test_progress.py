"""The words for what is waited for."""

from hyperllama_nb.display.progress import Progress, Waiting
from hyperllama_nb.display.sinks import NullSink
from tests.display.test_sinks import Clock


def test_a_load_goes_on_with_the_clock_while_the_service_is_silent():
    clock = Clock()
    progress = Progress("Waiting for m", clock)
    clock.now += 2
    assert progress.text() == "Waiting for m, 2 s"
    line = {"status": "loading", "model": "m", "phase": "compile", "elapsed": 3.2}
    assert progress.update(line) == "Loading m: compile, 3 s"
    clock.now += 60
    assert progress.text() == "Loading m: compile, 1 min 3 s"


def test_a_queue_tells_the_place():
    line = {"status": "queued", "model": "m", "position": 2, "elapsed": 0.4}
    assert Progress().update(line) == "Waiting for m: place 2 in its queue, 0 s"


def test_a_download_tells_rate_and_rest():
    clock = Clock()
    progress = Progress(clock=clock)
    assert progress.update({"status": "pulling manifest"}) == "pulling manifest"
    line = {"status": "pulling abc", "digest": "abc", "total": 100_000_000}
    progress.update({**line, "completed": 0})
    clock.now += 2
    assert (
        progress.update({**line, "completed": 20_000_000})
        == "pulling abc: 20 MB of 100 MB (20 %), 10 MB/s, 8.0 s left"
    )
    assert progress.update({**line, "completed": 100_000_000}).endswith("(100 %)")


def test_a_download_of_unknown_size_tells_what_came():
    clock = Clock()
    progress = Progress(clock=clock)
    progress.update({"status": "pulling x", "completed": 0})
    clock.now += 2
    text = progress.update({"status": "pulling x", "completed": 20_000_000})
    assert text == "pulling x: 20 MB, 10 MB/s"
    assert (progress.done, progress.total, progress.rate, progress.left) == (20e6, None, 10e6, None)


def test_what_was_fetched_before_counts_in_no_rate():
    clock = Clock()
    progress = Progress(clock=clock)
    line = {"status": "pulling abc", "digest": "abc", "total": 100_000_000}
    progress.update({**line, "completed": 60_000_000})
    assert (progress.rate, progress.left) == (None, None)
    clock.now += 1
    progress.update({**line, "completed": 70_000_000})
    assert (progress.rate, progress.left) == (10e6, 3.0)


def test_a_compilation_tells_its_stage_and_goes_on_with_the_clock():
    clock = Clock()
    progress = Progress(clock=clock)
    line = {"status": "compiling for this machine", "elapsed": 1.2}
    assert progress.update(line) == "compiling for this machine, 1 s"
    line["message"] = "reading the model"
    assert progress.update(line) == "compiling for this machine: reading the model, 1 s"
    line["message"] = "compiling for this machine (a minute or two)"
    progress.update(line)
    clock.now += 60
    assert progress.text() == "compiling for this machine (a minute or two), 1 min 1 s"


def test_a_call_that_waited_leaves_one_line():
    class Kept(NullSink):
        def __init__(self):
            self.lines, self.last = [], None

        def status(self, line):
            self.lines.append(line)

        def finish(self, footer="", metadata=None):
            self.last = footer

    sinks = []
    waiting = Waiting(lambda: sinks.append(Kept()) or sinks[-1])
    waiting({"done": True})
    assert sinks == []
    waiting({"status": "loading", "model": "m", "phase": "build", "elapsed": 0})
    waiting({"done": True})
    assert sinks[0].lines == ["Loading m: build, 0 s"]
    assert sinks[0].last.startswith("Waited ")
