"""Make a virtual environment and fill it, with a line every few seconds; standard library only.

usage: environment.py DIRECTORY REQUIREMENT...
"""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

LEAST = (3, 11)
TICK = 4.0
"""Seconds between two lines while the tool below is silent."""
TAIL = 25
"""Lines of a failed tool's output to show."""


def say(text: str) -> None:
    print(text, flush=True)


def patiently(label: str, command: list[str], log: Path) -> None:
    """Run a command with its output in a file, and tell every few seconds that it still runs."""
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    say(f"{label} …")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while True:
                try:
                    status = process.wait(timeout=TICK)
                    break
                except subprocess.TimeoutExpired:
                    say(f"  {time.monotonic() - begin:4.0f} s  {last_line(log)}")
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if status:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        say("\n".join(lines))
        raise SystemExit(f"{label}: failed with status {status}; the whole output is in {log}.")
    say(f"  {time.monotonic() - begin:4.0f} s  done")


def last_line(log: Path) -> str:
    """Return what the tool said last, cut to fit a terminal."""
    data = log.read_bytes()[-2000:].decode("utf-8", "replace").replace("\r", "\n")
    lines = [line.strip() for line in data.splitlines() if line.strip()]
    return lines[-1][:90] if lines else ""


def works(python: Path) -> bool:
    """Say whether an environment's interpreter starts and has pip."""
    try:
        command = [str(python), "-c", "import pip"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    if sys.version_info < LEAST:
        raise SystemExit(
            f"Python {LEAST[0]}.{LEAST[1]} or newer is needed, and {sys.executable} is "
            f"{sys.version.split()[0]}. Name another one: make PYTHON=python3.12 …"
        )
    directory, requirements = Path(sys.argv[1]), sys.argv[2:]
    python = directory / "bin" / "python"
    logs = Path("build/logs")
    identity = "\0".join([sys.version, str(directory.resolve()), *requirements])
    project = Path("pyproject.toml").read_bytes()
    stamp = directory / f".filled-{hashlib.sha256(identity.encode() + project).hexdigest()[:16]}"
    if stamp.exists() and works(python):
        return
    if not works(python):
        try:
            import ensurepip  # noqa: F401
        except ImportError:
            raise SystemExit(
                "Python's venv package is missing. On Debian and Ubuntu: "
                "sudo apt-get install python3-venv"
            ) from None
        make = [sys.executable, "-m", "venv", "--clear", str(directory)]
        patiently(f"Making {directory}", make, logs / "venv.log")
    arguments: list[str] = []
    for requirement in requirements:
        arguments += ["-e", requirement] if requirement.startswith(".") else [requirement]
    # Compiling every file ahead costs more than compiling at import those that are imported.
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-compile"]
    install = [*pip, *arguments]
    patiently(
        f"Installing {' '.join(requirements)} into {directory}",
        install,
        logs / f"pip-{directory.name.lstrip('.')}.log",
    )
    stamp.touch()


if __name__ == "__main__":
    main()
