"""Records of a simulated clock."""

from hyperllama_nb.bench.records import Request


def request(target="a", block=0, index=0, **fields):
    plain = {
        "target": target,
        "cell": "c1",
        "block": block,
        "index": index,
        "warmup": False,
        "scheduled": 0.0,
        "sent": 0.0,
        "texts": (0.5, 0.6, 0.8),
        "finished": 0.8,
        "status": "succeeded",
        "error": None,
        "prompt_tokens": 12,
        "cached_tokens": 2,
        "output_tokens": 4,
        "asked_prompt": 12,
        "asked_output": 4,
        "concurrency": 1,
        "rate": None,
    }
    return Request(**(plain | fields))


def simulate(chance, speeds, blocks=5, requests=8, noise=0.05):
    """Yield a closed load of one at a time; a block has a drift that all targets share."""
    for block in range(blocks):
        drift = float(chance.normal(1, 0.05))
        for target, speed in speeds.items():
            now = 0.0
            for index in range(requests):
                first, each = 0.2 * chance.lognormal(0, noise, 2) * drift / speed
                texts = tuple(now + first + each * k / 5 for k in range(8))
                times = {"scheduled": now, "sent": now, "texts": texts, "finished": texts[-1]}
                yield request(target, block, index, **times, output_tokens=8, asked_output=8)
                now = texts[-1]
