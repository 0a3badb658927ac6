"""Sequences that join, leave and are cancelled: each has the text that it has alone."""

import random
from typing import Any

import numpy as np
import pytest

from hyperllama_nb.engines.max.lean.base import Model
from hyperllama_nb.engines.max.lean.errors import RefusedError
from hyperllama_nb.engines.max.lean.generation import Generation, Piece
from hyperllama_nb.engines.max.lean.metrics import Metrics
from hyperllama_nb.engines.max.lean.request import Request, Sampling
from hyperllama_nb.engines.max.lean.scheduler import SHARED_CHUNK, Scheduler
from hyperllama_nb.engines.max.lean.text import Vocabulary
from tests.engines.lean.fake import EOS, FakeModel

GREEDY = Sampling(temperature=0)


class Kept:
    """A sink that keeps what comes."""

    def __init__(self) -> None:
        self.text = ""
        self.pieces = 0
        self.reason: str | None = None
        self.failed: tuple[int, str] | None = None

    def piece(self, generation: Generation, piece: Piece) -> None:
        assert self.reason is None
        assert self.failed is None
        self.text += piece.text
        self.pieces += 1
        self.reason = piece.reason

    def fail(self, status: int, message: str) -> None:
        assert self.failed is None
        self.failed = (status, message)


def asked(prompt: list[int], **more: Any) -> Request:
    return Request(**{"prompt": np.array(prompt), "sampling": GREEDY, **more})


def scheduler(model: Model, **options: Any) -> Scheduler:
    return Scheduler(model, Metrics(), **options)


def submit(one: Scheduler, vocabulary: Vocabulary, request: Request) -> tuple[Generation, Kept]:
    sink = Kept()
    generation = Generation(request, sink, vocabulary)
    one.submit(generation)
    return generation, sink


def finish(one: Scheduler) -> None:
    for _ in range(5000):
        if not one.busy:
            return
        one.step()
    raise AssertionError("it does not end")


def alone(vocabulary: Vocabulary, request: Request, **options: Any) -> tuple[str, str | None, int]:
    """Return the text, the reason and the count of tokens of a request that runs alone."""
    one = scheduler(FakeModel(slots=1, **options), chunk=10_000)
    generation, sink = submit(one, vocabulary, request)
    finish(one)
    return sink.text, sink.reason, generation.made


@pytest.mark.parametrize("seed", range(4))
def test_64_joins_leaves_and_cancels_leave_each_text_as_it_is_alone(
    vocabulary: Vocabulary, seed: int
) -> None:
    chance = random.Random(seed)
    model = FakeModel(slots=4, eos=1.5)
    one = scheduler(model, chunk=24, max_queue=100)
    beginnings = [[chance.randrange(1, 257) for _ in range(60)] for _ in range(3)]
    requests, live = [], []
    for number in range(64):
        begun = chance.choice(beginnings)[: chance.randrange(0, 60)]
        own = [chance.randrange(1, 257) for _ in range(chance.randrange(1, 90))]
        sampling = chance.choice((GREEDY, Sampling(temperature=0.9, top_k=20, seed=number)))
        request = asked([*begun, *own], limit=chance.randrange(1, 40), sampling=sampling)
        live.append((request, *submit(one, vocabulary, request)))
        requests.append(live[-1])
        for _ in range(chance.randrange(0, 12)):
            one.step()
        if chance.random() < 0.3:
            one.cancel(live.pop(chance.randrange(len(live)))[1])
    finish(one)
    assert len(live) > 30
    for request, generation, sink in live:
        assert (sink.text, sink.reason, generation.made) == alone(vocabulary, request, eos=1.5)
    assert model.copies
    assert any(generation.cached for _, generation, _ in live)
    cancelled = [entry for entry in requests if entry not in live]
    for request, _, sink in cancelled:
        assert alone(vocabulary, request, eos=1.5)[0].startswith(sink.text)


