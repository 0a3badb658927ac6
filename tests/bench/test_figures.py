"""Pictures: well-formed, told apart without colour, with words for those who cannot see them."""

import re
import xml.etree.ElementTree as ET

import pytest

from hyperllama_nb.bench import figures
from hyperllama_nb.bench.drawing import Scale, number, round_logs, shortened, style
from hyperllama_nb.bench.live import Curve
from hyperllama_nb.bench.throughput import Objectives
from tests.bench.summaries import OVERLAY, summary

SVG = "{http://www.w3.org/2000/svg}"
CURVES = [
    Curve("a<", (1, 2, 3), (0.2, 0.3, 0.25), (None, 0.1, 0.2), (None, 0.4, 0.3)),
    Curve("b", (1, 2), (0.5, 0.4), (None, None), (None, None)),
]
RATIO = {"label": "time to first token", "group": "a against b", "ratio": 1.18}


def read(picture):
    root = ET.fromstring(picture)
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text
    assert root.find(f"{SVG}desc").text
    assert root.get("viewBox").split()[2] == root.get("width")
    return root


def words(root):
    return [each.text for each in root.iter(f"{SVG}text")]


def hovers(root):
    return [each.text for each in root.iter(f"{SVG}title")]


def test_curves_have_a_band_a_legend_and_differ_in_more_than_colour():
    root = read(figures.curves(CURVES, "running median", "s"))
    assert {"a<", "b", "ms", "answers", "running median"} <= set(words(root))
    assert len([each for each in root if each.get("fill-opacity") == "0.18"]) == 1
    lines = [each for each in root if each.get("stroke-width") == "2"]
    assert len({each.get("stroke-dasharray") for each in lines}) == 2
    assert "a<: 250 ms [200, 300] after 3 answers" in hovers(root)


def test_a_curve_without_a_point_keeps_the_styles_of_the_others():
    first, second = figures.curves(CURVES, "t", "s"), figures.curves([EMPTY, CURVES[1]], "t", "s")
    colour = style(1).colour
    assert colour in first
    assert colour in second
    assert style(0).colour not in second
    assert figures.curves([EMPTY], "t", "s") == ""


EMPTY = Curve("c", (), (), (), ())


def test_a_distribution_is_a_stair_with_the_objective_across():
    series = {"a": ((0.1, 0.2, 0.4), (1 / 3, 2 / 3, 1.0)), "b": ((), ())}
    root = read(figures.ecdfs(series, "latency", "s", 0.3))
    stair = next(p.get("d") for p in root.iter(f"{SVG}path") if p.get("d").count("V") == 3)
    heights = [float(each) for each in re.findall(r"V([\d.]+)", stair)]
    assert heights == sorted(heights, reverse=True)
    assert "objective 300 ms" in words(root)
    assert "a: half within 200 ms" in hovers(root)
    assert "b" not in words(root)
    assert figures.ecdfs({"a": ((), ())}, "t", "s", 1.0) == ""


def test_a_wide_distribution_is_logarithmic():
    series = {"a": ((0.01, 5.0), (0.5, 1.0))}
    assert "s, logarithmic" in words(read(figures.ecdfs(series, "t", "s")))


def test_numbers_lie_over_the_load_that_was_measured():
    found = summary(overlays=[OVERLAY])
    root = read(figures.against_load(found, "ttft", "time to first token"))
    assert "requests in flight, on average" in words(root)
    assert any("a, 1 at a time: median 200 ms" in each for each in hovers(root))
    assert any("max benchmark: m on modular" in each for each in hovers(root))
    lines = [each.get("d") for each in root if each.get("stroke-width") == "2"]
    assert len(lines) == 2 + 4  # in the legend, and of each target's two kinds of load
    hollow = [each for each in root if each.get("fill-opacity") == "0"]
    assert len(hollow) == 2  # the mark and its entry in the legend
    found["cells"] = found["cells"][:1]
    assert figures.against_load(found, "ttft", "t") == ""


def test_the_share_of_good_requests_has_its_interval():
    found = summary(objectives=Objectives(ttft=0.21))
    root = read(figures.attainment(found, "within the objectives"))
    assert "% of the requests" in words(root)
    assert any("a, 1 at a time: 100 % good [61, 100], 0.519 in" in each for each in hovers(root))
    bars = [each for each in root if each.get("stroke-width") == "1.2"]
    assert len(bars) == 4


def test_a_bar_reaches_to_a_high_percentile_where_one_is_known():
    found = summary()
    values = found["cells"][0]["targets"]["a"]["metrics"]["ttft"]
    before = figures.against_load(found, "ttft", "t")
    values["p90"] = 0.3
    after = figures.against_load(found, "ttft", "t")
    assert "p90" not in before
    assert "p90 300 ms" in after


@pytest.mark.parametrize("hatched", [False, True])
def test_a_forest_says_its_numbers_and_whether_it_is_fair(hatched):
    rows = [
        {**RATIO, "low": 1.11, "high": 1.26},
        {**RATIO, "label": "x", "ratio": None, "low": None, "high": None},
    ]
    picture = figures.forest(rows, hatched=hatched)
    root = read(picture)
    assert "1.18x [1.11, 1.26]" in words(root)
    assert "x" not in words(root)
    assert ('class="hatch"' in picture) == hatched
    assert ("a rule of fairness failed" in picture) == hatched
    assert figures.forest(rows[1:], hatched=hatched) == ""


def test_a_forest_of_far_ratios_has_few_ticks():
    rows = [{**RATIO, "ratio": 60.0, "low": 0.02, "high": 900.0}]
    ticks = [
        each for each in words(read(figures.forest(rows, hatched=False))) if each.endswith("x")
    ]
    assert 2 <= len(ticks) <= 9
    assert "1x" in ticks


def test_a_waterfall_shows_the_first_load_and_a_later_one():
    root = read(figures.waterfall(summary()["loads"]))
    assert {"a, first", "a, middle of 2 later", "2.00 s", "build"} <= set(words(root))
    assert hovers(root).count("build: 1.5 s") == 4
    assert figures.waterfall([]) == ""


def test_scales_have_round_ticks_inside_their_ends():
    assert Scale(0, 97, 0, 100).ticks(6) == [0, 20, 40, 60, 80]
    assert Scale(0.021, 0.034, 0, 100).ticks(5) == [0.025, 0.03]
    assert Scale(3, 9, 0, 100, log=True).ticks(6) == [4, 6, 8]
    assert Scale(1, 100, 0, 100, log=True).at(10) == pytest.approx(50)
    assert Scale(5, 5, 0, 100).at(7) == 0
    assert round_logs(1e-6, 1e6, 5) == [1e-6, 1e-3, 1.0, 1e3, 1e6]


def test_styles_and_words():
    assert len({style(k) for k in range(18)}) == 18
    assert shortened("http://127.0.0.1:8000/v1#model", 11) == "http:…model"
    assert shortened("max", 11) == "max"
    assert (number(12000), number(0.025), number(20.0)) == ("12 000", "0.025", "20")
