"""Tables and the numbers in them."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.display.tables import Table, human_ago, human_bytes, human_duration


def test_a_table_is_aligned_text():
    table = Table(("NAME", "SIZE"), [("smollm2:135m", "93 MB"), ("模型", "1 GB")], title="Models")
    assert str(table).splitlines() == [
        "Models",
        "NAME           SIZE",
        "smollm2:135m   93 MB",
        "模型           1 GB",
    ]


def test_html_shows_markup_as_data():
    html = Table(("A",), [("<script>",)], title="<b>")._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert "<caption>&lt;b&gt;</caption>" in html


def test_a_saved_notebook_has_both_forms():
    bundle = Table(("A", "B"), [("1", "2")])._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == "A   B\n1   2"
    assert bundle["text/html"].startswith("<table>")


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_any_text_makes_a_row_of_one_line(rows):
    lines = str(Table(("A", "B"), rows)).split("\n")
    assert len(lines) == len(rows) + 1


def test_numbers_as_people_read_them():
    assert [human_bytes(n) for n in (0, 999, 1000, 93_222_111, 5e12)] == [
        "0 B", "999 B", "1 kB", "93.2 MB", "5 TB",
    ]  # fmt: skip
    assert [human_duration(s) for s in (None, 0.5, 9.96, 59.6, 3600, 200_000)] == [
        "-", "500 ms", "10 s", "1 min 0 s", "1 h 0 min", "2 days",
    ]  # fmt: skip
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert human_ago(now - timedelta(hours=3), now) == "3 hours ago"
    assert human_ago(now + timedelta(minutes=1), now) == "in 1 minute"
    assert human_ago(now, now) == "now"
