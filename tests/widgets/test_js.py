"""The front end's modules, as far as they need no browser."""

import shutil
import subprocess
from pathlib import Path

import pytest

from hyperllama_nb.widgets._base import esm

TESTS = sorted((Path(__file__).parent / "js").glob("*.test.mjs"))


def node(*arguments, **options):
    program = shutil.which("node")
    if program is None:
        pytest.fail("There is no node: `apt-get install nodejs` (or https://nodejs.org) brings it.")
    command = [program, *map(str, arguments)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.slow
def test_the_modules_of_the_front_end():
    node("--test", *TESTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["benchmark.js", "chat.js", "models.js"])
def test_a_widget_is_one_module_that_imports_nothing(name):
    text = esm(name)
    assert "\nimport " not in text
    node("--check", "--input-type=module", "-", input=text)
