"""`/api/pull` as Ollama's users know it, over a registry and a hub of our own."""

import asyncio
import json
import threading
import time
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest

from hyperllama_nb.access.callers import HEADER, Caller
from hyperllama_nb.models.progress import Progress
from hyperllama_nb.service.pulls import Pulls
from tests.models import hub_server, registry_server
from tests.models.gguf_files import tiny_llama
from tests.models.registry_server import Registry, digest_of, listing
from tests.service.hosting import PATIENCE, error_of, hosting, until

GGUF = tiny_llama()
WRITER = {HEADER: Caller("key:ann", frozenset({"models:write"})).to_header()}


@contextmanager
def pulling(tmp_path, *, allowed=True, hub=None, **registry):
    """Run a service beside a registry that has `library/tiny:1`; gives both."""
    with ExitStack() as stack:
        served = stack.enter_context(registry_server.serve(Registry(**registry)))
        served.put("library/tiny:1", {"model": GGUF, "system": b"Be brief."})
        env = {
            "HYPERLLAMA_PULL_HOSTS": f"{served.host},hf.co" if allowed else "models.example",
            "OLLAMA_MODELS": str(tmp_path / "ollama"),
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
        }
        if hub is not None:
            env["HF_ENDPOINT"] = stack.enter_context(hub_server.serve(hub)).url
        yield stack.enter_context(hosting("thread", env=env)), served


def pull(service, model, headers=None, **fields):
    """Return the status and the lines of a pull."""
    return service.lines("/api/pull", headers, model=model, **fields)


def theirs(tmp_path):
    """Put `mine:1` where Ollama would, and return the file of its weights."""
    path = tmp_path / "ollama/manifests/registry.ollama.ai/library/mine/1"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(listing({"model": GGUF})))
    blob = tmp_path / "ollama/blobs" / digest_of(GGUF).replace(":", "-")
    blob.parent.mkdir()
    blob.write_bytes(GGUF)
    return blob


@pytest.mark.compat("POST /api/pull", "names of a registry", "same")
@pytest.mark.compat("POST /api/pull", "progress", "same")
def test_registry_name(tmp_path):
    with pulling(tmp_path) as (service, registry):
        status, lines = pull(service, registry.name("library/tiny:1"), insecure=True)
        assert status == 200
        assert lines[0] == {"status": "pulling manifest"}
        assert lines[-1] == {"status": "success"}
        digest = digest_of(GGUF)
        parts = [line for line in lines if line["status"] == f"pulling {digest[7:19]}"]
        done = {"digest": digest, "total": len(GGUF), "completed": len(GGUF)}
        assert parts[-1] == {"status": f"pulling {digest[7:19]}", **done}
        statuses = [line["status"] for line in lines]
        assert statuses.index("verifying sha256 digest") < statuses.index("writing manifest")
        models = service.client.get("/api/tags").json()["models"]
        assert f"{registry.host}/library/tiny:1" in [model["name"] for model in models]
        shown = service.client.post("/api/show", json={"model": models[0]["name"]}).json()
        assert shown["system"] == "Be brief."


@pytest.mark.compat("POST /api/pull", "quantize: q4_0", "better", "Llama's architecture")
def test_weights_are_re_encoded_where_the_request_says_so(tmp_path):
    with pulling(tmp_path) as (service, registry):
        name = registry.name("library/tiny:1")
        status, lines = pull(service, name, insecure=True, quantize="Q4_0")
        assert (status, lines[-1]) == (200, {"status": "success"})
        parts = [line for line in lines if line["status"] == "quantizing to q4_0"]
        assert parts[-1]["completed"] == parts[-1]["total"]
        models = service.client.get("/api/tags").json()["models"]
        wanted = f"{registry.host}/library/tiny:1-q4_0"
        model = next(model for model in models if model["name"] == wanted)
        assert model["details"]["quantization_level"] == "Q4_0"
        shown = service.client.post("/api/show", json={"model": model["name"]}).json()
        assert shown["system"] == "Be brief."
        body = {"model": name, "insecure": True, "quantize": "q4_K_M"}
        response = service.client.post("/api/pull", json=body)
        assert response.status_code == 400
        assert "unsupported quantization type 'q4_K_M'" in error_of(response)


