"""Our kernels in Mojo, compiled to the library that a graph takes them from."""

import hashlib
import os
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

from mojo.run import subprocess_run_mojo

SOURCES = Path(__file__).with_name("kernels")

_CACHE = "MODULAR_CACHE_DIR"


def library() -> Path:
    """Return the library's file, made where MAX keeps what it compiles unless it is there.

    Raises RuntimeError with the compiler's first words if it does not accept the sources.
    """
    digest = hashlib.sha256(version("max").encode())
    for source in sorted(SOURCES.glob("*.mojo")):
        digest.update(source.read_bytes())
    cache = Path(os.environ.get(_CACHE) or Path.home() / ".cache" / "modular")
    # The compiler names the module after the file, and MAX refuses one under another name.
    made = cache / "hyperllama" / f"kernels_{digest.hexdigest()[:16]}.mojoc"
    if not made.exists():
        made.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=made.parent) as place:
            _compile(Path(place) / made.name)
            (Path(place) / made.name).replace(made)
    return made


def _compile(target: Path) -> None:
    try:
        subprocess_run_mojo(
            ["precompile", str(SOURCES), "-o", str(target)],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except OSError as error:
        raise RuntimeError(f"the Mojo compiler cannot be run: {error}") from error
    except subprocess.CalledProcessError as error:
        words = next((line for line in error.stdout.splitlines() if "error:" in line), "no words")
        raise RuntimeError(words) from error
