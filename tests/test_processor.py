"""The name of a processor, by which compiled code is kept apart."""

import re

import pytest

from hyperllama_nb import _processor

INTEL = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz
cpu MHz\t\t: {clock}
flags\t\t: fpu sse sse2 {flags}

processor\t: 1
model name\t: another one
flags\t\t: none
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd {flags}\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"


@pytest.fixture
def tag(tmp_path):
    made = iter(range(100))

    def of(text, **words):
        root = tmp_path / str(next(made))
        (root / "proc").mkdir(parents=True)
        (root / "proc/cpuinfo").write_text(text.format(**{"clock": "1", "flags": "", **words}))
        return _processor.tag(root)

    return of


def test_it_is_short_and_readable(tag):
    assert re.fullmatch(r"intel-xeon-platinum-8488c-[0-9a-f]{8}", tag(INTEL))
    long = INTEL.replace("Platinum", "Platinum " * 20)
    assert re.fullmatch(r"[a-z0-9-]{1,32}-[0-9a-f]{8}", tag(long))


def test_it_differs_by_instructions_alone(tag):
    first = tag(INTEL, flags="avx2 avx512f")
    assert tag(INTEL, flags="avx512f avx2", clock="3") == first
    assert tag(INTEL, flags="avx2 avx512f md_clear tsc_known_freq") == first
    assert tag(INTEL, flags="avx2") != first
    assert tag(ARM, flags="sve") != tag(ARM)


def test_a_machine_that_tells_nothing_has_one_too(tmp_path):
    assert re.fullmatch(r"[a-z0-9-]+-[0-9a-f]{8}", _processor.tag(tmp_path))
    assert _processor.tag() == _processor.tag()