@pytest.mark.compat("POST /api/pull", "stream false", "same")
def test_without_a_stream(tmp_path):
    with pulling(tmp_path) as (service, registry):
        body = {"model": registry.name("library/tiny:1"), "insecure": True, "stream": False}
        response = service.client.post("/api/pull", json=body)
        assert response.json() == {"status": "success"}
        assert response.headers["content-type"].startswith("application/json")


@pytest.mark.compat("POST /api/pull", "going on after a break", "same")
def test_resumed(tmp_path):
    with pulling(tmp_path, cuts=[5000]) as (service, registry):
        assert pull(service, registry.name("library/tiny:1"), insecure=True)[1][-1] == {
            "status": "success"
        }
        asked = registry.asked(digest_of(GGUF))
        assert [headers.get("range") for headers in asked] == [None, "bytes=5000-"]


@pytest.mark.compat("POST /api/pull", "a client that leaves", "same", "what was fetched is kept")
def test_client_that_leaves_keeps_the_part(tmp_path):
    with pulling(tmp_path, stall=5000) as (service, registry):
        body = {"model": registry.name("library/tiny:1"), "insecure": True}
        with service.client.stream("POST", "/api/pull", json=body) as response:
            for line in response.iter_lines():
                if json.loads(line).get("completed") == 5000:
                    break
        registry.stall = None
        registry.requests.clear()
        assert pull(service, body["model"], insecure=True)[1][-1] == {"status": "success"}
        assert registry.asked(digest_of(GGUF))[0]["range"] == "bytes=5000-"


@pytest.mark.compat("POST /api/pull", "two at once", "same", "they share one download")
def test_two_share_one_download(tmp_path):
    with pulling(tmp_path, stall=5000) as (service, registry):
        body = {"model": registry.name("library/tiny:1"), "insecure": True}
        with (
            service.client.stream("POST", "/api/pull", json=body) as first,
            service.client.stream("POST", "/api/pull", json=body) as second,
        ):
            for response in (first, second):
                for line in response.iter_lines():
                    if json.loads(line).get("completed") == 5000:
                        break
        assert len(registry.asked(digest_of(GGUF))) == 1


@pytest.mark.compat("POST /api/pull", "hf.co names", "same")
def test_hub_name(tmp_path):
    kinds = {f"Tiny-{kind}.gguf": GGUF for kind in ("Q2_K", "Q4_K_M")}
    with pulling(tmp_path, hub=hub_server.Hub("team/tiny", kinds)) as (service, _):
        status, lines = pull(service, "hf.co/team/tiny:q2_k", WRITER)
        assert (status, lines[-1]) == (200, {"status": "success"})
        status, lines = pull(service, "hf.co/team/tiny:Q8_0")
        assert "It has: Q2_K, Q4_K_M." in lines[-1]["error"]


@pytest.mark.compat(
    "POST /api/pull", "models of Ollama's directory", "better", "used where they lie, not copied"
)
def test_model_of_ollamas_directory(tmp_path):
    blob = theirs(tmp_path)
    with pulling(tmp_path) as (service, registry):
        assert pull(service, "mine:1")[1][-1] == {"status": "success"}
        manifest = service.store.get("mine:1")
        assert service.store.gguf(manifest).resolve() == blob.resolve()
        assert registry.requests == []
        assert service.client.request("DELETE", "/api/delete", json={"model": "mine:1"})
        assert blob.read_bytes() == GGUF


@pytest.mark.compat(
    "POST /api/pull", "insecure", "better", "plain HTTP to this machine alone, elsewhere HTTPS"
)
def test_insecure(tmp_path):
    with pulling(tmp_path) as (service, registry):
        name = registry.name("library/tiny:1")
        status, lines = pull(service, name)
        assert status == 400
        assert lines[0]["error"].startswith("insecure protocol http")
        assert registry.requests == []
        plain = name.removeprefix("http://")
        assert pull(service, plain, insecure=True)[1][-1] == {"status": "success"}


