"""Uploads by digest: taken while they arrive, checked, and kept until a model is made of them."""

import hashlib
import os
import socket
import time

import pytest

from hyperllama_nb.access import limits
from hyperllama_nb.models import uploads
from tests.service.hosting import error_of, until

BYTES = b"some bytes" * 1000


def digest_of(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


DIGEST = digest_of(BYTES)


def upload(client, data=BYTES, digest=None):
    return client.post(f"/api/blobs/{digest or digest_of(data)}", content=data)


def held(service):
    """Return the names of the files among the uploads."""
    directory = service.store.root / "uploads"
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []


@pytest.mark.compat("HEAD /api/blobs/:digest", "200 and 404", "same")
@pytest.mark.compat("POST /api/blobs/:digest", "201 for a new file, 200 for a known one", "same")
def test_an_upload_is_there_afterwards(thread):
    with thread() as service:
        client = service.client
        assert client.head(f"/api/blobs/{DIGEST}").status_code == 404
        first = upload(client)
        assert (first.status_code, first.content) == (201, b"")
        assert client.head(f"/api/blobs/{DIGEST}").status_code == 200
        again = upload(client)
        assert (again.status_code, again.content) == (200, b"")
        assert held(service) == [DIGEST.replace(":", "-")]


def test_the_files_of_models_are_known_by_digest(service, client):
    for file in service.store.get("tiny").files:
        assert client.head(f"/api/blobs/{file.digest}").status_code == 200
        assert client.head(f"/api/blobs/{file.blob}").status_code == 200


@pytest.mark.compat("POST /api/blobs/:digest", "a malformed digest", "same", "400")
@pytest.mark.parametrize(
    "digest",
    [
        "sha256:0",
        "sha512:" + "0" * 64,
        "0" * 64,
        DIGEST + "%0a",
        DIGEST + "0",
        "..%2F..%2Fetc%2Fpasswd",
        "sha256:" + "g" * 64,
        "sha256:" + "\u0660" * 64,
    ],
)
def test_a_malformed_digest_is_said(service, client, digest):
    response = upload(client, digest=digest)
    assert response.status_code == 400
    assert error_of(response).startswith("invalid digest format")
    assert client.head(f"/api/blobs/{digest}").status_code == 400


@pytest.mark.compat("POST /api/blobs/:digest", "other bytes than the digest's", "same", "400")
def test_other_bytes_are_refused_and_leave_nothing(thread):
    with thread() as service:
        response = upload(service.client, b"other", DIGEST)
        assert response.status_code == 400
        wanted = f'digest mismatch, expected "{DIGEST}", got "{digest_of(b"other")}"'
        assert error_of(response).startswith(wanted)
        assert held(service) == []
        assert service.client.head(f"/api/blobs/{DIGEST}").status_code == 404


@pytest.mark.compat("POST /api/blobs/:digest", "larger than any other body", "same")
def test_an_upload_may_be_larger_than_any_other_body(service, client):
    piece = bytes(1 << 20)
    count = 40

    def pieces():
        for _ in range(count):
            yield piece

    digest = digest_of(piece * count)
    assert client.post(f"/api/blobs/{digest}", content=pieces()).status_code == 201
    assert client.post(f"/api/blobs/{digest}", content=pieces()).status_code == 200
    assert client.head(f"/api/blobs/{digest}").status_code == 200


def test_an_upload_that_breaks_off_leaves_nothing(thread):
    with thread() as service:
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(str(service.socket))
        head = f"POST /api/blobs/{DIGEST} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n"
        raw.sendall(head.encode() + BYTES[:100])
        until(lambda: held(service))
        raw.close()
        until(lambda: not held(service))
        assert service.client.head(f"/api/blobs/{DIGEST}").status_code == 404


def test_an_upload_that_stalls_is_ended(thread, monkeypatch):
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.2)
    with thread() as service, socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(service.socket))
        head = f"POST /api/blobs/{DIGEST} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n"
        raw.sendall(head.encode() + BYTES[:100])
        answer = raw.recv(1000)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert held(service) == []


def test_an_upload_that_cannot_fit_is_refused_at_once(thread, monkeypatch):
    with thread() as service:
        monkeypatch.setattr(uploads, "RESERVE", 1 << 60)
        response = upload(service.client)
        assert response.status_code == 507
        assert "HYPERLLAMA_MODELS" in error_of(response)
        monkeypatch.setattr(uploads, "MOST_BYTES", 100)
        assert upload(service.client).status_code == 413
        assert held(service) == []


def test_an_upload_survives_changes_to_the_store_and_is_forgotten_after_a_day(thread):
    with thread() as service:
        upload(service.client)
        service.store.copy("tiny", "other")
        service.store.delete("other")
        assert service.client.head(f"/api/blobs/{DIGEST}").status_code == 200
        [name] = held(service)
        long_ago = time.time() - 25 * 3600
        os.utime(service.store.root / "uploads" / name, (long_ago, long_ago))
        upload(service.client, b"another one")
        assert held(service) == [digest_of(b"another one").replace(":", "-")]
