"""Reading the stages of MAX's start from its log."""

import re

from hyperllama_nb.engines.base import Phase

_COMPILE = "compiling for this machine (a minute or two at the first start, then cached)"

_STAGES = tuple(
    (re.compile(words), Phase(name, message))
    for words, name, message in (
        (r"four-bit weights do not fit", "build", "making float32 weights: this MAX has no Q4_0"),
        (r"Fetching \d+ files|Downloading", "download", "fetching files"),
        (r"Starting server\.\.\.", "start", "starting the model's process"),
        (r"Initializing model pipeline\.\.\.", "build", "reading the model"),
        (r"initializing model\.\.\.|Still compiling model", "compile", _COMPILE),
        (r"Compiling model took", "initialise", "loading the weights"),
        (r"initializing sampler\.\.\.", "initialise", "preparing the sampler"),
        (r"^Reading the weights|^Building the graph", "build", "reading the model"),
        (r"^Compiling the graph", "compile", _COMPILE),
        (r"^Binding the weights", "initialise", "loading the weights"),
        (r"Server ready on|^Ready on", "ready", "answering a first request"),
    )
)


def phase(line: str) -> Phase | None:
    """Return the stage that a line of the log announces, or None."""
    return next((found for words, found in _STAGES if words.search(line)), None)
