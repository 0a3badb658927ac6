"""Pull from a hub by Ollama's names: the tag chooses among the GGUF files of a repository."""

import pytest
import tokenizers

from hyperllama_nb.errors import InvalidFileError, NotSupportedError
from hyperllama_nb.models import Store
from tests.models.gguf_files import llama_metadata, tiny_llama
from tests.models.hub_server import COMMIT, Hub, serve

pytestmark = pytest.mark.slow


KINDS = ("Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q8_0")


@pytest.fixture
def quants(hub: Hub) -> Hub:
    """Publish nothing but GGUF files, each of other bytes."""
    metadata = llama_metadata()
    hub.files = {
        f"Tiny-Instruct-{kind}.gguf": tiny_llama({**metadata, "general.name": kind})
        for kind in KINDS
    }
    hub.files["mmproj-Q4_K_M.gguf"] = b"not a model"
    return hub


def chosen(hub: Hub) -> set[str]:
    """Return the names of the files that were downloaded."""
    return {
        path.rpartition("/")[2]
        for method, path, _ in hub.requests
        if method == "GET" and "/resolve/" in path
    }


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("", "Q4_K_M"),
        (":latest", "Q4_K_M"),
        (":Q4_K_M", "Q4_K_M"),
        (":q8_0", "Q8_0"),
        (":Q2_K", "Q2_K"),
        (":Tiny-Instruct-Q5_K_M.gguf", "Q5_K_M"),
        (":tiny-instruct-q3_k_m", "Q3_K_M"),
    ],
)
def test_quantisation_is_chosen_by_the_tag(quants: Hub, store: Store, tag: str, kind: str) -> None:
    manifest = store.pull(f"hf.co/team/tiny{tag}")
    assert chosen(quants) == {f"Tiny-Instruct-{kind}.gguf"}
    assert manifest.name.display == f"hf.co/team/tiny{tag or ':latest'}"
    assert manifest.revision == COMMIT
    source = store.gguf(manifest)
    assert source is not None
    assert source.read_bytes() == quants.files[f"Tiny-Instruct-{kind}.gguf"]


def test_tokenizer_comes_from_the_gguf(quants: Hub, store: Store) -> None:
    view = store.view(store.pull("huggingface.co/team/tiny"))
    tokenizer = tokenizers.Tokenizer.from_file(str(view / "tokenizer.json"))
    assert tokenizer.encode("hello", add_special_tokens=False).tokens == ["hel", "l", "o"]
    assert (view / "config.json").exists()


def test_repository_of_ggufs_alone_needs_no_choice(quants: Hub, store: Store) -> None:
    assert store.pull("hf:team/tiny").name.display == "team/tiny:latest"
    assert chosen(quants) == {"Tiny-Instruct-Q4_K_M.gguf"}


def test_unknown_quantisation_lists_what_there_is(quants: Hub, store: Store) -> None:
    words = r"no GGUF file 'Q6_K'\. It has: Q2_K, Q8_0, Q3_K_M, Q4_K_M, Q5_K_M\. Name one"
    with pytest.raises(InvalidFileError, match=words):
        store.pull("hf.co/team/tiny:Q6_K")
    assert not chosen(quants)


@pytest.mark.parametrize(
    ("kinds", "taken"),
    [(("Q2_K", "Q8_0"), "Q8_0"), (("Q4_0", "Q4_K_S", "Q8_0"), "Q4_K_S"), (("IQ1_S",), "IQ1_S")],
)
def test_nearest_to_the_default_where_that_is_missing(
    hub: Hub, store: Store, kinds: tuple[str, ...], taken: str
) -> None:
    hub.files = {f"m.{kind}.gguf": tiny_llama() for kind in kinds}
    store.pull("hf.co/team/tiny")
    assert chosen(hub) == {f"m.{taken}.gguf"}


def test_nothing_near_the_default(hub: Hub, store: Store) -> None:
    hub.files = {"a/m-IQ1_S.gguf": b"", "b/m-F16.gguf": b""}
    with pytest.raises(InvalidFileError, match=r"It has: F16, IQ1_S|It has: IQ1_S, F16"):
        store.pull("hf.co/team/tiny")


def test_split_file_is_refused_in_words(hub: Hub, store: Store) -> None:
    hub.files = {f"m-Q4_K_M-0000{part}-of-00002.gguf": b"" for part in (1, 2)}
    with pytest.raises(NotSupportedError, match="one part of several"):
        store.pull("hf.co/team/tiny:Q4_K_M")


def test_name_of_a_checkpoint(hub: Hub, store: Store) -> None:
    manifest = store.pull("hf.co/team/tiny")
    assert (manifest.architecture, manifest.format) == ("Qwen3ForCausalLM", "safetensors")
    with pytest.raises(InvalidFileError, match="no GGUF files"):
        store.pull("hf.co/team/tiny:Q4_K_M")


def test_second_pull_of_a_name_downloads_nothing(quants: Hub, store: Store) -> None:
    first = store.pull("hf.co/team/tiny:Q8_0")
    quants.requests.clear()
    assert store.pull("hf.co/team/tiny:Q8_0") == first
    assert not chosen(quants)


def test_token_goes_to_the_hub_alone(
    quants: Hub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve(Hub(quants.repository, quants.files)) as other:
        quants.elsewhere = other.url.replace("127.0.0.1", "localhost")
        store.pull("hf.co/team/tiny")
        assert "Bearer hf_secret" in quants.credentials
        assert other.requests
        assert set(other.credentials) == {None}
