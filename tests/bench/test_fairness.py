"""Each rule of fairness, on facts that keep it and on facts that break it."""

from dataclasses import replace

import pytest

from hyperllama_nb.bench.fairness import RULES, check
from hyperllama_nb.bench.known import Facts, MachineFacts, ScheduleFacts, TargetFacts
from tests.bench.making import request

GREEDY = {"temperature": 0, "seed": 1}
TARGET = TargetFacts(
    "m", "sha256:1", "Q4_0", 4096, "max", "1", "cpu", 2, 4, GREEDY, (), True, 98_000_000, "float16"
)
FACTS = Facts(
    {"a": TARGET, "b": TARGET},
    MachineFacts(cores=8, load_before=0.1, governor="performance"),
    ScheduleFacts(2, (("a", "b"), ("b", "a")), 0, 1),
)


def records(**second):
    return [
        request(name, block, index, **{"cached_tokens": 0, "warmup": index < 0, **fields})
        for name, fields in (("a", {}), ("b", second))
        for block in range(2)
        for index in (-1, 0)
    ]


def state(rule, facts=FACTS, requests=None):
    found = check(facts, records() if requests is None else requests)
    return next(each.state for each in found.checks if each.rule == rule)


def changed(**second):
    return replace(FACTS, targets={"a": TARGET, "b": replace(TARGET, **second)})


def test_what_keeps_all_twelve_rules_is_fair():
    found = check(FACTS, records())
    assert len(found.checks) == len(RULES) == 12
    assert {each.state for each in found.checks} == {"pass"}
    assert found.fair


@pytest.mark.parametrize(
    ("rule", "second", "expected"),
    [
        ("same weights", {"digest": "sha256:2"}, "fail"),
        ("same weights", {"quantisation": "BF16"}, "fail"),
        ("same weights", {"digest": None}, "unknown"),
        ("same weights", {"weights": 300_000_000}, "pass"),
        ("same weights", {"weights": 300_000_000, "quantisation": None}, "fail"),
        ("same weights", {"weights": 100_000_000, "quantisation": None}, "pass"),
        ("same weights", {"weights": None, "quantisation": None}, "pass"),
        ("same sampler", {"options": {"temperature": 0}}, "fail"),
        ("same sampler", {"options": {}}, "unknown"),
        ("same context", {"context": 8192}, "fail"),
        ("same context", {"cache_type": "float32"}, "warn"),
        ("same context", {"cache_type": "f16"}, "pass"),
        ("same context", {"cache_type": None}, "pass"),
        ("same slots", {"slots": 0}, "fail"),
        ("same slots", {"slots": None}, "unknown"),
        ("one engine at a time", {"resident": ("other",)}, "fail"),
        ("one engine at a time", {"resident": None}, "unknown"),
        ("cold cache", {"fresh_prompts": None}, "unknown"),
        ("processor", {"threads": 1}, "fail"),
        ("environment", {"version": None}, "warn"),
    ],
)
def test_facts_that_break_a_rule(rule, second, expected):
    found = check(changed(**second), records())
    assert next(each.state for each in found.checks if each.rule == rule) == expected
    assert found.fair == (expected != "fail")
    assert len(found.reasons) == (expected == "fail")


@pytest.mark.parametrize(
    ("rule", "second", "expected"),
    [
        ("same tokens in", {"prompt_tokens": 13}, "fail"),
        ("same tokens in", {"prompt_tokens": None}, "unknown"),
        ("same tokens out", {"output_tokens": 3}, "fail"),
        ("same tokens out", {"output_tokens": None}, "unknown"),
        ("cold cache", {"cached_tokens": 5}, "fail"),
        ("failures", {"status": "failed", "error": "429"}, "warn"),
        ("failures", {"status": "failed"}, "fail"),
        ("warm", {"warmup": False}, "fail"),
    ],
)
def test_records_that_break_a_rule(rule, second, expected):
    assert state(rule, requests=records(**second)) == expected


def test_a_target_without_records_and_a_repeated_request_fail():
    assert state("failures", requests=records()[:4]) == "fail"
    assert state("failures", requests=records() + records()[-1:]) == "fail"
    assert state("failures", requests=[]) == "fail"


def test_a_small_machine_warns():
    small = replace(FACTS, machine=MachineFacts(cores=2))
    assert state("processor", small) == "warn"
    assert check(small, records()).fair


def test_threads_tell_whether_the_generator_has_a_core_to_itself():
    four, eight = (replace(FACTS, machine=MachineFacts(cores=cores)) for cores in (4, 8))
    assert state("processor", four) == "pass"
    assert state("processor", replace(changed(threads=None), machine=four.machine)) == "warn"
    full = {name: replace(TARGET, threads=8) for name in "ab"}
    assert state("processor", replace(eight, targets=full)) == "warn"


def test_an_order_that_never_changes_warns():
    fixed = replace(FACTS, schedule=ScheduleFacts(2, (("a", "b"),) * 2, 0, 1))
    assert state("one engine at a time", fixed) == "warn"
