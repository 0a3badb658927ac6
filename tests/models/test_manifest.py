"""Manifests survive the disk, and describe a model in Ollama's words."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.errors import StoreError
from hyperllama_nb.models import File, Manifest, Name
from hyperllama_nb.models.manifest import ROLES, human_number
from tests.models.manifests import manifest
from tests.models.test_names import NAMES

DIGEST = "sha256:" + "0123456789abcdef" * 4

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_FILES = st.builds(
    File,
    st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?\.json", fullmatch=True),
    st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True),
    st.integers(0, 1 << 50),
    st.sampled_from(sorted(ROLES)),
)
_OPTIONS = st.dictionaries(_TEXT, st.one_of(st.integers(), _TEXT, st.booleans(), st.lists(_TEXT)))
MANIFESTS = st.builds(
    Manifest,
    name=NAMES,
    source=_TEXT,
    revision=_TEXT,
    files=st.lists(_FILES, max_size=3).map(tuple),
    **dict.fromkeys(("architecture", "family", "quantization", "encoding"), _TEXT),
    **{
        key: st.integers(0, 1 << 40)
        for key in (
            *("parameters", "context_length", "embedding_length", "layers", "kv_heads"),
            *("head_dim", "vocab_size"),
        )
    },
    template=st.none() | _TEXT,
    license=st.none() | _TEXT,
    license_text=st.none() | _TEXT,
    system=st.none() | _TEXT,
    options=_OPTIONS,
    modified_at=st.datetimes(timezones=st.just(UTC)),
)


@given(MANIFESTS)
def test_round_trip(made: Manifest) -> None:
    read = Manifest.from_json(made.to_json())
    assert read == made
    assert read.digest == made.digest


@given(MANIFESTS, NAMES)
def test_copies_have_the_digest_of_the_original(made: Manifest, name: Name) -> None:
    assert made.renamed(name).digest == made.digest
    assert len(made.digest) == 64


@given(MANIFESTS, st.data())
def test_damage_is_one_error(made: Manifest, data: st.DataObject) -> None:
    content = json.loads(made.to_json())
    key = data.draw(st.sampled_from(sorted(content)))
    content[key] = data.draw(st.sampled_from([None, 1.5, [], {}, "x", -1, [None]]))
    try:
        read = Manifest.from_json(json.dumps(content))
    except StoreError:
        return
    assert Manifest.from_json(read.to_json()) == read


@given(st.binary(max_size=60))
def test_any_bytes_are_one_error(data: bytes) -> None:
    with pytest.raises(StoreError):
        Manifest.from_json(data)


@pytest.mark.parametrize(
    "changed",
    [
        {"digest": DIGEST + "\n"},
        {"digest": DIGEST.upper()},
        {"digest": "sha256:../../x"},
        {"path": "../x"},
        {"path": "/x"},
        {"path": "a/../b"},
        {"path": ""},
        {"path": "a\\b"},
        {"path": "./a"},
        {"role": "other"},
        {"size": -1},
    ],
)
def test_files_cannot_lead_elsewhere(changed: dict[str, Any]) -> None:
    with pytest.raises(StoreError):
        File(**{"path": "a", "digest": DIGEST, "size": 1, "role": "config", **changed})


def test_another_schema_is_named() -> None:
    text = manifest().to_json().replace('"schema": 1', '"schema": 2')
    with pytest.raises(StoreError, match="schema 2"):
        Manifest.from_json(text)


def test_sizes() -> None:
    first = File("a", DIGEST, 10, "weights")
    second = File("b", DIGEST, 10, "weights")
    made = manifest(files=(first, second, File("c", "sha256:" + "0" * 64, 5, "source")))
    assert (made.size, made.weights_size) == (15, 20)
    assert made.kv_bytes(4096, 4) == 2 * 30 * 3 * 64 * 4 * 4096 * 4


def test_details_are_ollamas() -> None:
    assert manifest(format="gguf").details() == {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "134.52M",
        "quantization_level": "Q4_1",
    }


def test_model_info_is_json() -> None:
    info = manifest(license="mit").model_info()
    assert info["general.architecture"] == "llama"
    assert info["llama.context_length"] == 8192
    assert info["general.license"] == "mit"
    assert json.loads(json.dumps(info)) == info


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ("completion",)),
        ({"template": "{{ tools }}"}, ("completion", "tools")),
        ({"template": "<think>"}, ("completion", "thinking")),
        ({"architecture": "BertModel"}, ("embedding",)),
    ],
)
def test_capabilities(changed: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert manifest(**changed).capabilities == expected


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (999, "999"),
        (22_000, "22K"),
        (134_515_008, "134.52M"),
        (8_030_261_248, "8.0B"),
        (7 * 10**9, "7B"),
    ],
)
def test_human_number(count: int, text: str) -> None:
    assert human_number(count) == text


def test_modified_now_and_aware() -> None:
    assert manifest().modified_at.tzinfo is not None
    assert manifest().modified_at <= datetime.now(UTC)
