"""Line charts: gaps stay gaps, titles tell the lines, names are data."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

from hyperllama_nb.display import charts
from hyperllama_nb.display.charts import Panel, Series

TWO = Panel("Both", [Series("one", [1, 2, None, 4]), Series("other", [0, None, 0, None])])
XS = [0.0, 1.0, 2.0, 3.0]


def paths(text):
    lines = ET.fromstring(text).iter("{http://www.w3.org/2000/svg}path")
    return [line.get("d") for line in lines if line.get("stroke-width")]


def test_gaps_break_a_line_and_lone_points_are_dots():
    first, second = paths(charts.svg([TWO], XS, "t", ends=("0", "3")))
    assert re.findall("[ML]", first) == ["M", "L", "M"]
    assert re.findall("[ML]", second) == ["M", "M"]
    assert second.count("h.1") == 2


def test_a_picture_is_as_tall_as_its_rows():
    root = ET.fromstring(
        charts.svg([TWO] * 3, XS, "t", ends=("0", "3"), columns=2, size=(300, 100))
    )
    assert (root.get("width"), root.get("height")) == ("600", "200")


def test_lines_are_thinned_to_what_a_picture_can_show():
    values = [float(n) for n in range(10 * charts.POINTS)]
    (path,) = paths(charts.svg([Panel("p", [Series("s", values)])], values, "t", ends=("", "")))
    assert 0.9 * charts.POINTS < path.count("L") < charts.POINTS


def test_values_above_a_fixed_end_stay_in_the_panel():
    panel = Panel("%", [Series("s", [0, 250])], top=100)
    (path,) = paths(charts.svg([panel], [0.0, 1.0], "t", ends=("", "")))
    assert path.split()[-1] == "24.0"


def test_means_of_neighbours_leave_gaps_out():
    assert charts.thin([1, 3, None, None, None, 8], 2) == [2, None, 8]
    assert charts.thin([1, None], 1) == [1, None]
    assert charts.short(123456.0) == 123500
    assert charts.short(None) is None


def test_each_panel_has_axes_of_its_own_that_do_not_overlap():
    found = charts.figure([TWO] * 5, XS, below="x", columns=2, span=(0, 3))
    layout = found["layout"]
    domains = [layout[f"yaxis{n}"]["domain"] for n in ("", "3", "5")]
    assert domains == sorted(domains, reverse=True)
    assert all(low[1] < high[0] for high, low in pairwise(domains))
    titled = [name for name in layout if "title" in str(layout[name]) and "axis" in name]
    assert titled == ["xaxis4", "xaxis5"]
    assert [trace["yaxis"] for trace in found["data"]] == [
        f"y{n}" for n in ("", "2", "3", "4", "5") for _ in range(2)
    ]
    assert all("one" in note["text"] and "other" in note["text"] for note in layout["annotations"])


def test_names_are_data():
    panel = Panel("<i>&", [Series("<b>", [1.0]), Series("&", [2.0])])
    ET.fromstring(charts.svg([panel], [0.0], '"<', ends=("<", ">")))
    (note,) = charts.figure([panel], [0.0], below="x")["layout"]["annotations"]
    assert "<i>" not in note["text"]
    assert "<b>" not in note["text"]
