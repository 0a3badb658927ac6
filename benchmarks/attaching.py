"""What a client of a running service, and the notebook extension, cost to begin."""

import json
import subprocess
import sys

ATTACH = """
import time, json
t = time.perf_counter()
import httpx, hyperllama_nb.client
imported = time.perf_counter()
hyperllama_nb.client.Client().ps()
done = time.perf_counter()
print(json.dumps([(imported - t) * 1e3, (done - imported) * 1e3]))
"""

LOAD_EXT = """
import time, psutil, json
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("1")
me = psutil.Process()
before = me.memory_info().rss
t = time.perf_counter()
shell.run_line_magic("load_ext", "hyperllama_nb")
took = (time.perf_counter() - t) * 1e3
print(json.dumps([took, (me.memory_info().rss - before) / 1e6]))
"""


def attach_cost(rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of a fresh process: its imports, then attach and first answer."""
    imports, attaches = zip(*(_measured(ATTACH) for _ in range(rounds)), strict=True)
    return list(imports), list(attaches)


def load_ext_cost(rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds and megabytes that `%load_ext` takes in a warm interpreter."""
    times, sizes = zip(*(_measured(LOAD_EXT) for _ in range(rounds)), strict=True)
    return list(times), list(sizes)


def _measured(script: str) -> tuple[float, float]:
    """Return the two numbers that a script in a new interpreter prints last."""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    first, second = json.loads(done.stdout.splitlines()[-1])
    return first, second
