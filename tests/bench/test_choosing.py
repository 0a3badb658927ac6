"""Targets and loads as people write them."""

import pytest

from hyperllama_nb.bench.choosing import cells, targets
from hyperllama_nb.errors import RequestError, ServiceError
from tests.service.hosting import hosting


def chosen(*specs):
    return targets(specs, "tiny", service="unix:/s", backends=("a", "b"), options={"seed": 1})


def test_a_backend_is_an_engine_of_the_service():
    first, second = chosen("b", "a")
    assert (first.name, first.kind, first.url, first.backend) == ("b", "service", "unix:/s", "b")
    assert second.options == {"seed": 1}


def test_the_same_target_twice_has_two_names():
    assert [target.name for target in chosen("a", "a", "a")] == ["a", "a #2", "a #3"]


def test_a_url_may_say_the_api_and_the_model():
    (target,) = chosen("http://127.0.0.1:9/v1#other")
    assert (target.kind, target.url, target.model) == ("openai", "http://127.0.0.1:9/v1", "other")


def test_a_server_is_asked_what_it_speaks():
    with hosting("thread") as service:
        (target,) = chosen(f"unix:{service.socket}")
    assert target.kind == "ollama"


def test_an_unknown_name_is_told_what_there_is():
    with pytest.raises(RequestError, match="a, b"):
        chosen("c")


def test_nobody_at_a_url_is_an_error():
    with pytest.raises(ServiceError, match="No server answers"):
        chosen("http://127.0.0.1:9")


def test_ollama_that_does_not_run_is_an_error(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    with pytest.raises(ServiceError):
        chosen("ollama")


def test_loads_are_more_than_a_ramp():
    one, many, rate = cells((1, 8), (2.5,), requests=4, warmup=1)
    assert (one.concurrency, one.requests, one.warmup) == (1, 4, 1)
    assert (many.requests, many.warmup) == (16, 8)
    assert (rate.rate, rate.arrival) == (2.5, "poisson")
    assert [cell.concurrency for cell in cells((), (), requests=4, warmup=1)] == [1]
