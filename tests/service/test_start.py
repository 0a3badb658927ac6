"""A service that cannot start says why, and does not stay."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["HYPERLLAMA_LINGER", "OLLAMA_KEEP_ALIVE", "OLLAMA_MAX_QUEUE"])
def test_a_wrong_setting_is_told_at_the_start(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hyperllama_nb.service"],
        env={**os.environ, name: "junk"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"{name}='junk' is not a" in done.stderr
    assert "Traceback" not in done.stderr
