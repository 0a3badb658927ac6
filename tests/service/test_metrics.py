"""What Prometheus reads of the service, and what it is told."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hyperllama_nb.models.progress import Progress
from hyperllama_nb.service.metrics import MOST_MODELS, Metrics
from hyperllama_nb.service.pulls import Pulls
from hyperllama_nb.testing import Script
from tests.service.hosting import PATIENCE, SLOW, open_stream, until

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def read(service):
    """Return the samples of a scrape by name and labels."""
    answer = service.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(service, name, **labels):
    return read(service).get((f"hyperllama_{name}", *sorted(labels.items())), 0)


def test_an_answer_is_counted_and_measured(host):
    with host() as service:
        service.generate()
        found = read(service)
    model = ("model", "tiny:latest")
    done = (("code", "200"), ("route", "/api/generate"))
    assert found["hyperllama_request_duration_seconds_count", *done] == 1
    for name in ("ttft_seconds", "inter_token_seconds", "queue_wait_seconds"):
        assert found[f"hyperllama_{name}_count", model] == 1
    assert found["hyperllama_tokens_total", ("kind", "output"), model] == 7
    assert found["hyperllama_tokens_total", ("kind", "prompt"), model] > 1
    loads = (model, ("outcome", "ready"))
    assert found["hyperllama_engine_load_seconds_count", *loads] == 1
    assert found["hyperllama_engine_load_seconds_sum", *loads] > 0
    states = {
        dict(labels)["state"]: number
        for (name, *labels), number in found.items()
        if name == "hyperllama_engine_state"
    }
    assert states == {"loading": 0, "ready": 1, "stopping": 0, "failed": 0}
    assert found["hyperllama_engine_memory_bytes", model] > 0
    assert found["hyperllama_service_memory_bytes",] > 0
    assert not any(name.endswith("_created") for name, *_ in found)


def test_those_who_run_and_those_who_wait_are_told(thread):
    with thread([SLOW], slots=1) as service, ThreadPoolExecutor(1) as pool:
        with open_stream(service):
            waiting = pool.submit(service.generate, options={"num_predict": 1})
            until(lambda: value(service, "queue_depth", model="tiny:latest") == 1)
            assert value(service, "requests_running", model="tiny:latest") == 1
        assert waiting.result(PATIENCE).status_code == 200
        assert value(service, "queue_depth", model="tiny:latest") == 0


def test_refusals_are_counted_by_their_reason(thread):
    with thread([SLOW], slots=1, env={"OLLAMA_MAX_QUEUE": "0"}) as service:
        with open_stream(service):
            assert service.generate().status_code == 503
        assert value(service, "rejections_total", reason="busy") == 1


@pytest.mark.slow
def test_clients_that_leave_are_counted_by_how_far_they_were(thread):
    with thread([Script(startup=1.0, delay_first=60)], slots=1) as service:

        def leave(stage):
            with pytest.raises(httpx.ReadTimeout):
                service.client.post(
                    "/api/generate", json={"model": "tiny", "prompt": "x"}, timeout=0.3
                )
            until(lambda: value(service, "cancellations_total", stage=stage) == 1)

        leave("loading")
        service.lines("/admin/load", model="tiny")
        leave("prefill")
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(
                service.client.post,
                "/api/generate",
                json={"model": "tiny", "prompt": "x"},
                timeout=2,
            )
            until(lambda: service.told("running") == 1)
            leave("queued")
            with pytest.raises(httpx.ReadTimeout):
                first.result()
        gone = {"route": "/api/generate", "code": "499"}
        until(lambda: value(service, "request_duration_seconds_count", **gone) == 4)


def test_a_client_that_leaves_in_the_middle_is_counted_with_its_tokens(thread):
    with thread([SLOW]) as service:
        with open_stream(service):
            pass
        until(lambda: value(service, "cancellations_total", stage="streaming") == 1)
        assert value(service, "tokens_total", model="tiny:latest", kind="output") > 0


def test_engines_that_die_and_loads_that_fail_are_counted(thread):
    with thread([Script(die_after=1), Script(crash=1), Script()]) as service:
        assert service.generate().status_code == 500
        assert service.generate().status_code == 500
        service.generate()
        model = {"model": "tiny:latest"}
        assert value(service, "engine_restarts_total", **model) == 1
        assert value(service, "engine_load_seconds_count", outcome="failed", **model) == 1


def test_the_models_that_have_a_label_are_bounded():
    metrics = Metrics()
    labels = {metrics.model(f"model {number}") for number in range(10 * MOST_MODELS)}
    assert len(labels) == MOST_MODELS + 1
    assert "other" in labels
    assert metrics.model("model 0") == "model 0"


def test_a_path_that_nobody_serves_makes_no_label(thread):
    with thread() as service:
        for number in range(3):
            service.client.get(f"/made/up/{number}?secret=1")
        routes = {
            dict(labels).get("route")
            for (name, *labels) in read(service)
            if name == "hyperllama_request_duration_seconds_count"
        }
        assert "other" in routes
        assert not any("made" in route for route in routes)


def test_a_scrape_does_not_keep_the_service_alive_or_name_who_asks(thread):
    with thread() as service:
        service.generate("a secret prompt")
        text = service.client.get("/metrics").text
        assert "secret" not in text
        assert "local" not in text


def test_two_services_in_one_process_count_apart():
    one, other = Metrics(), Metrics()
    one.pulled.inc(5)
    assert b"hyperllama_pull_bytes_total 5.0" in one.text()
    assert b"hyperllama_pull_bytes_total 0.0" in other.text()


def test_what_a_pull_fetches_is_counted_once_however_many_read_it():
    def job(progress, cancelled):
        for done in (3, 7, 7, 10):
            progress(Progress("pulling a", "sha256:a", 10, done))
        progress(Progress("verifying", "sha256:a", 10, 10))
        progress(Progress("pulling b", None, 5, 5))

    async def run():
        counted = []
        pulls = Pulls(None, fetched=counted.append)

        async def read():
            return [line async for line in pulls.run("key", job)]

        await asyncio.gather(read(), read())
        return sum(counted)

    assert asyncio.run(run()) == 15


def test_the_docs_name_every_metric(thread):
    row = re.compile(r"^\| `(hyperllama_\w+?)(?:\{.*?\})?` \| (\w+) \|", re.MULTILINE)
    described = dict(row.findall(DOCS.read_text("utf-8")))
    with thread() as service:
        service.generate()
        text = service.client.get("/metrics").text
    told = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in text_string_to_metric_families(text)
    }
    assert described == told
