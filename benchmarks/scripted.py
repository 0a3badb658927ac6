"""A service whose engines follow a script, in a process of its own, for measurements."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MODEL = "tiny"


@dataclass(frozen=True)
class Scripted:
    """A running service: its socket, its process's id, and its place for files."""

    socket: Path
    pid: int
    place: Path

    def begin_profile(self) -> None:
        """Count the samples of the profile anew from here on."""
        os.kill(self.pid, signal.SIGUSR1)


@contextmanager
def scripted_service(
    place: Path, *, rate: float, first: float, slots: int = 8, profile: Path | None = None
) -> Iterator[Scripted]:
    """Run a service whose engines write `rate` tokens a second, the first after `first` seconds.

    Sets HYPERLLAMA_RUNTIME_DIR for this process too, so that a door started by it finds the
    service. `profile` is a file that gets a profile of the service at its end. Raises RuntimeError
    with its log if it ends.
    """
    runtime = place / "r"
    runtime.mkdir(mode=0o700)
    os.environ["HYPERLLAMA_RUNTIME_DIR"] = str(runtime)
    os.environ["HYPERLLAMA_MODELS"] = str(place / "models")
    log = runtime / "service.log"
    options = [f"--rate={rate}", f"--first={first}", f"--slots={slots}"]
    if profile is not None:
        options.append(f"--profile={profile}")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, __file__, *options], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        while not (runtime / "service.sock").exists():
            if process.poll() is not None:
                raise RuntimeError(f"The service did not start:\n{log.read_text('utf-8')}")
            time.sleep(0.05)
        yield Scripted(runtime / "service.sock", process.pid, place)
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    """Be that service."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--first", type=float, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--profile", type=Path)
    args = parser.parse_args()

    from hyperllama_nb.models import Store
    from hyperllama_nb.service import host
    from hyperllama_nb.testing import FakeBackend, Script, install_tiny

    install_tiny(Store(), MODEL)
    script = Script(pieces=(" word",), repeat=1 << 20, delay_first=args.first, delay=1 / args.rate)
    backends = {"fake": FakeBackend([script], slots=args.slots)}
    if args.profile is None:
        return host.main(backends)
    import sampling

    with sampling.sampled(args.profile):
        return host.main(backends)


if __name__ == "__main__":
    sys.exit(main())
