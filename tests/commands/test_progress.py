"""Pull and load lines on a made-up clock."""

import pytest

from hyperllama_nb.commands.progress import Download, Progress, describe


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class FakeSink:
    def __init__(self):
        self.lines = []

    def status(self, line):
        self.lines.append(line)

    def finish(self):
        self.lines.append("finished")


def line(completed, digest="sha256:a", status="pulling a"):
    return {"status": status, "digest": digest, "total": 100_000_000, "completed": completed}


def test_a_download_tells_amount_rate_and_time_left():
    clock = Clock()
    download = Download(clock)
    assert download.describe(line(0)) == "pulling a: 0 B of 100 MB"
    clock.now = 2.0
    text = download.describe(line(20_000_000))
    assert text == "pulling a: 20 MB of 100 MB, 10 MB/s, 8.0 s left"
    clock.now = 3.0
    assert download.describe(line(100_000_000)) == "pulling a: 100 MB of 100 MB"


def test_the_rate_is_that_of_the_last_seconds():
    clock = Clock()
    download = Download(clock)
    download.describe(line(0))
    clock.now = 10.0
    download.describe(line(50_000_000))
    clock.now = 12.0
    assert "5 MB/s" in download.describe(line(60_000_000))


def test_each_part_is_counted_for_itself():
    clock = Clock()
    download = Download(clock)
    download.describe(line(90_000_000))
    clock.now = 1.0
    assert download.describe(line(0, "sha256:b")) == "pulling a: 0 B of 100 MB"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"status": "verifying sha256 digest"}, "verifying sha256 digest"),
        (
            {"status": "loading", "model": "m", "phase": "compile", "message": "", "elapsed": 12.3},
            "loading m, compile, 12 s",
        ),
        (
            {"status": "queued", "model": "m", "position": 2, "elapsed": 0.4},
            "waiting for m, position 2, 400 ms",
        ),
    ],
)
def test_other_lines(given, text):
    assert describe(given) == text


def test_a_terminal_gets_each_line_and_a_file_one_now_and_then(capsys):
    clock, sink = Clock(), FakeSink()
    with Progress(sink, rewrites=True, clock=clock) as progress:
        progress.update({"status": "one"})
        progress.update({"status": "one"})
    assert sink.lines == ["one", "one", "finished"]
    with Progress(FakeSink(), rewrites=False, clock=clock) as progress:
        for clock.now in (0.0, 1.0, 2.0, 5.0, 6.0):
            progress.update(line(int(clock.now * 10_000_000)))
        progress.update({"status": "success"})
    assert len(capsys.readouterr().err.splitlines()) == 3
