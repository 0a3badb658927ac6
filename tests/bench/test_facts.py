"""The facts of targets: what a service tells, what another server tells, and what nobody does."""

import pytest

from hyperllama_nb.bench.facts import described, facts
from hyperllama_nb.bench.fairness import check
from hyperllama_nb.bench.records import Target
from hyperllama_nb.client import Client
from hyperllama_nb.errors import ModelNotFoundError
from tests.bench.summaries import outcome, records
from tests.service.hosting import hosting

ENGINE = {
    "model": "m:latest",
    "backend": "max",
    "launch": "the lean engine",
    "device": "cpu",
    "digest": "d",
    "context_length": 4096,
    "batch_size": 8,
    "cache_type": "float32",
    "threads": 2,
    "encoding": "Q4_0",
    "memory_needed": {"weights": 10},
}
STATUS = {"version": "1", "backends": {"max": {"version": "26.7"}}}


def found(engines, resident=None):
    run = outcome(records())
    run.engines |= engines
    run.resident |= resident or {}
    return facts(run, STATUS, 0.1), run


def test_what_the_service_tells_of_an_engine_is_a_fact():
    known, run = found(
        {"a": ENGINE, "b": {**ENGINE, "cache_type": "f16"}}, {"a": set(), "b": {"x"}}
    )
    fact = known.targets["a"]
    assert (fact.engine, fact.version, fact.device) == ("the lean engine", "26.7", "cpu")
    assert (fact.quantisation, fact.cache_type, fact.threads) == ("q4_0", "float32", 2)
    assert (fact.context, fact.slots, fact.weights) == (4096, 8, 10)
    rules = {each.rule: each for each in check(known, run.requests).checks}
    assert rules["same weights"].state == "pass"
    assert "a f32, b f16" in rules["same context"].reason
    assert rules["one engine at a time"].reason == "Measured beside other loaded models: b with x."


def test_what_nobody_tells_is_unknown():
    known, run = found({})
    fact = known.targets["a"]
    assert fact.model == "m"
    assert [fact.digest, fact.quantisation, fact.threads, fact.resident] == [None] * 4
    assert fact.options == {"temperature": 0}
    rules = {each.rule: each.state for each in check(known, run.requests).checks}
    assert rules["same weights"] == rules["same context"] == "unknown"


def test_only_blocks_that_were_measured_whole_are_the_order():
    run = outcome(records())
    run.partial = {1}
    known = facts(run, STATUS, None, fresh_prompts=False)
    assert known.schedule.blocks == len(known.schedule.order) == 2
    assert known.targets["a"].fresh_prompts is False


def test_a_server_with_ollamas_api_is_asked():
    with hosting("thread") as service, Client(f"unix:{service.socket}") as client:
        told = described(client, Target("o", "ollama", f"unix:{service.socket}", "tiny"))
        assert (told["backend"], len(told["digest"])) == ("ollama", 64)
        assert described(client, Target("s", "service", "unused", "tiny")) == {}
        assert described(client, Target("v", "openai", "http://127.0.0.1:9/v1", "tiny")) == {}
        assert described(client, Target("o", "ollama", f"unix:{service.socket}", "none")) == {}
        with pytest.raises(ModelNotFoundError):
            described(client, Target("s", "service", "unused", "none"))
