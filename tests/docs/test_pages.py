"""The pages lead to each other, and the notebooks are stored as small as they say."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

LINK = re.compile(r"\[[^]]*]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
LARGEST = 90_000
"""Bytes of a stored notebook."""
PLACES = re.compile(r"/(?:home|root|tmp|work|Users)/")


def by_name(path):
    return path.name


def anchors(page):
    """Return the names that a page's headings have on the web."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(page.read_text("utf-8")):
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{target}#{anchor}"


def test_the_index_has_every_page():
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    missing = [page.name for page in PAGES[1:] if f"({page.name})" not in index]
    assert missing in ([], ["README.md"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_a_notebook_is_stored_with_small_outputs(path):
    text = path.read_text("utf-8")
    assert len(text.encode()) < LARGEST
    notebook = json.loads(text)
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    assert outputs
    assert not [output for output in outputs if output["output_type"] == "error"]
    stored = json.dumps([notebook["metadata"], outputs])
    assert "application/vnd.jupyter.widget" not in stored
    assert not PLACES.search(stored)
    numbers = [cell["execution_count"] for cell in notebook["cells"] if "outputs" in cell]
    assert numbers == list(range(1, len(numbers) + 1))
