"""Reading the stages of MAX's start from its log."""

import re

from hyperllama_nb.engines.base import Phase

_STAGES = tuple(
    (re.compile(words), Phase(name, message))
    for words, name, message in (
        (r"Download", "download", "fetching files"),
        (r"Starting server\.\.\.|Starting worker", "start", "starting the model's process"),
        (r"Initializing model pipeline", "build", "reading the model"),
        (r"Building( model|,|\b.*graph)", "build", "building the model's graph"),
        (
            r"Compiling\b(?!.* took)",
            "compile",
            "compiling for this machine (1 to 2 minutes the first time, then cached)",
        ),
        (r"(Compiling|Compiled)\b.*\b(took|in)\b", "initialise", "loading the weights"),
        (r"Initializ(ing|ed) model|init.*took", "initialise", "loading the weights"),
        (r"Server ready on", "ready", "answering"),
    )
)


def phase(line: str) -> Phase | None:
    """Return the stage that a line of the log announces, or None."""
    for words, found in _STAGES:
        if words.search(line):
            return found
    return None
