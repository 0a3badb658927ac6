"""Runs the lean engine, or fills its compile cache; a file for MAX's interpreter.

`python lean_launcher.py serve SOCKET …` or `… warm DIRECTORY`, or `… probe`, which ends with 0 if
MAX has all that the engine uses. The package beside this file is imported under a name of its own:
MAX's environment need not have the one that it is in.
"""

import importlib.util
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

NAME = "hyperllama_lean"


def put_in_place() -> None:
    """Make the package importable, and nothing else that lies beside this file."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != here]
    package = here / "lean"
    spec = importlib.util.spec_from_file_location(
        NAME, package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)


def load(options: Namespace) -> Any:
    """Return the model that the options name."""
    from hyperllama_lean.main import say
    from hyperllama_lean.model import LlamaModel

    return LlamaModel(options.model, context=options.context, slots=options.slots, report=say)


def main() -> int:
    """Do what the first argument says, and return the exit code."""
    put_in_place()
    command, *arguments = sys.argv[1:]
    from hyperllama_lean.main import main as serve
    from hyperllama_lean.main import say

    if command == "serve":
        return int(serve(arguments, load))
    from hyperllama_lean import model

    if command == "warm":
        model.warm(Path(arguments[0]), say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
