"""The forms of a monitor's figure: complete, small, and the same to those who see no colours."""

import json
import xml.etree.ElementTree as ET

import nbformat
import pytest

from hyperllama_nb.widgets import _figure, _words
from hyperllama_nb.widgets._samples import WINDOWS, Samples
from tests.widgets.test_monitor_samples import ENGINE, snapshot

PLOTLY = "application/vnd.plotly.v1+json"


def device(step):
    return {
        "memory": 8_000_000_000,
        "free": step * 1_234_567,
        "utilisation": step % 101,
        "power": step * 0.0371,
    }


@pytest.fixture(scope="module")
def full():
    """Return 15 minutes of samples of a machine with a GPU, none like the other."""
    samples, output = Samples(0.5), 0
    for step in range(1800):
        output += step * 7919 % 40
        used = {"cpu_busy": step * 0.3137, "cpu_total": step, "devices": [device(step)]}
        engine = {**ENGINE, "batch": step % 13 / 3, "cpu_seconds": step * 0.2718}
        at = step * 0.5003
        samples.add(snapshot(at, output, prompt=3 * output, engines=[engine], **used), 1000 + at)
    return samples


@pytest.mark.parametrize("window", WINDOWS)
def test_a_full_window_takes_under_100_kb_of_a_notebook(full, window):
    bundle = _figure.static_bundle(full, window, None)
    output = nbformat.v4.new_output("display_data", bundle)
    cell = nbformat.v4.new_code_cell(outputs=[output])
    assert len(nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))) < 100_000


def test_the_live_figure_has_600_points_at_most(full):
    for window in WINDOWS:
        for trace in _figure.live(full, window)["data"]:
            assert len(trace["x"]) == len(trace["y"]) <= 600


def test_lines_of_a_panel_differ_in_more_than_colour(full):
    traces = _figure.live(full, 60)["data"]
    for axis in {trace["yaxis"] for trace in traces}:
        dashes = [trace["line"]["dash"] for trace in traces if trace["yaxis"] == axis]
        assert len(set(dashes)) == len(dashes)
    root = ET.fromstring(_figure.static_bundle(full, 60, None)["image/svg+xml"])
    assert "stroke-dasharray" in ET.tostring(root, "unicode")
    words = " ".join(root.itertext())
    for name in ("running", "queued", "batch", "machine", "engines", "GPU", "GPU power, W"):
        assert name in words


def test_no_background_is_set_and_no_colour_of_a_theme(full):
    layout = _figure.live(full, 60)["layout"]
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"
    assert layout["font"]["color"] == "#888888"
    assert layout["height"] > 400


def test_panels_of_a_gpu_are_there_only_where_one_is():
    samples = Samples(0.5)
    for step in range(3):
        samples.add(snapshot(step / 2), step / 2)
    names = [trace["name"] for trace in _figure.live(samples, 60)["data"]]
    assert "GPU" not in names
    assert "power" not in names
    assert "GPU" not in _figure.static_bundle(samples, 60, None)["text/plain"]


def test_what_a_browser_cannot_read_is_never_sent(full):
    json.dumps(_figure.live(full, 900), allow_nan=False)
    json.dumps(_figure.static_bundle(full, 900, None), allow_nan=False)


def test_the_highest_value_is_one_that_was_seen():
    samples = Samples(0.2)
    for step in range(4500):
        engine = {**ENGINE, "queued": 90 if step == 2000 else 0}
        samples.add(snapshot(step * 0.2, engines=[engine]), step * 0.2)
    text = _figure.static_bundle(samples, 900, "m")["text/plain"]
    (row,) = (line for line in text.splitlines() if line.startswith("requests queued"))
    assert row.split()[-1] == "90"


def test_a_name_is_data():
    samples = Samples(0.5)
    samples.add(snapshot(0.0), 0.0)
    bundle = _figure.static_bundle(samples, 60, "<b>&")
    ET.fromstring(bundle["image/svg+xml"])
    assert "&lt;b&gt;&amp;" in bundle[PLOTLY]["layout"]["title"]["text"]


@pytest.mark.parametrize(
    ("state", "words"),
    [("asleep", "asleep until"), ("loading", "loading"), ("no engine", "No model is loaded")],
)
def test_a_state_without_numbers_is_told_in_words(state, words):
    samples = Samples(0.5)
    engines = [] if state == "no engine" else [{**ENGINE, "state": state}]
    samples.add(snapshot(0.0, engines=engines), 0.0)
    assert words in _words.line(samples, 60)


def test_the_line_has_the_numbers_that_are_known():
    samples = Samples(0.5)
    assert _words.line(samples, 60) == "Waiting for the first numbers."
    samples.add(snapshot(0.0), 0.0)
    samples.add(snapshot(1.0, 41, waits=[0.18], devices=[device(1000)]), 1.0)
    line = _words.line(samples, 60)
    assert line.startswith("Decode 41, prompt 0 tokens/s. First token after 180 ms (median 180 ms)")
    assert "1 running, 2 queued, batch 1.5." in line
    assert "KV cache 25 %." in line
    assert "GPU 91 %, 6.77 GB, 37 W." in line
    samples.gap(2.0, "not running")
    assert _words.line(samples, 60).startswith("No service answers.")
