"""Log-probabilities in the forms in which engines send them."""

from hyperllama_nb.engines.events import TokenLogprob
from hyperllama_nb.engines.logprobs import read

TRUE = TokenLogprob("True", -0.5, (("True", -0.5), ("False", -2.0)))


def test_a_skeleton_has_none():
    empty = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
    assert read(empty) == read(None) == ()


def test_a_token_that_max_leaves_out_is_the_text_of_its_chunk():
    found = {
        "text_offset": None,
        "tokens": None,
        "token_logprobs": [-0.5],
        "top_logprobs": [{"False": -2.0, "True": -0.5}],
    }
    assert read(found, "True") == (TRUE,)


def test_of_several_tokens_in_a_chunk_each_is_found_by_its_value():
    found = {
        "tokens": None,
        "token_logprobs": [-0.5, -1.5],
        "top_logprobs": [{"True": -0.5, "False": -2.0}, {".": -0.1, ",": -1.5}],
    }
    assert [token.token for token in read(found, "True,")] == ["True", ","]


def test_the_lists_of_openai():
    found = {
        "tokens": ["True"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{"False": -2.0, "True": -0.5}],
    }
    assert read(found) == (TRUE,)


def test_the_objects_of_llama_cpp():
    top = [{"token": "False", "logprob": -2.0}, {"token": "True", "logprob": -0.5}]
    found = {"content": [{"token": "True", "logprob": -0.5, "top_logprobs": top}]}
    assert read(found) == (TRUE,)
