"""Prompts from a seed, without a network: each begins in its own way unless told otherwise."""

import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

from hyperllama_nb.bench.records import Load, Prompt
from hyperllama_nb.errors import RequestError

Count = Callable[[str], int]
"""Tells how many tokens a text has, by the model's own tokenizer."""

TOKENS_A_WORD = 1.3
"""Assumed where no tokenizer is known; records have the count of the server beside it."""

TRIES = 8
"""Corrections of a prompt's length, each after a count; with words of one token two are enough."""

FEWEST = 40
"""Words that prompts are made of, at least: fewer would begin two prompts alike."""

_TEXT = (
    "amber anchor apple arrow autumn bank basket beach bell bird blue boat bread bridge bright "
    "brook butter candle castle chair cliff clock cloud coast copper corn cotton crane dance "
    "dawn deep desert dinner door dream drum dust eagle early earth east evening farm feather "
    "field fire fish flag floor flower forest fox garden gate glass gold grain grass green hand "
    "harbour harvest hat hill honey horse hour house ice iron island jar journey kettle king "
    "kitchen lake lamp leaf lemon letter light lion long market meadow milk mill mirror moon "
    "morning mountain music narrow needle nest night north ocean old orange orchard owl paint "
    "paper path pearl pepper piano pine pond quiet rain red river road roof room rope rose sail "
    "salt sand school sea shadow sheep shell ship silver sky slow small snow song south spring "
    "star stone storm story stream street summer sun table tall tea thread tide tower town "
    "train tree valley violin wagon wall warm water west wheat wheel white wide willow wind "
    "window winter wolf wood wool yellow young "
)

_WORDS = tuple(_TEXT.split())

SAMPLE = (
    "Explain to a child why the sea is salt, and what happens when a river meets it.",
    "Write a letter to a neighbour who has agreed to water the plants for two weeks in summer.",
    "A recipe for four asks for 300 g of flour. How much is it for seven? Show each step.",
    "List the things to check before a long journey by bicycle, the most important ones first.",
    "What is the difference between a list and a tuple in Python? Give a short example of each.",
    "Tell a story about a lighthouse keeper who finds a message in the log of another century.",
    "Summarise in a few words: the mill stood idle until the town dug a new channel for it.",
    "Which questions would you ask a witness who says that the clock struck thirteen?",
)
"""Tasks in the manner of people, written for this package."""


def fixed(
    count: int, prompt: int, output: int, *, seed: int = 0, tokens: Count | None = None
) -> Load:
    """Return prompts of one length, in tokens, that ask for answers of one length."""
    lengths = [(prompt, output)] * count
    return _load(f"fixed {prompt}/{output}", lengths, seed, tokens)


def spread(
    count: int,
    prompt: tuple[int, int],
    output: tuple[int, int],
    *,
    kind: Literal["uniform", "normal"] = "uniform",
    seed: int = 0,
    tokens: Count | None = None,
) -> Load:
    """Return prompts whose lengths vary: between two ends, or as (mean, standard deviation).

    Normal lengths are cut off at 1 and at twice the mean, which leaves the mean as it is.
    """
    dice = random.Random(f"{seed}/lengths")  # noqa: S311

    def draw(first: int, second: int) -> int:
        if kind == "uniform":
            return dice.randint(first, second)
        return round(max(1.0, min(2.0 * first - 1, dice.gauss(first, second))))

    lengths = [(draw(*prompt), draw(*output)) for _ in range(count)]
    ends = f"{prompt[0]}:{prompt[1]}/{output[0]}:{output[1]}"
    return _load(f"{kind} {ends}", lengths, seed, tokens)


def prefix(
    count: int,
    shared: int,
    own: int,
    output: int,
    *,
    prefixes: int = 1,
    seed: int = 0,
    tokens: Count | None = None,
) -> Load:
    """Return prompts that begin with one of few shared prefixes: this measures the cache."""
    heads = [_text(f"{seed}/prefix {number}", shared, tokens) + "\n" for number in range(prefixes)]
    prompts = tuple(
        Prompt(
            _text(f"{seed}/{number}", shared + own, tokens, heads[number % prefixes], shared),
            shared + own,
            output,
        )
        for number in range(count)
    )
    return Load(f"prefix {shared}+{own}/{output}, {prefixes} shared", prompts, seed)