@pytest.mark.compat("POST /api/pull", "an unknown model", "same", "502, not 500, without a stream")
def test_unknown_model(tmp_path):
    with pulling(tmp_path) as (service, registry):
        name = registry.name("library/nothing:1")
        status, lines = pull(service, name, insecure=True)
        assert (status, lines[0]) == (200, {"status": "pulling manifest"})
        assert lines[-1]["error"].startswith("pull model manifest: file does not exist")
        body = {"model": name, "insecure": True, "stream": False}
        response = service.client.post("/api/pull", json=body)
        assert response.status_code == 502
        assert error_of(response) == lines[-1]["error"]


@pytest.mark.compat("POST /api/pull", "a wrong name", "same")
@pytest.mark.parametrize("model", ["x!", "a/b/c/d", "../x", "é", "tiny:"])
def test_wrong_name(tmp_path, service, model):
    status, lines = pull(service, model)
    assert status == 400
    assert lines[0]["error"].startswith("invalid model name")


@pytest.mark.compat("POST /api/pull", "no name", "same")
def test_no_name(client):
    response = client.post("/api/pull", json={})
    assert (response.status_code, error_of(response)) == (400, "invalid model name")


@pytest.mark.compat(
    "POST /api/pull", "other hosts", "better", "403 for a host that the owner has not allowed"
)
def test_host_that_is_not_allowed(tmp_path):
    with pulling(tmp_path, allowed=False) as (service, registry):
        for name in (registry.name("library/tiny:1"), "llama3.2", "hf.co/org/repo", "hf:org/repo"):
            status, lines = pull(service, name, insecure=True)
            assert status == 403
            assert "HYPERLLAMA_PULL_HOSTS=models.example," in lines[0]["error"]
        assert registry.requests == []


@pytest.mark.compat(
    "POST /api/pull", "files of the machine", "better", "a key that may write models reads none"
)
def test_what_lies_on_the_machine_needs_admin(tmp_path):
    theirs(tmp_path)
    with pulling(tmp_path) as (service, registry):
        for source in (f"file:{tmp_path}/x.gguf", "ollama:mine:1", "pypi:a-package==1"):
            status, lines = pull(service, source, WRITER)
            assert status == 403
            assert "scope admin" in lines[0]["error"]
        # The plain name then means the registry's, which is not among the allowed ones.
        assert pull(service, "mine:1", WRITER)[0] == 403
        name = registry.name("library/tiny:1")
        assert pull(service, name, WRITER, insecure=True)[1][-1] == {"status": "success"}


def test_stopping_service_ends_a_pull_at_once(tmp_path):
    with pulling(tmp_path, stall=5000) as (service, registry):
        body = {"model": registry.name("library/tiny:1"), "insecure": True}
        with service.client.stream("POST", "/api/pull", json=body) as response:
            lines = response.iter_lines()
            until(lambda: registry.stalled.is_set())
            begun = time.monotonic()
            service.client.post("/admin/stop", json={})
            with suppress(httpx.HTTPError):
                for _ in lines:
                    pass
        assert time.monotonic() - begun < 30


def test_a_slow_reader_gets_the_last_count_of_each_file():
    reading = threading.Event()

    def job(progress, cancelled):
        progress(Progress("pulling a", "a", 9, 5))
        assert reading.wait(PATIENCE)
        progress(Progress("pulling a", "a", 9, 9))
        progress(Progress("writing manifest"))

    async def work():
        seen = []
        async for line in Pulls(None).run("key", job):
            seen.append((line["status"], line.get("completed")))
            # What comes while this reader is busy replaces the line that it has just been given.
            reading.set()
            await asyncio.sleep(0.2)
        return seen

    assert asyncio.run(work()) == [("pulling a", 5), ("pulling a", 9), ("writing manifest", None)]
