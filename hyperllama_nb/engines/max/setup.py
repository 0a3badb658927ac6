"""Making an environment for MAX alone, for notebooks whose packages its pins do not suit."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hyperllama_nb.engines.max.find import RELEASE, private_environment
from hyperllama_nb.errors import EngineMissingError

REQUIREMENTS = (
    f"max[serve]=={RELEASE}.*",
    # max wants opentelemetry-sdk<1.36; pip before 24 does not find what goes with it by itself
    "opentelemetry-api<1.36",
    "opentelemetry-exporter-otlp-proto-grpc<1.36",
    "opentelemetry-exporter-otlp-proto-http<1.36",
    "opentelemetry-exporter-prometheus<=0.56b0",
)


def setup_max(progress: Callable[[str], None]) -> Path:
    """Make the private environment, or bring it up to date; returns the path of its `max`.

    `progress` gets a line for each step. An environment that could not be completed is removed.
    Raises EngineMissingError with the last lines of what failed.
    """
    place = private_environment()
    python = place / "bin" / "python"
    fresh = not python.exists()
    try:
        if fresh:
            progress(f"making an environment in {place}")
            place.parent.mkdir(parents=True, exist_ok=True)
            _run([sys.executable, "-m", "venv", str(place)], progress)
        progress(f"installing {REQUIREMENTS[0]} (about 1.5 GB)")
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
        _run([*pip, "--progress-bar", "off", *REQUIREMENTS], progress)
    except BaseException:
        if fresh:
            shutil.rmtree(place, ignore_errors=True)
        raise
    progress(f"MAX {RELEASE} is ready in {place}; engines use it from now on")
    return place / "bin" / "max"


def _run(command: list[str], progress: Callable[[str], None]) -> None:
    lines: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for raw in process.stdout:
            line = raw.rstrip()
            if line:
                lines.append(line)
                progress(line)
    if process.returncode != 0:
        words = "\n".join(lines[-10:])
        raise EngineMissingError(
            f"The environment for MAX could not be made: `{' '.join(command)}` failed. On Debian "
            f"and Ubuntu it needs the package python3-venv. The last lines:\n{words}"
        )
