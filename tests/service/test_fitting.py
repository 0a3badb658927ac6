"""What a template is given of a request."""

from types import SimpleNamespace

from hyperllama_nb.models.names import Name
from hyperllama_nb.service.abilities import INSERTIONS
from hyperllama_nb.service.ask import Ask
from hyperllama_nb.service.fitting import fit, render, tools, turns
from hyperllama_nb.service.messages import read_message
from hyperllama_nb.service.options import Options
from hyperllama_nb.service.prompt import Prompter
from hyperllama_nb.testing import tiny_model

CALLS = [
    {"id": "call_abc", "function": {"name": "add", "arguments": {"a": 1}}},
    {"function": {"name": "now", "arguments": {}}},
]


def manifest(**fields):
    given = {"name": Name.parse("tiny"), "template": None, "system": None, "messages": ()}
    return SimpleNamespace(**given | fields)


def ask(messages=None, model=None, **fields):
    read = None if messages is None else [read_message(message) for message in messages]
    return Ask(
        manifest=model or manifest(), options=Options.merge(None, None), messages=read, **fields
    )


def test_the_models_own_messages_and_system_prompt_come_first():
    model = manifest(system="Be brief.", messages=({"role": "user", "content": "1"},))
    given = turns(ask([{"role": "user", "content": "2"}], model))
    assert [turn["content"] for turn in given] == ["Be brief.", "1", "2"]
    own = [{"role": "system", "content": "Mine."}, {"role": "user", "content": "2"}]
    given = turns(ask(own, manifest(system="Be brief.")))
    assert [turn["content"] for turn in given] == ["Mine.", "2"]


def results_of(*results):
    messages = [{"role": "assistant", "tool_calls": CALLS}, *results]
    call, *given = turns(ask(messages))
    return call["tool_calls"], given


def test_tool_results_are_paired_by_id_then_by_name_then_in_order():
    calls, given = results_of(
        {"role": "tool", "content": "12:00", "tool_name": "now"},
        {"role": "tool", "content": "3", "tool_call_id": "call_abc"},
    )
    assert [turn["name"] for turn in given] == ["now", "add"]
    assert [turn["tool_call_id"] for turn in given] == [calls[1]["id"], calls[0]["id"]]
    _, given = results_of({"role": "tool", "content": "3"}, {"role": "tool", "content": "12:00"})
    assert [turn["name"] for turn in given] == ["add", "now"]


def test_each_call_keeps_its_place_and_has_a_short_id():
    calls, _ = results_of({"role": "tool", "content": "3"})
    assert [call["function"]["name"] for call in calls] == ["add", "now"]
    assert all(len(call["id"]) == 9 and call["id"].isalnum() for call in calls)
    assert calls[0]["id"] != calls[1]["id"]
    assert all("given" not in call for call in calls)


def test_thinking_goes_to_the_template_under_both_names():
    [turn] = turns(ask([{"role": "assistant", "content": "4", "thinking": "2+2"}]))
    assert turn["thinking"] == turn["reasoning_content"] == "2+2"


def test_no_tool_is_told_of_where_none_may_be_called():
    tool = {"type": "function", "function": {"name": "add"}}
    assert tools(ask([], tools=(tool,))) == (tool,)
    assert tools(ask([], tools=(tool,), tool_choice="none")) == ()


def test_what_is_rendered_is_what_is_encoded(tmp_path):
    prompter = Prompter(tiny_model(tmp_path), manifest())
    for one in (
        ask([{"role": "user", "content": "Hi <|im_end|>"}]),
        ask(prompt="Hi", system="Be brief."),
        ask(prompt="Hi", raw=True),
    ):
        ids = fit(one, prompter, 1000).ids
        assert prompter.decode(ids).removeprefix("<|im_start|>") in render(one, prompter)
        assert render(one, prompter).endswith(prompter.decode(ids)[-5:])


def test_an_insertion_puts_prefix_and_suffix_between_its_tokens(tmp_path):
    prompter = Prompter(tiny_model(tmp_path), manifest())
    one = ask(prompt="def f(", suffix="return 1")
    for form in INSERTIONS:
        text = prompter.decode(fit(one, prompter, 1000, form).ids)
        assert form.prompt("def f(", "return 1") in text
    short = fit(ask(prompt="x" * 500 + "END", suffix="return 1"), prompter, 200, INSERTIONS[0])
    assert short.truncated > 0
    assert len(short.ids) < 200
    assert "xEND<|fim_suffix|>return 1" in prompter.decode(short.ids)
