"""What a `%%llm` cell shows, keeps and sends."""

import pytest

from hyperllama_nb.errors import EngineDiedError
from tests.client.fakeservice import messages, words

GENERATE, CHAT = "POST /api/generate", "POST /api/chat"
CODE = "So:\n```python\nx = 41 + 1\n```\nDone."


def said(service):
    """The contents of the messages of each request."""
    return [[found["content"] for found in body["messages"]] for body in service.bodies(CHAT)]


def test_values_come_into_the_prompt_and_are_told(service, ask, shell, page):
    service.routes[GENERATE] = lambda body: words("x")
    shell.user_ns["n"] = 3
    ask("m", '{n} of {"a": {b}}')
    ask("m --raw", "{n}")
    ask("m --verbatim", "{n}")
    assert [body["prompt"] for body in service.bodies(GENERATE)] == ['3 of {"a": {b}}', "3", "{n}"]
    assert page.saved["values"] == ["n"]


def test_values_come_into_the_line_too(service, ask, shell):
    service.routes[GENERATE] = lambda body: words("x")
    shell.user_ns |= {"model": "m:2", "heat": 0.5, "persona": '- You are\n- "kind" {heat}'}
    ask("{model} --temperature {heat} -s {persona} --stop '{nothing}'")
    ask("m --verbatim -s {persona}")
    first, second = service.bodies(GENERATE)
    assert (first["model"], first["system"]) == ("m:2", shell.user_ns["persona"])
    assert first["options"] == {"temperature": 0.5, "stop": ["{nothing}"]}
    assert second["system"] == "{persona}"


def test_code_goes_into_a_new_cell(service, ask, shell, page):
    service.routes[GENERATE] = lambda body: words(*CODE, eval_count=5)
    written = []
    shell.set_next_input = lambda text, replace=False: written.append((text, replace))
    assert ask("m -f code").code == "x = 41 + 1"
    assert written == [("x = 41 + 1", False)]
    [bundle] = page.bundles
    assert bundle["text/plain"] == "1 line of code in the next cell · 5 tokens"
    assert page.live[0] == {"text/plain": "S"}
    service.routes[GENERATE] = lambda body: words("Sorry, no.")
    ask("m -f code")
    assert len(written) == 1
    assert page.bundles[1]["text/markdown"] == "Sorry, no."


def test_code_is_the_next_input_of_a_terminal(service, ask, shell, capsys):
    service.routes[GENERATE] = lambda body: words(CODE)
    ask("m -f code")
    assert shell.rl_next_input == "x = 41 + 1"
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "1 line of code" in shown.err


def test_a_block_is_extracted(service, ask, page, capsys, monkeypatch):
    service.routes[GENERATE] = lambda body: words(CODE, eval_count=5)
    assert ask("m -x").text == CODE
    code, footer = page.bundles
    assert code == {"text/plain": "x = 41 + 1", "text/markdown": "```python\nx = 41 + 1\n```"}
    assert footer["text/plain"] == "5 tokens"
    monkeypatch.setattr("hyperllama_nb.display.sinks.in_kernel", lambda: False)
    ask("m -x")
    assert capsys.readouterr().out == "x = 41 + 1\n"


@pytest.mark.parametrize(
    ("form", "answer", "mime"),
    [
        ("json", '{"a": 1}', "application/json"),
        ("html", "<b>a</b>", "text/html"),
        ("math", "x^2", "text/latex"),
        ("text", "*a*", None),
        ("markdown", "*a*", "text/markdown"),
    ],
)
def test_an_answer_has_the_form_that_the_line_asks_for(service, ask, page, form, answer, mime):
    service.routes[GENERATE] = lambda body: words(answer)
    ask(f"m -f {form}")
    assert set(page.bundles[0]) == {"text/plain"} | ({mime} if mime else set())
    assert page.saved["format"] == form


def test_an_answer_goes_unseen_into_a_variable(service, ask, shell, page):
    service.routes[GENERATE] = lambda body: words("secret", " words", eval_count=2)
    response = ask("kept << m --temperature 0")
    assert shell.user_ns["kept"] is response
    assert service.bodies(GENERATE)[0]["options"] == {"temperature": 0}
    assert page.bundles == [
        {
            "text/plain": "the answer is in kept · 2 tokens",
            "text/markdown": "<small>the answer is in kept · 2 tokens</small>",
        }
    ]
    assert not any("secret" in str(bundle) for bundle in page.live)
    ask("again <<")
    assert shell.user_ns["again"].text == "secret words"


def test_a_cell_that_runs_again_replaces_its_turn(service, ask, shell, page):
    service.routes[CHAT] = lambda body: messages("A", str(len(service.bodies(CHAT))))
    begin = shell.events.trigger
    for cell, text in (("1", "one"), ("2", "two"), ("1", "one!"), ("2", "two")):
        page.cell = cell
        begin("pre_run_cell", None)
        ask("m -c a", text)
    assert said(service) == [["one"], ["one", "A1", "two"], ["one!"], ["one!", "A3", "two"]]
    kept = shell.magics_manager.registry["HyperLlamaMagics"].conversations["a"]
    assert [found["content"] for found in kept] == ["one!", "A3", "two", "A4"]


def test_without_ids_of_cells_each_run_is_a_turn(service, ask, page):
    page.cell = None
    service.routes[CHAT] = lambda body: messages("A")
    ask("m -c a", "one")
    ask("m -c a", "one")
    assert said(service) == [["one"], ["one", "A", "one"]]


def test_the_default_conversation_and_how_to_leave_it_out(service, ask, shell):
    service.routes[CHAT] = lambda body: messages("A")
    service.routes[GENERATE] = lambda body: words("x")
    shell.run_line_magic("config", "HyperLlamaMagics.chat = 'main'")
    ask("m", "one")
    ask("m --no-history", "aside")
    ask("m --raw", "raw")
    ask("m", "two")
    ask("m -c other", "three")
    assert said(service) == [["one"], ["one", "A", "two"], ["three"]]
    assert [body["prompt"] for body in service.bodies(GENERATE)] == ["aside", "raw"]


def test_the_footer_tells_how_full_the_context_is(service, ask, page):
    last = {"prompt_eval_count": 998, "eval_count": 2, "hyperllama": {"context_length": 4096}}
    service.routes[CHAT] = lambda body: [*messages("A")[:1], {**messages()[0], **last}]
    ask("m -c a")
    assert "context 1,000 of 4,096 tokens (24 %)" in page.bundles[0]["text/plain"]
    service.routes[GENERATE] = lambda body: words("x", **last)
    ask("m")
    assert "context" not in page.bundles[1]["text/plain"]


def test_an_answer_that_breaks_off_is_no_turn(service, ask, page):
    service.routes[CHAT] = lambda body: messages("A")[:1]
    with pytest.raises(EngineDiedError):
        ask("m -c a", "one")
    service.routes[CHAT] = lambda body: messages("B")
    ask("m -c a", "two")
    assert said(service) == [["one"], ["two"]]
    assert page.bundles[0]["text/plain"] == "A\n\nEnded by an error: EngineDiedError."


def test_more_is_told_on_demand(service, ask, page):
    service.routes[GENERATE] = lambda body: words("x", prompt_eval_count=7)
    ask("m -u")
    assert "prompt 7 tokens" in page.bundles[0]["text/plain"]