def turns(
    count: int,
    length: int,
    output: int,
    *,
    sessions: int = 1,
    depth: int = 4,
    seed: int = 0,
    tokens: Count | None = None,
) -> Load:
    """Return conversations, one turn of each after another, that hold all before them.

    After `depth` turns of each, new ones begin. A turn adds `length` tokens; the answers in the
    past are of the workload and not the target's own, so that all targets read the same text.
    """
    said, asked = [""] * sessions, [0] * sessions
    prompts: list[Prompt] = []
    for number in range(count):
        one = number % sessions
        if number // sessions % depth == 0:
            said[one], asked[one] = "", 0
        text = _text(f"{seed}/{number}", asked[one] + length, tokens, said[one], asked[one])
        asked[one] += length
        prompts.append(Prompt(text, asked[one], output))
        said[one] = _text(
            f"{seed}/{number} answer", asked[one] + output, tokens, f"{text}\n", asked[one]
        )
        said[one] += "\n"
        asked[one] += output
    return Load(f"turns {length}/{output}, {sessions} sessions", tuple(prompts), seed)


def sample(count: int, output: int, *, seed: int = 0, tokens: Count | None = None) -> Load:
    """Return tasks of everyday language, each after a few words that no other prompt begins with.

    There are fewer tasks than most runs need: they come again, behind other first words.
    """
    texts: Sequence[str] = [
        f"{_text(f'{seed}/{number}', 8, None)}.\n{SAMPLE[number % len(SAMPLE)]}"
        for number in range(count)
    ]
    prompts = tuple(Prompt(text, _length(text, tokens), output) for text in texts)
    return Load(f"sample/{output}", prompts, seed)


def _load(name: str, lengths: Sequence[tuple[int, int]], seed: int, tokens: Count | None) -> Load:
    prompts = tuple(
        Prompt(_text(f"{seed}/{number}", prompt, tokens), prompt, output)
        for number, (prompt, output) in enumerate(lengths)
    )
    return Load(name, prompts, seed)


def _text(seed: str, length: int, tokens: Count | None, head: str = "", held: int = 0) -> str:
    """Return `head`, which has about `held` tokens, and words, other ones for each seed.

    It has `length` tokens in all: exactly with a tokenizer that has words of one token, else as
    near as it goes.
    """
    if length - held < 1:
        raise RequestError(f"A prompt of {length} tokens is none. Ask for at least one token.")
    dice = random.Random(seed)  # noqa: S311
    known = _WORDS if tokens is None else whole_words(tokens)
    guess = length - held if tokens else max(1, round((length - held) / TOKENS_A_WORD))
    words = [dice.choice(known) for _ in range(guess)]
    for _ in range(TRIES if tokens else 0):
        over = tokens(head + " ".join(words)) - length if tokens else 0
        if not over or (over > 0 and len(words) == 1):
            break
        each = max(1.0, (length - held + over) / len(words))
        step = max(1, round(abs(over) / each))
        if over > 0:
            del words[max(1, len(words) - step) :]
        else:
            words += [dice.choice(known) for _ in range(step)]
    return head + " ".join(words)


@lru_cache(maxsize=4)
def whole_words(tokens: Count) -> tuple[str, ...]:
    """Return the words that a tokenizer takes as one token each; all words if these are too few.

    It asks for many words at once, and for the halves where a word among them has more tokens.
    """
    alone = tokens("the")

    def among(words: tuple[str, ...]) -> tuple[str, ...]:
        if tokens(" ".join(("the", *words))) - alone == len(words):
            return words
        half = len(words) // 2
        return among(words[:half]) + among(words[half:]) if half else ()

    if tokens(_TEXT.strip()) > 2 * len(_WORDS):
        return _WORDS  # a tokenizer of bytes, or of another language, has hardly any
    found = among(_WORDS)
    return found if len(found) >= FEWEST else _WORDS


def _length(text: str, tokens: Count | None) -> int:
    return tokens(text) if tokens else round(len(text.split()) * TOKENS_A_WORD)