def test_a_conversation_that_goes_on_computes_only_what_is_new(vocabulary: Vocabulary) -> None:
    model = FakeModel(slots=2)
    one = scheduler(model)
    first, _ = submit(one, vocabulary, asked(list(range(1, 61)), limit=5))
    finish(one)
    assert first.cached == 0
    assert first.slot is not None
    said = first.slot.history[:65].tolist()
    model.steps.clear()
    second, sink = submit(one, vocabulary, asked([*said, 7, 8], limit=3))
    finish(one)
    # The last token of the first answer was never an input.
    assert second.cached == 64
    assert model.steps[0] == [(first.slot.index, 64, 3)]
    assert not model.copies
    assert sink.text == alone(vocabulary, second.request)[0]


def test_the_same_prompt_again_computes_its_last_token(vocabulary: Vocabulary) -> None:
    model = FakeModel(slots=1)
    one = scheduler(model)
    texts = []
    for _ in range(2):
        generation, sink = submit(one, vocabulary, asked(list(range(1, 50)), limit=4))
        finish(one)
        texts.append(sink.text)
    assert generation.cached == 48
    assert texts[0] == texts[1]


def test_a_beginning_is_copied_from_a_busy_slot(vocabulary: Vocabulary) -> None:
    model = FakeModel(slots=2)
    one = scheduler(model)
    shared = list(range(1, 81))
    submit(one, vocabulary, asked([*shared, 3], limit=50))
    one.step()
    second, sink = submit(one, vocabulary, asked([*shared, 4], limit=5))
    finish(one)
    assert model.copies == [(0, 1, 80)]
    assert second.cached == 80
    assert sink.text == alone(vocabulary, second.request)[0]


def test_a_beginning_leaves_the_longer_conversation_whole(vocabulary: Vocabulary) -> None:
    model = FakeModel(slots=2)
    one = scheduler(model)
    shared, rest = list(range(1, 41)), list(range(100, 200))
    long = asked([*shared, *rest], limit=2)
    submit(one, vocabulary, long)
    finish(one)
    submit(one, vocabulary, asked([*shared, 9], limit=2))
    finish(one)
    again, _ = submit(one, vocabulary, long)
    finish(one)
    assert model.copies == [(0, 1, 40)]
    assert again.cached == 139


def test_a_long_prompt_is_read_in_chunks_while_others_speak(vocabulary: Vocabulary) -> None:
    model = FakeModel(slots=2, context=512)
    one = scheduler(model, chunk=128)
    _, speaking = submit(one, vocabulary, asked([1, 2], limit=100))
    one.step()
    submit(one, vocabulary, asked([5] * 400, limit=1))
    model.steps.clear()
    for number in range(4):
        one.step()
        assert speaking.pieces == 2 + number
    assert [[count for *_, count in step] for step in model.steps] == [
        *([[1, SHARED_CHUNK]] * 3),
        [1, 400 - 3 * SHARED_CHUNK],
    ]


def test_parts_of_prompts_end_where_pages_do_whoever_else_runs(vocabulary: Vocabulary) -> None:
    """So that a prompt's numbers, and its text, are those it has alone."""
    model = FakeModel(slots=3, context=512, page=64)
    one = scheduler(model, chunk=128)
    submit(one, vocabulary, asked([1, 2], limit=100))
    one.step()
    for token in (5, 6):
        submit(one, vocabulary, asked([token] * 150, limit=1))
    model.steps.clear()
    for _ in range(6):
        one.step()
    ends = {start + count for step in model.steps for slot, start, count in step if count > 1}
    assert ends <= {64, 128, 150}
    generation, _ = submit(one, vocabulary, asked([5] * 140 + [7], limit=1))
    while one.busy:
        one.step()
    assert generation.cached == 128


def test_alone_a_prompt_is_read_in_the_largest_chunks(vocabulary: Vocabulary) -> None:
    model = FakeModel(slots=1, context=512)
    one = scheduler(model, chunk=128)
    submit(one, vocabulary, asked([5] * 300, limit=1))
    finish(one)
    assert [step[0][2] for step in model.steps] == [128, 128, 44]


