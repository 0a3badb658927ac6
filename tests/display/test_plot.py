"""The figure of a generation's rate."""

import json
import xml.etree.ElementTree as ET

from hyperllama_nb.display import plot
from hyperllama_nb.display.sinks import NullSink
from tests.display.test_sinks import Clock


class Kept(NullSink):
    def __init__(self):
        self.words = []
        self.footer = None

    def text(self, delta):
        self.words.append(delta)

    def finish(self, footer="", metadata=None):
        self.footer = footer


def test_a_steady_stream_has_a_steady_rate():
    clock = Clock()
    rate = plot.Rate(clock)
    rate.sample()
    assert rate.seconds == []
    for step in range(100):
        rate.event()
        if step % 5 == 4:
            rate.sample()
        clock.now += 0.05
    assert all(abs(value - 20) < 1.01 for value in rate.rates)


def test_a_long_stream_stays_bounded():
    clock = Clock()
    rate = plot.Rate(clock)
    rate.event()
    for _ in range(10 * plot.LIMIT):
        clock.now += 0.25
        rate.event()
        rate.sample()
    assert plot.LIMIT / 4 < len(rate.seconds) <= plot.LIMIT
    assert rate.seconds == sorted(rate.seconds)
    assert rate.seconds[-1] > 0.8 * 10 * plot.LIMIT * 0.25


def test_a_terminal_gets_a_sentence():
    clock, inner = Clock(), Kept()
    shown = plot.ThroughputPlot(inner, "m", live=False, clock=clock)
    for _ in range(20):
        shown.text("x")
        clock.now += 0.1
        if shown.due() == 0.0:
            shown.flush()
    shown.finish("end", {"usage": {"output_tokens": 40}})
    assert inner.words == ["x"] * 20
    first, second = inner.footer.splitlines()
    assert first == "end"
    assert second.startswith("m: median 2")


def test_an_answer_without_text_has_no_figure():
    inner = Kept()
    plot.ThroughputPlot(inner, "m", live=False).finish("end")
    assert inner.footer == "end"


def test_the_saved_forms_can_be_read():
    bundle = plot.static_bundle("a<b", [0.5, 1.0], [10.0, 20.0], 'sum & "<"')
    json.dumps(bundle["application/vnd.plotly.v1+json"])
    root = ET.fromstring(bundle["image/svg+xml"])
    assert root.get("role") == "img"
    assert root[0].text == 'sum & "<"'
    assert "currentColor" in bundle["image/svg+xml"]
    assert bundle["text/plain"] == 'sum & "<"'
    ET.fromstring(plot.svg([], [], "empty"))
