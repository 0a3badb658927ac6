"""Runs the `max` command with its HTTP server on a Unix socket; a file for MAX's interpreter.

`python launcher.py SOCKET serve …`. Imports nothing of this package, which MAX's environment need
not have. MAX executes itself anew once (for its allocator) and its workers import this file again:
the first passes here twice with the same arguments, the second stop at the last line.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Any


def listen_on(path: Path) -> None:
    """Make every uvicorn server of this process listen on the Unix socket `path`, mode 0600."""
    import uvicorn

    class Config(uvicorn.Config):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "uds": str(path)})
            # uvicorn keeps the mode of a socket that it finds, and otherwise opens it to all.
            with socket.socket(socket.AF_UNIX) as placeholder:
                placeholder.bind(str(path))
            path.chmod(0o600)

    vars(uvicorn)["Config"] = Config


def leave_out() -> None:
    """Keep a package from being imported that takes long, and that nothing here uses.

    With JupyterLab comes a parser of addresses that is built at its import, for 1.6 s. jsonschema
    does without: it leaves one of its formats (`iri`) unchecked, as in an environment without it.
    """
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]


def without_colons(arguments: list[str], directory: Path) -> list[str]:
    """Return MAX's arguments, in which a colon separates a directory from a module and no more.

    A directory whose path has colons gets a link in `directory`. Raises SystemExit, with a
    sentence, where that has some, too.
    """
    changed = list(arguments)
    for at, argument in enumerate(arguments[:-1], start=1):
        place, _, module = arguments[at].rpartition(":")
        if argument != "--custom-architectures" or ":" not in place:
            continue
        link = directory / "architectures"
        if ":" in str(link):
            raise SystemExit(
                f"MAX reads no files below {place}, since its path has a colon, and so has "
                f"{directory}. Set HYPERLLAMA_RUNTIME_DIR to a path without one."
            )
        if not link.is_symlink():  # MAX executes itself anew, and comes here twice
            link.symlink_to(place)
        changed[at] = f"{link}:{module}"
    return changed


def main() -> None:
    """Serve."""
    # The names of the files beside this one must not hide anybody's modules.
    here = Path(__file__).resolve().parent
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != here]
    leave_out()
    listen_on(Path(sys.argv[1]))
    sys.argv[:] = ["max", *without_colons(sys.argv[2:], Path(os.environ["TMPDIR"]))]
    from max._entrypoints.pipelines import main as run

    try:
        sys.exit(run())
    except ValueError as error:
        # So MAX says that an architecture of ours could not be imported.
        sys.path.append(str(here / "architectures"))
        from hyperllama_fallback import fall_back

        sys.argv[1:] = fall_back(error, sys.argv[1:])
    sys.exit(run())


if __name__ == "__main__":
    main()
