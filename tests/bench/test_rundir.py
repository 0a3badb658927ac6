"""A run as a directory: what is written is read back, whole or not at all."""

import builtins
import json

import pytest

from hyperllama_nb.bench import rundir
from hyperllama_nb.bench.importing import max_benchmark
from hyperllama_nb.bench.records import Request
from hyperllama_nb.bench.report import report
from hyperllama_nb.errors import ConflictError, InvalidFileError
from tests.bench.summaries import records, summary

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
        rundir.write(tmp_path / "run", MANIFEST, {**summary(), "bad": float("nan")}, REQUESTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 99}'])
def test_what_is_no_run_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InvalidFileError):
        rundir.read(tmp_path)


def result(path, **more):
    """Write what `max benchmark` writes."""
    fields = {"completed": 9, "failures": 1, "mean_ttft_ms": 120.0, "median_ttft_ms": 100.0}
    fields |= {"model_id": "m", "backend": "modular", "max_concurrency": 4, "request_rate": "inf"}
    fields |= {"request_throughput": 2.5, "mean_latency_ms": 1400.0}
    path.write_text(json.dumps({**fields, "p99_ttft_ms": 300.0, "p99_itl_ms": None, **more}))
    return path


def test_results_of_max_benchmark_become_our_numbers(tmp_path):
    found = max_benchmark(result(tmp_path / "result.json"))
    assert found["label"] == "m on modular, 4 at a time"
    assert found["requests"]["failed"] == 1
    assert found["metrics"]["ttft"]["p50"] == pytest.approx(0.1)
    assert found["metrics"]["itl"]["p99"] is None
    assert found["in_flight"] == pytest.approx(3.5)
    assert found["metrics"]["ttft"]["p99"] is None  # of nine answers
    many = max_benchmark(result(tmp_path / "many.json", completed=299))
    assert many["metrics"]["ttft"]["p99"] == pytest.approx(0.3)


def test_the_report_of_a_run_that_was_read_is_the_same(tmp_path):
    kept = records()
    rundir.write(tmp_path / "run", MANIFEST, summary(), kept)
    found = rundir.read(tmp_path / "run")
    page = report(found.manifest, found.summary, found.requests)
    assert page == (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<h2>Distributions</h2>" in page


def test_results_lie_over_a_run_that_was_written(tmp_path):
    run, file = tmp_path / "run", result(tmp_path / "result.json")
    rundir.write(run, MANIFEST, summary(), REQUESTS)
    before = rundir.read(run)
    rundir.overlay(run, [file])
    rundir.overlay(str(run), [str(file)])
    after = rundir.read(run)
    assert [each["label"] for each in after.summary["overlays"]] == [
        "m on modular, 4 at a time"
    ] * 2
    assert after.summary | {"overlays": []} == before.summary
    assert after.requests == REQUESTS
    assert "max benchmark: m on modular" in (run / "report.html").read_text()
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InvalidFileError, match="result-filename"):
        rundir.overlay(run, [file, tmp_path / "other.json"])
    assert rundir.read(run) == after
    assert len(list(run.iterdir())) == 4


def test_another_file_is_no_result_of_max_benchmark(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("{}")
    with pytest.raises(InvalidFileError, match="result-filename"):
        max_benchmark(path)
