"""Reading MAX's log: the stages of a start, the causes of an end."""

import pytest

from hyperllama_nb.engines.max import MaxBackend

START = """
12:00:00.000 INFO: Tracing disabled.
12:00:01.000 INFO:     pipeline             : TextGenerationPipeline
12:00:01.000 INFO: Starting server...
12:00:02.000 INFO: Waiting for model worker readiness
12:00:03.000 INFO: Initializing model pipeline...
12:00:04.000 INFO: Building, compiling, and initializing model...
12:00:05.000 INFO: Building model graph took 0.0 seconds
12:00:06.000 INFO: Still compiling model (60.0s elapsed)
12:00:07.000 INFO: Compiling model took 61.3 seconds
12:00:08.000 INFO: Initializing model took 0.3 seconds
12:00:09.000 INFO: Building, compiling, and initializing sampler...
12:00:10.000 INFO: Compiling sampler took 2.7 seconds
12:00:11.000 INFO: Model worker ready
          🚀 Server ready on http://127.0.0.1:0 (Press CTRL+C to quit)
"""


def test_a_start_goes_through_its_stages_in_order():
    phases = [MaxBackend().phase(line) for line in START.splitlines()]
    names = list(dict.fromkeys(phase.name for phase in phases if phase))
    assert names == ["start", "build", "compile", "initialise", "ready"]
    indices = [names.index(phase.name) for phase in phases if phase]
    assert indices == sorted(indices)


@pytest.mark.parametrize(
    ("lines", "code", "words"),
    [
        ([], -4, "instruction"),
        ([], 132, "instruction"),
        ([], -9, "memory"),
        ([], 137, "memory"),
        ([], -11, "segmentation fault"),
        (["12:00:00.000 ERROR: Worker crashed (Killed), shutting down..."], 1, "memory"),
        (["ERROR: Worker crashed (Segmentation fault), shutting down"], 1, "segmentation fault"),
        (["RuntimeError: out of memory"], 1, "memory"),
        (["ValueError: The network port 8000 is already in use"], 1, "taken"),
        (["OSError: AF_UNIX path too long"], 1, "HYPERLLAMA_RUNTIME_DIR"),
        (["ValueError: architecture FooForCausalLM is not supported"], 1, "architecture"),
        (["different dtype (expected=float32, actual=bfloat16)"], 1, "type"),
        (["Error: No such option: --enable-penalties"], 2, "26.7"),
        (["OSError: [Errno 28] No space left on device"], 1, "disk is full"),
        (["\x1b[31mwhat nobody foresaw\x1b[0m"], 7, "code 7"),
        ([], None, "no log"),
    ],
)
def test_an_end_is_explained_with_the_last_words(lines, code, words):
    text = MaxBackend().explain(lines, code)
    assert words in text
    for line in lines:
        assert line.replace("\x1b[31m", "").replace("\x1b[0m", "") in text


def test_an_error_that_a_traceback_pushed_up_is_among_the_last_words():
    noise = [f'  File "x.py", line {n}' for n in range(50)]
    lines = ["ERROR: Worker crashed (Killed), shutting down...", *noise, "last line"]
    text = MaxBackend().explain(lines, 1)
    assert lines[0] in text
    assert "last line" in text
    assert len(text.splitlines()) < 10
