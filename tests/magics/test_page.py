"""The page on the magics says what the code says, and what it names as proof is there."""

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "magics.md").read_text(encoding="utf-8")

ROWS = {
    int(number): row for number, row in re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE)
}
PROOFS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))

NOT_YET = {20, 21}


def test_the_page_is_fresh():
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.magics() == PAGE, "run: make docs"
    assert len(module.PART.findall(PAGE)) == 3


def test_every_row_has_a_proof_or_says_not_yet():
    assert [*ROWS] == [*range(1, 25)]
    for number, row in ROWS.items():
        assert ("tests/" in row) == (number not in NOT_YET), f"row {number}"
        assert ("not yet" in row.split(" | ")[1].split(".")[0]) == (number in NOT_YET)


@cache
def functions_in(file):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "name"), PROOFS)
def test_what_is_named_as_proof_is_there(file, name):
    assert name.startswith("test_")
    assert name in functions_in(file)
