"""Memory: what an engine will take is said before it starts, and a smaller batch is tried first."""

import asyncio
from dataclasses import replace

import pytest

from hyperllama_nb import hardware
from hyperllama_nb.errors import NotEnoughMemoryError
from hyperllama_nb.hardware import Hardware
from hyperllama_nb.models import Store
from hyperllama_nb.service import launching
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.service.launching import fit_batch, plan
from hyperllama_nb.service.running import RunningEngine
from hyperllama_nb.testing import FakeBackend, install_tiny
from tests.service import hosting
from tests.test_hardware import V1, V2, tree

WIDE = {"layers": 30, "kv_heads": 4, "head_dim": 64, "context_length": 4096}
"""A model whose cache is worth counting: 180 MiB for each request."""


class Careful(FakeBackend):
    """A backend that refuses what does not fit, as real ones do."""

    def check(self, spec, hardware):
        super().check(spec, hardware)
        self.memory(spec).check(spec, hardware.memory_available, "of this machine's memory")


@pytest.fixture
def planned(tmp_path):
    """Return a backend, and an engine of it that is about to be launched."""
    store = Store(tmp_path / "models")
    manifest = install_tiny(store, **WIDE)
    backend = Careful(slots=8)
    spec = asyncio.run(plan(manifest, store, backend, HyperLlamaService(), None))
    return backend, RunningEngine(manifest, backend, spec, 8)


def limit_to(monkeypatch, root, version, free):
    """Make up a control group with so many bytes left under its limit."""
    if version == 1:
        prefix = "memory/docker/x/memory"
        files = {f"{prefix}.limit_in_bytes": free + 1000, f"{prefix}.usage_in_bytes": 1000}
    else:
        files = {"user/job/memory.max": free + 1000, "user/job/memory.current": 1000}
    files = {name: str(value) for name, value in files.items()}
    tree(root, *(V1 if version == 1 else V2), files)
    monkeypatch.setattr(launching, "detect", lambda: hardware.detect(root))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("batch", [8, 4, 2, 1])
def test_the_batch_is_what_a_control_group_has_room_for(
    monkeypatch, tmp_path, planned, version, batch
):
    backend, engine = planned
    free = backend.memory(replace(engine.spec, batch=batch)).total
    limit_to(monkeypatch, tmp_path / "root", version, free)
    asyncio.run(fit_batch(engine))
    assert engine.spec.batch == engine.admission.slots == batch
    assert engine.spec.context == 4096


@pytest.mark.parametrize("version", [1, 2])
def test_what_not_even_one_request_has_room_for_is_refused_with_the_numbers(
    monkeypatch, tmp_path, planned, version
):
    backend, engine = planned
    least = backend.memory(replace(engine.spec, batch=1))
    limit_to(monkeypatch, tmp_path / "root", version, least.total - 1)
    with pytest.raises(NotEnoughMemoryError) as raised:
        asyncio.run(fit_batch(engine))
    assert least.words() in str(raised.value)
    assert engine.spec.batch == engine.admission.slots == 8


def test_a_smaller_batch_comes_before_the_end_of_an_idle_model(monkeypatch):
    free, backend = [64 << 30], Careful()
    monkeypatch.setattr(launching, "detect", lambda: Hardware(2, 2, "cpu", 64 << 30, free[0]))
    monkeypatch.setattr(hosting, "FakeBackend", lambda *args, **options: backend)
    with hosting.hosting("thread") as service:
        other = install_tiny(service.store, "other", **WIDE)
        service.generate()
        spec = replace(backend.launches[0], manifest=other, context=4096)
        free[0] = backend.memory(replace(spec, batch=3)).total
        status, lines = service.lines("/admin/load", model="other")
        assert status == 200
        assert service.told("state") == "ready"  # nobody was unloaded for it
    needed = backend.memory(replace(spec, batch=2))
    (told,) = {line["message"] for line in lines if "which needs" in line.get("message", "")}
    assert needed.words() in told
    assert "2 requests at a time in place of 4" in told
    ready = lines[-1]["engine"]
    assert ready["batch_size"] == 2
    assert ready["memory_needed"] == needed.plain()
    assert ready["memory"] > 1_000_000
    assert "takes 0.0 GiB" in ready["message"]


def test_show_tells_what_a_model_would_take(client):
    shown = client.post("/api/show", json={"model": "tiny"}).json()
    memory = shown["hyperllama"]["backends"]["fake"]["memory"]
    assert memory["total"] == memory["weights"] + memory["cache"] + memory["engine"] > 0
