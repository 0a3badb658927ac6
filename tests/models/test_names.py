"""Names follow Ollama's grammar, and none of them leads out of the store."""

import string
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.errors import InvalidNameError
from hyperllama_nb.models.names import Name

_FIRST = string.ascii_letters + string.digits + "_"


def _part(more: str, longest: int = 80) -> st.SearchStrategy[str]:
    rest = st.text(_FIRST + more, max_size=longest - 1)
    return st.builds(str.__add__, st.sampled_from(_FIRST), rest)


NAMES = st.builds(Name, _part("-.:", 120), _part("-"), _part("-."), _part("-."))


@pytest.mark.parametrize(
    ("text", "display", "full"),
    [
        ("m", "m:latest", "registry.ollama.ai/library/m:latest"),
        (" smollm2:135m ", "smollm2:135m", "registry.ollama.ai/library/smollm2:135m"),
        ("ns/m", "ns/m:latest", "registry.ollama.ai/ns/m:latest"),
        ("hf.co/org/m:Q4_K_M", "hf.co/org/m:Q4_K_M", "hf.co/org/m:Q4_K_M"),
        ("https://host:5000/ns/m:t", "host:5000/ns/m:t", "host:5000/ns/m:t"),
        ("Registry.Ollama.AI/Library/m", "m:latest", "Registry.Ollama.AI/Library/m:latest"),
        ("Org/Name", "Org/Name:latest", "registry.ollama.ai/Org/Name:latest"),
    ],
)
def test_parse(text: str, display: str, full: str) -> None:
    name = Name.parse(text)
    assert (name.display, name.full, str(name)) == (display, full, display)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ":", "/", "m:", ":t", "/m", "m/", "a/b/c/d", "..", "../m", "a/../m", "m:.."),
        *(".m", "-m", "m@sha256:0", "m:t:u", "m\0", "a.b/m", "é", "m m", "x" * 81, "h//m", "\\m"),
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(InvalidNameError):
        Name.parse(text)


@given(NAMES)
def test_round_trip(name: Name) -> None:
    assert Name.parse(name.full) == name
    assert Name.parse(name.display).key == name.key


@given(NAMES)
def test_case_does_not_matter(name: Name) -> None:
    other = Name.parse(name.full.swapcase())
    assert (other.key, other.path) == (name.key, name.path)


@given(NAMES, NAMES)
def test_distinct_names_have_distinct_paths(first: Name, second: Name) -> None:
    assert (first.key == second.key) == (first.path == second.path)


_HOSTILE = st.text(st.sampled_from("ab./\\:~-_\0\n %@é\u2024\uff0f"), max_size=30)


@given(st.one_of(st.text(max_size=200), _HOSTILE))
def test_any_text_is_a_confined_name_or_refused(text: str) -> None:
    try:
        path = Name.parse(text).path
    except InvalidNameError:
        return
    _assert_confined(path)


@given(_HOSTILE, _HOSTILE, _HOSTILE, _HOSTILE)
def test_any_parts_are_a_confined_name_or_refused(a: str, b: str, c: str, d: str) -> None:
    try:
        path = Name(a, b, c, d).path
    except InvalidNameError:
        return
    _assert_confined(path)


def _assert_confined(path: PurePosixPath) -> None:
    assert len(path.parts) == 4
    assert not path.is_absolute()
    assert all(part[0] in _FIRST and len(part) < 256 for part in path.parts)
