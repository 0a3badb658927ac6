"""Measure what showing a stream of 2,000 tokens costs the kernel and the browser.

usage: rendering.py [--rounds N]

A real JupyterLab in a real Chromium runs `%%llm` cells on a scripted engine. The kernel's cost is
its processor time above that of the same stream without a display, the browser's is the time
that its main thread was busy above that of an idle notebook. Runs take turns.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import CDPSession  # noqa: E402 - what follows is the rig of the tests

from hyperllama_nb.testing import Script  # noqa: E402
from tests.browser.lab import browser, jupyterlab  # noqa: E402
from tests.browser.screen import Notebook, Screen  # noqa: E402
from tests.service.hosting import hosting  # noqa: E402

TOKENS = 2_000

IDLE = 10.0
"""Seconds over which an idle notebook is watched."""

AFTER = 1.0
"""Seconds after a cell's end that count too: the last text is laid out then."""

LEAST = 3.0
"""Seconds below which no shares are told."""

KERNEL_BOUND, BROWSER_BOUND = 5.0, 25.0
"""Percent of a core, percent of the main thread."""

TEXT = (
    "## The **river** and its `delta`\n\n"
    "The river carries sand, silt and *clay* to the sea; see `flow()` below.\n\n"
    "- first, the **source** in the hills\n- then the long, slow plain\n\n"
    "```python\ndef flow(width: float, depth: float) -> float:\n"
    "    return width * depth * 1.2\n```\n\n"
    "| part | length |\n|---|---|\n| upper | 120 km |\n| lower | 310 km |\n\n"
)

PIECES = tuple(TEXT[at : at + 4] for at in range(0, len(TEXT), 4))
"""Four characters are about a token."""

SILENT = """import hyperllama_nb
for _ in hyperllama_nb.generate("tiny", "x", stream=True, options={{"num_predict": {tokens}}}):
    pass"""

SHOWN = "%%llm tiny --max-tokens {tokens} -f {form}\nx"

FORMS = {
    "no display": SILENT,
    "markdown": SHOWN.replace("{form}", "markdown"),
    "text": SHOWN.replace("{form}", "text"),
}

RUN = """async (index) => {
  const panel = jupyterapp.shell.currentWidget
  panel.content.activeCellIndex = index
  await jupyterapp.commands.execute('notebook:run-cell')
}"""


@dataclass(frozen=True)
class Cost:
    """Of one cell: seconds it took, of the kernel's processor, and of the browser's main thread."""

    wall: float
    kernel: float
    browser: float


def kernel_seconds(kernel: psutil.Process) -> float:
    times = kernel.cpu_times()
    return float(times.user + times.system)


def browser_seconds(page: CDPSession) -> float:
    metrics = page.send("Performance.getMetrics")["metrics"]
    return float(next(m["value"] for m in metrics if m["name"] == "TaskDuration"))


def watch(page: CDPSession, kernel: psutil.Process, work: Any, after: float) -> Cost:
    """Return what some work costs, with so many seconds after it."""
    begin, busy, laid_out = time.monotonic(), kernel_seconds(kernel), browser_seconds(page)
    work()
    wall, used = time.monotonic() - begin, kernel_seconds(kernel) - busy
    time.sleep(after)
    return Cost(wall, used, browser_seconds(page) - laid_out)


def share(seconds: float, wall: float) -> str:
    """Return the share of a time; of a moment it would say nothing."""
    return f"{100 * seconds / wall:.1f} %" if wall >= LEAST else "-"


def measured(book: Notebook, page: CDPSession, kernel: psutil.Process, rounds: int) -> None:
    """Run the cells of one pace in turns and print their rows."""
    costs: dict[str, list[Cost]] = defaultdict(list)
    names = list(FORMS)
    for number in range(rounds):
        for name in names[number % 3 :] + names[: number % 3]:
            index = names.index(name)
            cost = watch(page, kernel, lambda index=index: book.page.evaluate(RUN, index), AFTER)
            costs[name].append(cost)
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    rest = watch(page, kernel, lambda: time.sleep(IDLE), 0)
    idle = rest.browser / rest.wall
    plain = statistics.median(cost.kernel for cost in costs["no display"])
    for name in names:
        found = costs[name]
        wall = statistics.median(cost.wall for cost in found)
        kernel_above = statistics.median(cost.kernel for cost in found) - plain
        browser_above = statistics.median(c.browser - idle * (c.wall + AFTER) for c in found)
        shares = share(kernel_above, wall), share(browser_above, wall + AFTER)
        print(
            f"| {name} | {wall:.1f} s | {TOKENS / wall:,.0f} | {kernel_above:.2f} s | "
            f"{shares[0]} | {browser_above:.2f} s | {shares[1]} |"
        )
    print(f"\nWithout a display the kernel took {plain:.2f} s of its core.", end=" ")
    print(f"The idle notebook kept the main thread busy {100 * idle:.1f} % of the time.\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each form (default 3)")
    args = parser.parse_args()
    cells = [code.format(tokens=TOKENS) for code in FORMS.values()]
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hr", dir="/tmp")))
        os.environ["HYPERLLAMA_RUNTIME_DIR"] = str(place)
        os.environ["IPYTHONDIR"] = str(place / "ipython")
        lab = stack.enter_context(jupyterlab())
        window = stack.enter_context(browser()).new_page(viewport={"width": 1000, "height": 800})
        screen = Screen(window, lab)
        page = window.context.new_cdp_session(window)
        page.send("Performance.enable", {"timeDomain": "timeTicks"})
        for title, delay in (("100 tokens/s", 0.01), ("As fast as it comes", 0.0)):
            script = Script(pieces=PIECES, repeat=TOKENS, delay=delay)
            with hosting("process", [script]) as service:
                before = {child.pid for child in psutil.Process(lab.pid).children(recursive=True)}
                directory = str(service.socket.parent)
                setup = f"import os; os.environ['HYPERLLAMA_RUNTIME_DIR'] = {directory!r}"
                load = "get_ipython().run_line_magic('load_ext', 'hyperllama_nb')"
                book = screen.open(*cells, setup=f"{setup}\n{load}")
                [kernel] = [
                    child
                    for child in psutil.Process(lab.pid).children(recursive=True)
                    if child.pid not in before and "ipykernel_launcher" in child.cmdline()
                ]
                warm = (
                    "import hyperllama_nb as h; h.generate('tiny', 'x', options={'num_predict': 1})"
                )
                book.evaluate(warm)
                print(f"{title}, {TOKENS:,} tokens, median of {args.rounds}:\n")
                print("| shown as | took | tokens/s | kernel above no display | of a core ", end="")
                print("| browser above idle | of its main thread |\n|---|---|---|---|---|---|---|")
                measured(book, page, kernel, args.rounds)
                book.close()
    print(f"Bounds: {KERNEL_BOUND:.0f} % of a core, {BROWSER_BOUND:.0f} % of the main thread.")


if __name__ == "__main__":
    main()
