"""How much of a pull is kept, while the program that fetches it is at work."""

import os
import shutil
from pathlib import Path

import pytest

from hyperllama_nb.models import unfinished


def test_files_count_and_links_do_not(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "one").write_bytes(b"x" * 3)
    (tmp_path / "a" / "b" / "two").write_bytes(b"x" * 4)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "one")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert unfinished.size(tmp_path) == 7
    assert unfinished.size(tmp_path / "nothing") == 0


def test_a_directory_that_goes_while_it_is_read_has_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch" / "half").mkdir(parents=True)
    (tmp_path / "kept").write_bytes(b"x" * 5)
    scandir = os.scandir

    def late(path: str) -> object:
        if str(path).endswith("scratch"):
            shutil.rmtree(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", late)
    assert unfinished.size(tmp_path) == 5
