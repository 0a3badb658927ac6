"""Runs llama.cpp's HTTP server out of the package xllamacpp; a file for an own process.

`python launcher.py SPEC`, where SPEC is a JSON object: `attributes` of the server's parameters by
dotted name, and the rest as written there.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any


def parameters(spec: dict[str, Any]) -> Any:
    """Return the server's parameters."""
    import xllamacpp

    made = xllamacpp.CommonParams()
    made.model.path = spec["model"]
    made.hostnames = [spec["socket"]]
    made.model_alias = [spec["alias"]]
    for name, value in spec["attributes"].items():
        *path, last = name.split(".")
        place = made
        for part in path:
            place = getattr(place, part)
        setattr(place, last, value)
    return made


def main() -> None:
    """Serve until the process is ended."""
    here = Path(__file__).resolve().parent
    # The names of the files beside this one must not hide anybody's modules.
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != here]
    os.umask(0o077)  # the socket is for this user alone
    import xllamacpp

    server = xllamacpp.Server(parameters(json.loads(sys.argv[1])))
    sys.stderr.write(f"serving on {server.listening_address}\n")
    threading.Event().wait()


if __name__ == "__main__":
    main()
