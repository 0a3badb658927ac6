"""Uploads on their own: digests, bounds, and what is left of a failure."""

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.errors import NoSpaceError, RequestError, StoreError, TooLargeError
from hyperllama_nb.models import Store, uploads
from hyperllama_nb.models.uploads import Uploads, read_digest

HEX = "0123456789abcdef"
DIGEST = f"sha256:{hashlib.sha256(b'abc').hexdigest()}"


@pytest.fixture
def place(tmp_path: Path) -> Uploads:
    return Uploads(Store(tmp_path / "models"))


def left(place: Uploads) -> list[Path]:
    return list(place._directory.iterdir()) if place._directory.exists() else []


def send(place: Uploads, *parts: bytes, announced: int | None = None) -> None:
    with place.receiving(DIGEST, announced) as upload:
        for part in parts:
            upload.write(part)
        upload.finish()


def fail(place: Uploads, error: Exception) -> None:
    with place.receiving(DIGEST) as upload:
        upload.write(b"a")
        raise error


@given(st.sampled_from([":", "-"]), st.text(HEX, min_size=64, max_size=64))
def test_a_digest_is_read_in_both_spellings(between: str, hexadecimal: str) -> None:
    assert read_digest(f"sha256{between}{hexadecimal.upper()}") == f"sha256:{hexadecimal}"


@given(st.text() | st.from_regex(r"sha256[:-][0-9a-f]{64}\n"))
def test_nothing_else_is_a_digest(text: str) -> None:
    with pytest.raises(RequestError, match="invalid digest format"):
        read_digest(text)


def test_a_file_is_found_once_it_is_finished(place: Uploads) -> None:
    assert place.find(DIGEST) is None
    with place.receiving(DIGEST) as upload:
        upload.write(b"ab")
        assert place.find(DIGEST) is None
        upload.write(b"c")
        upload.finish()
        assert upload.size == 3
    found = place.find(DIGEST.replace(":", "-"))
    assert found is not None
    assert found.read_bytes() == b"abc"
    assert left(place) == [found]
    place.forget(DIGEST)
    place.forget(DIGEST)
    assert place.find(DIGEST) is None


def test_other_bytes_leave_nothing(place: Uploads) -> None:
    with pytest.raises(RequestError, match="digest mismatch"):
        send(place, b"ab")
    assert left(place) == []


def test_a_failure_of_the_sender_leaves_nothing(place: Uploads) -> None:
    with pytest.raises(ZeroDivisionError):
        fail(place, ZeroDivisionError())
    assert left(place) == []


def test_bounds_hold_for_what_is_announced_and_for_what_comes(
    place: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = uploads.RESERVE
    monkeypatch.setattr(uploads, "RESERVE", 1 << 60)
    with pytest.raises(NoSpaceError, match="HYPERLLAMA_MODELS"):
        send(place, b"abc", announced=3)
    monkeypatch.setattr(uploads, "RESERVE", reserve)
    monkeypatch.setattr(uploads, "MOST_BYTES", 2)
    with pytest.raises(TooLargeError):
        send(place, announced=3)
    with pytest.raises(TooLargeError):
        send(place, b"a", b"bc")
    assert left(place) == []


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, NoSpaceError), (errno.EACCES, StoreError)]
)
def test_an_error_of_the_disk_is_said(place: Uploads, number: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        fail(place, OSError(number, os.strerror(number)))
    assert left(place) == []


def test_what_nobody_asks_for_is_swept(place: Uploads) -> None:
    send(place, b"abc")
    begun = place._directory / ".begun"
    begun.touch()
    [found] = [path for path in left(place) if path != begun]
    long_ago = time.time() - uploads.KEPT - 60
    os.utime(begun, (long_ago, long_ago))
    os.utime(found, (long_ago, long_ago))
    assert place.find(DIGEST) == found  # which keeps it for another day
    place.sweep()
    assert left(place) == [found]
    os.utime(found, (long_ago, long_ago))
    place.sweep()
    assert left(place) == []
