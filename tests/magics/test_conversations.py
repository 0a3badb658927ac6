"""Conversations whose turns belong to cells, and the files that they are saved in."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.errors import ConflictError, RequestError
from hyperllama_nb.magics import _chat_files
from hyperllama_nb.magics._conversations import Conversation, Conversations, Turn


def user(text):
    return {"role": "user", "content": text}


def model(text):
    return {"role": "assistant", "content": text}


def run(held, cell, text, name="a", **facts):
    """Run a cell: what it asks the model, and the answer."""
    held.begin()
    asked = held.before(name, cell)
    held.keep(name, cell, user(text), model(text.upper()), **facts)
    return [message["content"] for message in asked]


@pytest.fixture
def held():
    return Conversations()


def test_a_turn_sees_what_was_said_before(held):
    assert run(held, "1", "one") == []
    assert run(held, "2", "two") == ["one", "ONE"]
    assert run(held, "3", "three") == ["one", "ONE", "two", "TWO"]
    assert held["a"] == [
        user("one"), model("ONE"), user("two"), model("TWO"), user("three"), model("THREE"),
    ]  # fmt: skip


def test_a_cell_that_runs_again_replaces_its_turn(held):
    for text in ("one", "two", "three"):
        run(held, text, text)
    for _ in range(3):
        assert run(held, "two", "new") == ["one", "ONE"]
    assert [turn.question["content"] for turn in held["a"].turns] == ["one", "new", "three"]


def test_without_a_cell_each_turn_is_a_new_one(held):
    run(held, None, "one")
    assert run(held, None, "one") == ["one", "ONE"]
    assert len(held["a"].turns) == 2


def test_a_cell_that_asks_in_a_loop_keeps_each_turn_once(held):
    def loop(*texts):
        held.begin()
        seen = []
        for text in texts:
            seen.append(len(held.before("a", "1")))
            held.keep("a", "1", user(text), model(text))
        return seen

    assert loop("x", "y", "z") == [0, 2, 4]
    assert loop("X", "Y", "Z") == [0, 2, 4]
    assert [turn.question["content"] for turn in held["a"].turns] == ["X", "Y", "Z"]


@pytest.mark.parametrize(
    ("cell", "success", "left"),
    [("1", True, ["new", "other"]), ("1", False, ["new", "y", "z", "other"]),
     ("2", True, ["new", "y", "z", "other"]), (None, True, ["new", "y", "z", "other"])],
)  # fmt: skip
def test_a_loop_that_asks_less_forgets_the_rest(held, cell, success, left):
    for texts in (("x", "y", "z"), ("new",)):
        held.begin()
        for text in texts:
            held.keep("a", "1", user(text), model(text), tokens=9)
        if texts == ("x", "y", "z"):
            held.keep("a", "3", user("other"), model("other"), tokens=9)
    held.end(SimpleNamespace(info=SimpleNamespace(cell_id=cell), success=success))
    assert [turn.question["content"] for turn in held["a"].turns] == left
    assert held["a"].tokens is None


def test_conversations_do_not_mix(held):
    run(held, "1", "one", "a")
    assert run(held, "1", "one", "b") == []
    assert [*held] == ["a", "b"]
    assert held.latest == "b"
    held.reset("b")
    assert held.latest == "a"
    assert held.reset() == ["a"]
    assert held.latest is None
    assert not held


def test_what_is_read_is_a_copy(held):
    run(held, "1", "one")
    held["a"][0]["content"] = "changed"
    held["a"].messages.clear()
    held.before("a", None)[0]["content"] = "changed"
    question = user("two")
    held.keep("a", "2", question, model("x"))
    question["content"] = "changed"
    assert [message["content"] for message in held["a"][:3]] == ["one", "ONE", "two"]


def test_the_count_is_that_of_the_last_answer(held):
    run(held, "1", "one", tokens=20, context_length=4096)
    run(held, "2", "two", tokens=45, context_length=4096)
    assert (held["a"].tokens, held["a"].used) == (45, "45 of 4096")
    assert repr(held["a"]) == "<Conversation 'a', 2 turns, 45 of 4096 tokens>"


def test_a_changed_turn_makes_later_counts_unknown(held):
    for cell, tokens in (("1", 20), ("2", 45), ("3", 70)):
        run(held, cell, cell, tokens=tokens, context_length=4096)
    run(held, "2", "2", tokens=45, context_length=4096)
    assert held["a"].used == "70 of 4096"  # it says the same as before
    run(held, "2", "longer", tokens=50, context_length=4096)
    assert held["a"].used == "-"
    run(held, "3", "3", tokens=75)
    assert held["a"].used == "75"


def test_it_shows_itself(held):
    held.keep("a", None, user("Code?"), model("```python\nx = 1"), model="tiny:1b")
    conversation = held["a"]
    assert str(conversation) == "You:\nCode?\n\ntiny:1b:\n```python\nx = 1"
    bundle = conversation._repr_mimebundle_()
    assert bundle["text/plain"] == str(conversation)
    assert bundle["text/markdown"].endswith("**tiny:1b**\n\n```python\nx = 1\n```")
    assert repr(held) == "<Conversations <Conversation 'a', 1 turn>>"
    assert str(Conversation("b")) == "Nothing was said."
    assert (Conversation("b").used, Conversation("b").model) == ("-", None)


@given(cells=st.lists(st.sampled_from(["1", "2", "3", "4"]), max_size=30))
def test_each_cell_has_one_turn_in_the_order_of_its_first_run(cells):
    held = Conversations()
    for time, cell in enumerate(cells):
        before = run(held, cell, f"{cell} at {time}")
        own = [turn.cell for turn in held["a"].turns].index(cell)
        assert len(before) == 2 * own
    turns = held["a"].turns if cells else ()
    assert [turn.cell for turn in turns] == [*dict.fromkeys(cells)]
    for turn in turns:
        last = len(cells) - 1 - cells[::-1].index(turn.cell)
        assert turn.question["content"] == f"{turn.cell} at {last}"


@pytest.fixture
def saved(held, tmp_path):
    run(held, "1", "ünïcode\u2028", tokens=20, context_length=4096, model="m")
    held.keep("a", None, {**user("y"), "images": ["AA=="]}, {**model("z"), "thinking": "hm"})
    path = tmp_path / "a.json"
    _chat_files.write(held["a"], path)
    return path


def test_a_file_gives_back_what_was_saved(held, saved):
    assert _chat_files.read(saved).turns == held["a"].turns
    assert _chat_files.read(saved, "b").name == "b"
    assert saved.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in saved.parent.iterdir()] == ["a.json"]


def test_cells_replace_their_turns_after_a_restore(saved):
    held = Conversations()
    held.put(_chat_files.read(saved))
    assert run(held, "1", "again") == []
    assert held["a"][0]["content"] == "again"
    assert len(held["a"].turns) == 2


def test_a_conversation_replaces_its_older_self(held, saved):
    run(held, "3", "three")
    _chat_files.write(held["a"], saved)
    assert len(_chat_files.read(saved).turns) == 3


def test_a_file_of_something_else_is_left_alone(held, saved, tmp_path):
    notes = tmp_path / "notes.py"
    notes.write_text("important")
    with pytest.raises(ConflictError, match="--force"):
        _chat_files.write(held["a"], notes)
    assert notes.read_text() == "important"
    _chat_files.write(held["a"], notes, force=True)
    assert _chat_files.read(notes) == held["a"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(held, saved, monkeypatch):
    before = saved.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_chat_files.os, "fsync", full)
    run(held, "4", "four")
    with pytest.raises(RequestError, match="No space left"):
        _chat_files.write(held["a"], saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["a.json"]
    with pytest.raises(RequestError, match="cannot be written"):
        _chat_files.write(held["a"], saved.parent / "no" / "a.json")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda found: found.pop("format"), "holds no conversation"),
        (lambda found: found.update(version=2), "version 2 of its format"),
        (lambda found: found.update(turns={}), "`turns` is no list"),
        (lambda found: found.update(name=""), "has no `name`"),
        (lambda found: found["turns"].append(3), "turn 3 is no object"),
        (lambda found: found["turns"][0].pop("answer"), "`answer` of turn 1"),
        (lambda found: found["turns"][1]["question"].update(role="x"), "`question` of turn 2"),
        (lambda found: found["turns"][1]["answer"].update(content=3), "`answer` of turn 2"),
        (lambda found: found["turns"][0].update(tokens="20"), "`tokens` of turn 1"),
        (lambda found: found["turns"][0].update(tokens=True), "`tokens` of turn 1"),
        (lambda found: found["turns"][0].update(cell=1), "`cell` of turn 1"),
    ],
)
def test_a_damaged_file_is_refused_in_words(saved, change, told):
    found = json.loads(saved.read_text())
    change(found)
    saved.write_text(json.dumps(found))
    with pytest.raises(RequestError, match=told):
        _chat_files.read(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null"])
def test_a_file_that_is_none_is_refused_in_words(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"is damaged|holds no conversation"):
        _chat_files.read(path)
    with pytest.raises(RequestError, match="No such file"):
        _chat_files.read(tmp_path / "missing.json")


def test_a_cut_file_is_refused_wherever_it_is_cut(saved):
    whole = saved.read_bytes().rstrip()
    for length in range(0, len(whole), 7):
        saved.write_bytes(whole[:length])
        with pytest.raises(RequestError):
            _chat_files.read(saved)


def test_a_later_field_is_no_damage(saved):
    found = json.loads(saved.read_text())
    found["later"] = found["turns"][0]["later"] = 1
    saved.write_text(json.dumps(found))
    assert len(_chat_files.read(saved).turns) == 2


def test_a_turn_has_its_messages():
    turn = Turn("1", user("x"), model("y"), "m", 3, 4)
    assert turn.messages == [user("x"), model("y")]
    assert turn.without_count() == Turn("1", user("x"), model("y"), "m")
