"""An empty store, and a hub and a registry that are asked in place of real ones."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperllama_nb.models import Manifest, Store
from hyperllama_nb.models.sources import blobs
from hyperllama_nb.models.sources.hosts import Policy
from tests.models import checkpoints, registry_server
from tests.models.hub_server import Hub, serve
from tests.models.registry_server import MODEL, Registry


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return tmp_path / "hf" / "hub"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serve(Hub("team/tiny", checkpoints.files())) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Serve `library/tiny:1`; what fails is tried again at once."""
    monkeypatch.setattr(blobs, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr("hyperllama_nb.models.gguf.importer.default_encoding", lambda: "float32")
    with registry_server.serve(Registry()) as served:
        served.put("library/tiny:1", MODEL)
        yield served


@pytest.fixture
def policy(registry: Registry) -> Policy:
    """Return what allows the registry alone."""
    return Policy(hosts=frozenset({registry.host}), insecure=True)


@pytest.fixture
def pull(registry: Registry, store: Store, policy: Policy) -> Callable[..., Manifest]:
    """Return a function that pulls a model of the registry."""

    def pull(model: str = "library/tiny:1", **kwargs: Any) -> Manifest:
        return store.pull(registry.name(model), **{"policy": policy, **kwargs})

    return pull
