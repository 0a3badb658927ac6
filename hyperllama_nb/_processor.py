"""A short name for this machine's processor, which compiled code depends on."""

import functools
import hashlib
import platform
import re
from pathlib import Path

from hyperllama_nb.hardware import cpu_name

LONGEST = 32
"""Characters of the readable part."""

_SETS = re.compile(
    r"aes|sse|ssse|avx|amx|fma|f16c|bmi|abm|popcnt|movbe|adx|sha_|gfni|vaes|vpcl|pclmul"
)
"""Flags that name instructions. Those of x86 also name bugs and timers, which a kernel may add."""


@functools.lru_cache
def tag(root: Path = Path("/")) -> str:
    """Return a name such as `intel-xeon-platinum-8488c-1f0b2c3d`, equal on equal processors.

    It has the model's name and a hash of the instruction sets that it offers here (a virtual
    machine may hide some). `root` is the directory that holds `proc`.
    """
    name = re.sub(r"\((r|tm)\)|@.*", " ", cpu_name(root).lower())
    words = re.findall(r"[a-z0-9]+", name)
    readable = "-".join(word for word in words if word not in {"cpu", "processor"})
    facts = {"machine": [platform.machine()], **_described(root)}
    digest = hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()
    return f"{readable[:LONGEST].strip('-') or 'unknown'}-{digest[:8]}"


def _described(root: Path) -> dict[str, list[str]]:
    """Return what Linux tells of the first processor's make and its instructions."""
    found: dict[str, list[str]] = {}
    try:
        with (root / "proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = (part.strip() for part in line.partition(":"))
                if not key and found:
                    break
                if key == "flags":
                    found[key] = sorted(flag for flag in value.split() if _SETS.match(flag))
                elif key in {"Features", "CPU implementer", "CPU part", "cpu family", "model"}:
                    found[key] = sorted(value.split())
    except OSError:
        pass
    return found
