"""Twelve rules that make a comparison one of engines, checked from facts and records."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from hyperllama_nb.bench.known import Facts
from hyperllama_nb.bench.records import Request
from hyperllama_nb.bench.throughput import measured

State = Literal["pass", "warn", "fail", "unknown"]

TOKENS_IN = 0.01
"""How far apart the servers' counts of the same prompts may be."""

CACHED = 0.05
"""The part of its prompts that a target may find in a cache: a first token is always the same."""

PRECISION = 1.5
"""How far apart the weights of one file may be in memory before their precision must differ."""


@dataclass(frozen=True)
class Check:
    """One rule, how it came out, and why in words."""

    rule: str
    state: State
    reason: str


@dataclass(frozen=True)
class Fairness:
    """All rules; not `fair` if one failed."""

    checks: tuple[Check, ...]

    @property
    def fair(self) -> bool:
        """Tell whether no rule failed."""
        return not self.reasons

    @property
    def reasons(self) -> list[str]:
        """Return why it is not fair."""
        return [each.reason for each in self.checks if each.state == "fail"]


def check(facts: Facts, requests: Iterable[Request]) -> Fairness:
    """Check all twelve rules."""
    kept = list(requests)
    return Fairness(
        tuple(Check(name, *rule(facts, kept)) for name, rule in RULES.items()),
    )


Found = tuple[State, str]


def _weights(facts: Facts, _: Sequence[Request]) -> Found:
    encoding = _same(facts, "quantisation", "encoding")
    if encoding[0] == "fail":
        return encoding
    file = _same(facts, "digest", "model file")
    sizes = {name: target.weights for name, target in facts.targets.items()}
    known = [size for size in sizes.values() if size]
    # Where encodings are told they decide: an engine may keep packed copies beside its weights.
    if "fail" in file or encoding[0] == "pass" or len(known) < len(sizes):
        return file
    if max(known) > PRECISION * min(known):
        told = _list(f"{name} {(size or 0) / 1e6:.0f} MB" for name, size in sizes.items())
        return "fail", f"The weights are held in different precision: {told}."
    return file


def _tokens_in(facts: Facts, requests: Sequence[Request]) -> Found:
    counts: dict[tuple[str, int, int], dict[str, int | None]] = {}
    for request in _done(requests):
        place = (request.cell, request.block, request.index)
        counts.setdefault(place, {})[request.target] = request.prompt_tokens
    pairs = [list(each.values()) for each in counts.values() if len(each) == len(facts.targets)]
    known = [[count for count in pair if count] for pair in pairs]
    if not pairs or any(len(pair) < len(facts.targets) for pair in known):
        return "unknown", "Not every target tells how many tokens each prompt had."
    apart = max((max(pair) - min(pair)) / max(pair) for pair in known)
    told = f"The prompts differ by at most {apart:.1%} in tokens between the targets."
    return ("pass" if apart <= TOKENS_IN else "fail"), told


def _tokens_out(_: Facts, requests: Sequence[Request]) -> Found:
    done = _done(requests)
    known = [each for each in done if each.output_tokens is not None]
    if not done or len(known) < len(done):
        return "unknown", "Not every answer has a count of its tokens."
    off: dict[str, int] = {}
    for each in known:
        off[each.target] = off.get(each.target, 0) + (each.output_tokens != each.asked_output)
    if not any(off.values()):
        return "pass", "All answers have the length that was asked for."
    told = ", ".join(f"{name} {count}" for name, count in off.items())
    means = [
        sum(each.output_tokens or 0 for each in known if each.target == name)
        / sum(each.target == name for each in known)
        for name in off
    ]
    state: State = "warn" if max(means) <= 1.1 * min(means) else "fail"
    return state, f"Answers of another length than was asked for: {told}, of {len(known)}."


def _sampler(facts: Facts, _: Sequence[Request]) -> Found:
    options = [target.options for target in facts.targets.values()]
    if any("temperature" not in each for each in options):
        return "unknown", "A target's sampling options were not set, so its defaults counted."
    if any(each != options[0] for each in options):
        return "fail", "The targets were sent different sampling options."
    if options[0]["temperature"] != 0:
        return "warn", "The temperature is not 0, so answers differ from run to run."
    return "pass", "All targets were sent the same options, at temperature 0."


def _context(facts: Facts, _: Sequence[Request]) -> Found:
    length = _same(facts, "context", "context length")
    types = {name: target.cache_type for name, target in facts.targets.items() if target.cache_type}
    if length[0] == "fail" or len({_short(each) for each in types.values()}) < 2:
        return length
    told = _list(f"{name} {_short(each)}" for name, each in types.items())
    return "warn", f"The caches of the contexts hold their numbers in different types: {told}."


def _short(numbers: str) -> str:
    """Return one name for a type of numbers, which MAX and llama.cpp spell differently."""
    return numbers.lower().replace("bfloat", "bf").replace("float", "f")


def _slots(facts: Facts, requests: Sequence[Request]) -> Found:
    asked = max((each.concurrency or 1 for each in requests), default=1)
    slots = {name: target.slots for name, target in facts.targets.items()}
    few = [name for name, count in slots.items() if count is not None and count < asked]
    if few:
        return (
            "fail",
            f"{_list(few)} answers fewer than the {asked} at a time: a queue is measured.",
        )
    if None in slots.values():
        quiet = [name for name, count in slots.items() if count is None]
        return "unknown", f"{_list(quiet)} does not say how many answers run side by side."
    return "pass", f"All targets answer at least {asked} side by side."


