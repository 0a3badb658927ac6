"""Prompts from a seed, without a network: each begins in its own way unless told otherwise."""

import random
from collections.abc import Callable, Sequence
from typing import Literal

from hyperllama_nb.bench.records import Load, Prompt
from hyperllama_nb.errors import RequestError

Count = Callable[[str], int]
"""Tells how many tokens a text has, by the model's own tokenizer."""

TOKENS_A_WORD = 1.3
"""Assumed where no tokenizer is known; records have the count of the server beside it."""

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
    heads = [_text(f"{seed}/prefix {number}", shared, tokens) for number in range(prefixes)]
    prompts = tuple(
        Prompt(
            f"{heads[number % prefixes]}\n{_text(f'{seed}/{number}', own, tokens)}",
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
    seed: int = 0,
    tokens: Count | None = None,
) -> Load:
    """Return conversations, one turn of each after another, that hold all before them.

    A turn adds `length` tokens; the answers in the past are of the workload and not the target's
    own, so that all targets read the same text.
    """
    said = [""] * sessions
    asked = [0] * sessions
    prompts: list[Prompt] = []
    for number in range(count):
        session = number % sessions
        said[session] += _text(f"{seed}/{number}", length, tokens) + "\n"
        asked[session] += length
        prompts.append(Prompt(said[session], asked[session], output))
        said[session] += _text(f"{seed}/{number} answer", output, tokens) + "\n"
        asked[session] += output
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


def _text(seed: str, length: int, tokens: Count | None) -> str:
    """Return words of so many tokens, from the first on others for each seed.

    Exact where the tokenizer allows it: words are added or taken until the count is right, or
    nearest below it.
    """
    if length < 1:
        raise RequestError(f"A prompt of {length} tokens is none. Ask for at least one token.")
    dice = random.Random(seed)  # noqa: S311
    guess = max(1, round(length / TOKENS_A_WORD))
    words = [dice.choice(_WORDS) for _ in range(guess)]
    if tokens is None:
        return " ".join(words)
    while (short := length - tokens(" ".join(words))) > 0:
        words += [dice.choice(_WORDS) for _ in range(max(1, short // 2))]
    while len(words) > 1 and (over := tokens(" ".join(words)) - length) > 0:
        del words[len(words) - max(1, min(over // 2, len(words) - 1)) :]
    # A word of two tokens may have been the one too many: words of one fill what is left.
    for _ in range(length - tokens(" ".join(words))):
        filled = [*words, "the"]
        if tokens(" ".join(filled)) > length:
            break
        words = filled
    return " ".join(words)


def _length(text: str, tokens: Count | None) -> int:
    return tokens(text) if tokens else round(len(text.split()) * TOKENS_A_WORD)