def test_the_queue_is_bounded(vocabulary: Vocabulary) -> None:
    one = scheduler(FakeModel(slots=2), max_queue=3)
    for _ in range(5):
        submit(one, vocabulary, asked([1], limit=9))
    with pytest.raises(RefusedError) as caught:
        submit(one, vocabulary, asked([1]))
    assert caught.value.status == 429
    one.step()
    with pytest.raises(RefusedError):
        submit(one, vocabulary, asked([1]))


def test_a_cancelled_request_frees_its_slot_and_its_place(vocabulary: Vocabulary) -> None:
    one = scheduler(FakeModel(slots=1), max_queue=1)
    running, first = submit(one, vocabulary, asked([1]))
    one.step()
    waiting, second = submit(one, vocabulary, asked([2]))
    one.cancel(waiting)
    one.cancel(waiting)
    third, sink = submit(one, vocabulary, asked([3], limit=2))
    one.cancel(running)
    finish(one)
    assert sink.text == alone(vocabulary, third.request)[0]
    assert (first.pieces, second.pieces) == (1, 0)


def test_an_answer_ends_with_the_context(vocabulary: Vocabulary) -> None:
    one = scheduler(FakeModel(slots=1, context=40))
    generation, sink = submit(one, vocabulary, asked([1] * 30, ignore_eos=True))
    finish(one)
    assert (sink.reason, generation.made) == ("length", 10)


def test_an_end_token_ends_the_answer_and_counts(vocabulary: Vocabulary) -> None:
    one = scheduler(FakeModel(slots=1, eos=100))
    generation, sink = submit(one, vocabulary, asked([1, 2]))
    finish(one)
    assert (sink.text, sink.reason, generation.made) == ("", "stop", 1)
    ignoring, sink = submit(one, vocabulary, asked([1, 2], ignore_eos=True, limit=3))
    finish(one)
    assert (sink.text, sink.reason, ignoring.made) == ("", "length", 3)
    assert EOS in vocabulary.eos


def test_a_stop_string_ends_the_answer_and_is_told(vocabulary: Vocabulary) -> None:
    whole, _, _ = alone(vocabulary, asked([4, 4], limit=60))
    letters = [at for at in range(10, len(whole) - 1) if whole[at : at + 2].isascii()]
    stop = whole[letters[0] : letters[0] + 2]
    text, reason, _ = alone(vocabulary, asked([4, 4], limit=60, stop=("never", stop)))
    assert reason == "stop"
    assert text == whole[: len(text)]
    assert stop in text
    assert stop not in text[:-1]


def test_a_failed_step_ends_its_sequences_and_no_others(vocabulary: Vocabulary) -> None:
    model = FakeModel(slots=1)
    one = scheduler(model)
    _, broken = submit(one, vocabulary, asked([1] * 20, limit=5))
    waiting, sink = submit(one, vocabulary, asked([1] * 20, limit=5))
    one.step()
    model.failing = 1
    one.step()
    assert broken.failed is not None
    assert broken.failed[0] == 500
    finish(one)
    assert waiting.cached == 0  # what a failed step has left in the cache is not relied on
    assert sink.text == alone(vocabulary, waiting.request)[0]


def test_steps_that_fail_in_a_row_end_the_engine(vocabulary: Vocabulary) -> None:
    model = FakeModel(slots=1)
    one = scheduler(model)
    model.failing = 3
    for _ in range(3):
        submit(one, vocabulary, asked([1]))
    one.step()
    one.step()
    with pytest.raises(RuntimeError, match="the graph broke"):
        one.step()


def test_logits_that_are_no_numbers_end_their_answer_only(vocabulary: Vocabulary) -> None:
    class Broken(FakeModel):
        def forward(self, rows: Any) -> Any:
            out = super().forward(rows)
            for place, row in enumerate(rows):
                if row.tokens[0] == 99:
                    out[place] = np.nan
            return out

    one = scheduler(Broken(slots=2))
    _, broken = submit(one, vocabulary, asked([99], limit=4))
    good, sink = submit(one, vocabulary, asked([5], limit=4))
    finish(one)
    assert broken.failed is not None
    assert sink.text == alone(vocabulary, good.request)[0]
