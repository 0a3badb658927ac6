"""A model's thinking, which comes before its answer between two tags."""

OPEN, CLOSE = "<think>", "</think>"


class Thinking:
    """Split text into thinking and answer; only what an output begins with can be thinking.

    `begun` says that the prompt has opened the tag already. Text that may still become a tag is
    held back, so that the result does not depend on how the text is cut into pieces.
    """

    def __init__(self, *, begun: bool = False) -> None:
        self._state = "inside" if begun else "before"
        self._held = ""
        self._blank = begun

    def feed(self, text: str) -> tuple[str, str]:
        r"""Return the thinking and the answer that may be shown now.

        >>> thinking = Thinking()
        >>> thinking.feed("<think>Well, "), thinking.feed("yes.</think>\n\nTrue.")
        (('Well, ', ''), ('yes.', 'True.'))
        """
        if self._state == "after":
            return "", self._answer(text)
        self._held += text
        if self._state == "before":
            start = self._held.lstrip()
            if OPEN.startswith(start[: len(OPEN)]) and len(start) < len(OPEN):
                return "", ""
            if not start.startswith(OPEN):
                self._state, self._blank = "after", False
                return "", self._rest()
            self._state, self._blank = "inside", True
            self._held = start[len(OPEN) :]
        thought, closed, answer = self._held.partition(CLOSE)
        if closed:
            self._state, self._held = "after", ""
            thought = self._unblanked(thought).rstrip()
            self._blank = True
            return thought, self._answer(answer)
        # Blanks before the closing tag belong to nobody, and the tag may come in parts.
        body = self._unblanked(self._held)
        keep = max(len(body) - len(body.rstrip()), _overlap(body))
        while keep < len(body) and body[len(body) - keep - 1].isspace():
            keep += 1
        self._held = body[len(body) - keep :]
        return body[: len(body) - keep], ""

    def flush(self) -> tuple[str, str]:
        """Return what was held back, at the end of the output."""
        if self._state == "inside":
            return self._unblanked(self._rest()).rstrip(), ""
        return "", self._rest()

    def _answer(self, text: str) -> str:
        """Return the answer without the blanks between it and the thinking."""
        return self._unblanked(text)

    def _unblanked(self, text: str) -> str:
        if self._blank:
            text = text.lstrip()
            self._blank = not text
        return text

    def _rest(self) -> str:
        held, self._held = self._held, ""
        return held


def _overlap(text: str) -> int:
    """Return the length of the longest end of `text` that begins the closing tag."""
    for length in range(min(len(text), len(CLOSE) - 1), 0, -1):
        if text.endswith(CLOSE[:length]):
            return length
    return 0
