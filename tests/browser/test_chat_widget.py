"""The chat widget in a real JupyterLab: what a user does with it, and what Python sees of that."""

from playwright.sync_api import expect

from hyperllama_nb.testing import Script

CELL = "%llm chat -O chat"

SAID = """from hyperllama_nb.widgets import Chat
chat = Chat("tiny", messages=[
    {"role": "user", "content": "How much is one and one?"},
    {"role": "assistant", "content": "It is **two**:\\n\\n```\\n2\\n```"},
])
chat"""

CODE = Script(pieces=["```python\nwidth = 3\n```\n\n", *["word "] * 99], delay=0.03)
"""A block of code, and then three seconds of text."""


def opened(scripted, cell=CELL):
    """Return a notebook with a chat on CODE, and the chat."""
    book, service = scripted([CODE], cell)
    book.run(0)
    return book, service, book.output(0).locator(".hl-chat")


def ask(chat, text):
    """Send a message by keyboard."""
    field = chat.get_by_role("textbox", name="Message")
    field.click()
    field.press_sequentially(text)
    field.press("Enter")


def test_an_answer_streams_stops_and_is_written_anew(scripted):
    book, service, chat = opened(scripted)
    ask(chat, "Hello")
    answer = chat.get_by_role("article").nth(1)
    lengths = set()

    def seen():
        lengths.add(len(answer.inner_text()))
        return len(lengths) >= 5

    expect(answer).to_contain_text("word word")
    book.until(seen)
    chat.get_by_role("button", name="Stop", exact=True).click()
    expect(chat.get_by_role("button", name="Send")).to_be_enabled()
    assert "word word" in answer.inner_text()
    book.until(lambda: not service.told("running"), 10)
    book.evaluate("assert [m['role'] for m in chat.messages] == ['user', 'assistant']")
    book.evaluate("kept = chat.messages[1]['content']; assert 0 < kept.count('word') < 99, kept")

    chat.get_by_role("button", name="Regenerate").click()
    expect(chat.locator(".hl-line")).to_contain_text("tokens/s")
    book.evaluate("assert len(chat.messages) == 2")
    book.evaluate("assert chat.messages[1]['content'].count('word') == 99")

    chat.get_by_role("button", name="Copy the code").click()
    copied = book.page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == "width = 3"


def test_the_file_keeps_the_conversation_and_a_question_is_changed_by_keyboard(scripted):
    book, _, chat = opened(scripted, SAID)
    expect(chat.get_by_role("article")).to_have_count(2)
    saved = book.save()
    assert "widgets" not in saved.metadata
    assert "It is **two**" in str([output["data"] for output in saved.cells[0].outputs])
    assert book.path.stat().st_size < 100_000
    keys = book.page.keyboard
    edit = chat.get_by_role("button", name="Edit this question")
    chat.get_by_role("combobox", name="Model").focus()
    for _ in range(20):
        keys.press("Tab")
        if edit.evaluate("(button) => button === document.activeElement"):
            break
    keys.press("Enter")
    field = chat.get_by_role("textbox", name="Edit the question")
    expect(field).to_be_focused()
    keys.press("Control+A")
    keys.type("Three")
    keys.press("Enter")
    expect(chat.get_by_role("article").nth(1)).to_contain_text("word")
    keys.press("Escape")
    expect(chat.get_by_role("button", name="Send")).to_be_enabled()
    book.evaluate("assert chat.messages[0]['content'] == 'Three', chat.messages")