def _alone(facts: Facts, _: Sequence[Request]) -> Found:
    found = {name: target.resident for name, target in facts.targets.items()}
    shared = [f"{name} with {_list(others)}" for name, others in found.items() if others]
    if shared:
        return "fail", f"Measured beside other loaded models: {_list(shared)}."
    order = facts.schedule.order
    if len(facts.targets) > 1 and (len(order) < 2 or len(set(order)) < 2):
        return "warn", "The order of the targets never changed, so a drift favours one of them."
    if None in found.values():
        return "unknown", "A target does not say what else was loaded."
    return "pass", "Each target was alone when it was measured, in an order that changes."


def _cache(facts: Facts, requests: Sequence[Request]) -> Found:
    done = _done(requests)
    cached = set()
    for name in facts.targets:
        own = [each for each in done if each.target == name]
        read = sum(each.prompt_tokens or 0 for each in own)
        if sum(each.cached_tokens or 0 for each in own) > CACHED * read:
            cached.add(name)
    if cached and cached != set(facts.targets):
        return "fail", f"Only {_list(sorted(cached))} answered prompts from a cache."
    if cached:
        return "warn", "All targets answered parts of prompts from a cache."
    if all(target.fresh_prompts for target in facts.targets.values()):
        return "pass", "Every prompt begins with text of its own."
    return "unknown", "Nothing says that no cache answered."


def _processor(facts: Facts, _: Sequence[Request]) -> Found:
    threads = {name: target.threads for name, target in facts.targets.items() if target.threads}
    if len(set(threads.values())) > 1:
        told = _list(f"{name} {count}" for name, count in threads.items())
        return "fail", f"The targets use different numbers of threads: {told}."
    machine = facts.machine
    if machine.cores is None:
        return "unknown", "The number of cores is not known."
    # a target that does not say takes every core of a small machine
    told_all = len(threads) == len(facts.targets)
    busy = max(threads.values()) >= machine.cores if told_all else machine.cores <= 4
    if machine.client_cores is None and busy:
        return "warn", f"The load generator shares the {machine.cores} cores with the engine."
    if machine.on_battery or machine.governor not in {None, "performance"}:
        return "warn", "The processor saves power, so its speed changes."
    return "pass", "The load generator has cores to itself."


def _environment(facts: Facts, _: Sequence[Request]) -> Found:
    lacking = [
        f"{name}'s {fact}"
        for name, target in facts.targets.items()
        for fact in ("engine", "version", "digest", "device")
        if getattr(target, fact) is None
    ]
    if lacking:
        return "warn", f"Not on record: {_list(lacking)}."
    machine = facts.machine
    if machine.cores and (machine.load_before or 0) > machine.cores / 2:
        return "warn", f"The machine was busy before the run (load {machine.load_before:.1f})."
    return "pass", "Engines, versions, digests and devices are on record."


def _failures(facts: Facts, requests: Sequence[Request]) -> Found:
    kept = measured(requests)
    if missing := set(facts.targets) - {each.target for each in kept}:
        return "fail", f"No request of {_list(sorted(missing))} is on record."
    if any(each.status != "succeeded" and not each.error for each in kept):
        return "fail", "A request that did not succeed has no reason on record."
    places = [(each.target, each.cell, each.block, each.index) for each in kept]
    if len(set(places)) < len(places):
        return "fail", "A request is there twice: something was repeated."
    bad = sum(each.status != "succeeded" for each in kept)
    if bad:
        return "warn", f"{bad} of {len(kept)} requests did not succeed; latencies leave them out."
    return "pass", f"All {len(kept)} requests succeeded."


def _warm(_: Facts, requests: Sequence[Request]) -> Found:
    turns = {(each.target, each.cell, each.block) for each in requests}
    warmed = {(each.target, each.cell, each.block) for each in requests if each.warmup}
    if turns and turns == warmed:
        return "pass", "Every turn began with warm-ups, which are not in the numbers."
    return "fail", "A turn began without a warm-up: its first request may hold a load."


RULES: dict[str, Callable[[Facts, Sequence[Request]], Found]] = {
    "same weights": _weights,
    "same tokens in": _tokens_in,
    "same tokens out": _tokens_out,
    "same sampler": _sampler,
    "same context": _context,
    "same slots": _slots,
    "one engine at a time": _alone,
    "cold cache": _cache,
    "processor": _processor,
    "environment": _environment,
    "failures": _failures,
    "warm": _warm,
}
"""The rules by name, in the order of tables."""


def _same(facts: Facts, fact: str, word: str) -> Found:
    values = {name: getattr(target, fact) for name, target in facts.targets.items()}
    known = {value for value in values.values() if value is not None}
    if len(known) > 1:
        told = _list(f"{name} {value}" for name, value in values.items())
        return "fail", f"The targets differ in their {word}: {told}."
    if None in values.values():
        quiet = _list(name for name, value in values.items() if value is None)
        return "unknown", f"The {word} of {quiet} is not known."
    return "pass", f"All targets have the same {word}."


def _done(requests: Sequence[Request]) -> list[Request]:
    return [each for each in measured(requests) if each.status == "succeeded"]


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
