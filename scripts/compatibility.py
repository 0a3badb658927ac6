"""Write docs/ollama-compatibility.md from what the last `make test` proved; --check compares."""

import json
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "compatibility"
PAGE = ROOT / "docs" / "ollama-compatibility.md"
RUNS = ("unit.json", "integration.json", "clients.json")

HEAD = """# Compatibility with Ollama

Each row is proven by the tests that it names; the page is written from their results
(`make test`, then `make docs`). *Same* means what Ollama's clients see of Ollama 0.33; *better*
means that something which only hurts was changed, and how; *not supported* is refused in words.

Tool calls and thinking are proven on scripted engines that write what models of each family write
(Hermes and Qwen, Llama 3, Mistral): the small model that the tests run for real has neither in its
template, and answers both with 400, as in Ollama. Pulls are proven against local servers that speak
the protocols of registries and of the hub.

`T` is short for `tests/`.
"""


def rows() -> list[dict[str, object]]:
    """Return the rows of all runs; a missing run or a failed test ends the program."""
    found: list[dict[str, object]] = []
    for run in RUNS:
        path = RESULTS / run
        if not path.exists():
            raise SystemExit(f"There are no results in {path}. Run: make test")
        found += json.loads(path.read_text(encoding="utf-8"))
    failed = [str(row["test"]) for row in found if not row["passed"]]
    if failed:
        raise SystemExit(f"The page needs tests that pass, and these failed: {', '.join(failed)}")
    return found


def page(found: list[dict[str, object]]) -> str:
    """Return the page: a table for each route."""
    routes: dict[str, dict[str, list[dict[str, object]]]] = defaultdict(lambda: defaultdict(list))
    for row in found:
        routes[str(row["route"])][str(row["feature"])].append(row)
    lines = [HEAD]
    for route in sorted(routes, key=lambda name: (name.split(" ")[-1], name)):
        lines += [f"## {route}", "", "| feature | | note | proof |", "|---|---|---|---|"]
        for feature, proofs in sorted(routes[route].items()):
            levels = {str(proof["level"]) for proof in proofs}
            if len(levels) > 1:
                raise SystemExit(f"{route}, {feature}: the tests state {' and '.join(levels)}.")
            notes = "; ".join(sorted({str(proof["note"]) for proof in proofs} - {""}))
            tests = sorted({_short(str(proof["test"])) for proof in proofs})
            lines.append(f"| {feature} | {levels.pop()} | {notes} | {'<br>'.join(tests)} |")
        lines.append("")
    return "\n".join(lines)


def _short(test: str) -> str:
    """Return a test's name without its parameters."""
    return f"`{test.partition('[')[0].replace('tests/', 'T/', 1)}`"


def main() -> None:
    fresh = page(rows())
    if "--check" not in sys.argv:
        PAGE.write_text(fresh, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != fresh:
        raise SystemExit(f"{PAGE.name} is not what the tests prove. Run: make docs")


if __name__ == "__main__":
    main()
