"""A run as a directory: what is written is read back, whole or not at all."""

import builtins
import json
import re

import pytest

from hyperllama_nb.bench import rundir
from hyperllama_nb.bench.importing import max_benchmark
from hyperllama_nb.bench.records import Request
from hyperllama_nb.bench.report import report
from hyperllama_nb.errors import ConflictError, InvalidFileError

EVIL = "<script>alert(1)</script>"


def request(index=0, **fields):
    plain = {
        "target": "a",
        "cell": "c1",
        "block": 0,
        "index": index,
        "warmup": False,
        "scheduled": 0.0,
        "sent": 0.001,
        "texts": (0.1, 0.2, 0.30000000000000004),
        "finished": 0.31,
        "status": "succeeded",
        "error": None,
        "prompt_tokens": 12,
        "cached_tokens": None,
        "output_tokens": 3,
        "asked_prompt": 10,
        "asked_output": 3,
        "concurrency": 1,
        "rate": None,
    }
    return Request(**(plain | fields))


REQUESTS = (
    request(),
    request(1, texts=(), status="failed", error=EVIL, output_tokens=None, prompt_tokens=None),
)


def summary(**fields):
    interval = {"ratio": 1.18, "low": 1.11, "high": 1.26}
    values = {"mean": 0.1, "p50": 0.1, "p90": None, "p95": None, "p99": None}
    cell = {
        "label": "1 at a time",
        "targets": {
            name: {
                "requests": {"succeeded": 1, "failed": 1, "incomplete": 0, "warm_up": 2},
                "metrics": {"ttft": values},
            }
            for name in ("a", EVIL)
        },
        "comparisons": [
            {"metric": "ttft", "label": "time to first token", "sentence": EVIL, **interval},
            {"metric": "e2e", "label": "latency", "sentence": "-", **dict.fromkeys(interval)},
        ],
    }
    return {
        "title": EVIL,
        "complete": True,
        "note": "",
        "targets": ["a", EVIL],
        "cells": [cell, {**cell, "label": "4 at a time"}],
        "fairness": [{"rule": EVIL, "state": "fail", "reason": "other weights"}],
        "comparable": False,
        "loads": [
            {
                "target": EVIL,
                "label": "first",
                "seconds": 2.0,
                "phases": [{"name": "build", "seconds": 1.5}, {"name": EVIL, "seconds": 0.5}],
            }
        ],
        "resources": {"a": {"memory_peak": 10**9, "cpu_cores": 1.5, "gpu_share": None}},
        "definitions": {
            "ttft": {"label": "time to first token", "unit": "s", "definition": EVIL, "plotted": 1}
        },
        **fields,
    }


MANIFEST = {"environment": {"processor": EVIL}, "versions": {}, "targets": {"a": {"x": None}}}


def without_pyarrow(monkeypatch):
    plain = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_a_run_is_read_back_equal(tmp_path, monkeypatch):
    without_pyarrow(monkeypatch)
    told = rundir.write(tmp_path / "run", MANIFEST, summary(), REQUESTS)
    assert "pip install" in told
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"manifest.json", "requests.jsonl", "summary.json", "report.html"}
    found = rundir.read(tmp_path / "run")
    assert found.requests == REQUESTS
    assert found.summary == {"schema": 1, **summary()}
    assert found.manifest == {"schema": 1, **MANIFEST}


def test_parquet_keeps_every_time(tmp_path):
    assert rundir.write(tmp_path / "run", MANIFEST, summary(), REQUESTS) is None
    assert (tmp_path / "run" / "requests.parquet").exists()
    assert rundir.read(tmp_path / "run").requests == REQUESTS


def test_a_run_replaces_nothing(tmp_path):
    (tmp_path / "other.txt").touch()
    with pytest.raises(ConflictError, match="does not replace"):
        rundir.write(tmp_path, MANIFEST, summary(), REQUESTS)
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_a_number_that_is_none_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        rundir.write(tmp_path / "run", MANIFEST, summary(bad=float("nan")), REQUESTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 99}'])
def test_what_is_no_run_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InvalidFileError):
        rundir.read(tmp_path)


def test_the_report_is_one_small_page_that_loads_nothing_and_runs_nothing():
    page = report(MANIFEST, summary(complete=False, note=EVIL))
    assert len(page.encode()) < 500_000
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    links = re.findall(r"(?:src|href|url)\s*[=(]\s*[^)>\s]+", page)
    assert set(links) <= {"url(#hatch"}
    assert "prefers-color-scheme" in page


def test_a_failed_rule_hatches_the_comparison():
    assert 'fill="url(#hatch)"' in report(MANIFEST, summary())
    assert 'fill="url(#hatch)"' not in report(MANIFEST, summary(comparable=True, fairness=[]))


def test_results_of_max_benchmark_become_our_numbers(tmp_path):
    path = tmp_path / "result.json"
    fields = {"completed": 9, "failures": 1, "mean_ttft_ms": 120.0, "median_ttft_ms": 100.0}
    labels = {"model_id": "m", "backend": "modular", "max_concurrency": 4, "request_rate": "inf"}
    path.write_text(json.dumps({**fields, **labels, "p99_itl_ms": None}))
    found = max_benchmark(path)
    assert found["label"] == "m on modular, 4 at a time"
    assert found["requests"]["failed"] == 1
    assert found["metrics"]["ttft"]["p50"] == pytest.approx(0.1)
    assert found["metrics"]["itl"]["p99"] is None


def test_another_file_is_no_result_of_max_benchmark(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("{}")
    with pytest.raises(InvalidFileError, match="result-filename"):
        max_benchmark(path)
