"""Compare an imported tokenizer with llama.cpp's own: `tokenizer_parity.py GGUF TOKENIZER_JSON`.

Runs in an environment that has `xllamacpp` and `tokenizers`. Prints one JSON object: how many
encodings were compared, and the first ones that differ.
"""

import http.client
import json
import random
import sys
import unicodedata

import tokenizers
import xllamacpp  # type: ignore[import-not-found]

COUNT = 1000

WORDS = (
    "Hello world the capital of France isn't it? WE'LL they'd I'M don'T l'été naïve Straße "
    "München İstanbul ǅungla ﬁne Ⅻ ½ ² ٣٤ 四五 देवनागरी ภาษาไทย 한국어 日本語テキスト русский עברית "
    "العربية ελληνικά 🎉 👩‍👩‍👧 🇫🇷 e\u0301 a\u0308o\u0302 zero\u200bwidth "
    "3.14159 1,000,000 0x7F 2026-11-22 12:30"
)
CODE = (
    "def f(x):\n\treturn x**2  # ok",
    "for (int i=0;i<10;++i) {\r\n    a[i] += 1;\r\n}",
    "SELECT * FROM t WHERE a='b' -- x",
    '{"key": [1, 2.5e-3, null]}',
    "<div class='x'>&nbsp;</div>",
    "a_b-c.d/e\\f:g@h#i$j%k^l&m",
    "std::vector<std::string>>= != === -> =>",
)
SPACES = (
    " ",
    "  ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    "   \n ",
    "\u00a0",
    "\u3000",
    "\u2003",
    "\u0085",
    "\u2028",
    "\x0b",
)
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|im_start|>user\n",
    "<|im_end",
    "<repo_name>",
    "<s>",
)


def any_character(source: random.Random) -> str:
    """Return a character from anywhere in Unicode that is assigned and is no surrogate."""
    while True:
        character = chr(source.choice((source.randrange(0x3000), source.randrange(0x110000))))
        if character != "\0" and unicodedata.category(character) not in {"Cs", "Cn", "Co"}:
            return character


def strings() -> list[str]:
    """Return the same 1,000 strings on every machine."""
    source = random.Random(20)
    made = ["", " ", "a", "0", *SPACES, *CODE, *SPECIAL]
    while len(made) < COUNT:
        parts = []
        for _ in range(source.randrange(1, 12)):
            parts += source.choice(
                (
                    lambda: [source.choice(WORDS.split(" ")), " "],
                    lambda: [source.choice(WORDS.split(" "))],
                    lambda: [source.choice(CODE)],
                    lambda: [source.choice(SPACES)],
                    lambda: [str(source.randrange(10 ** source.randrange(1, 12)))],
                    lambda: [any_character(source) for _ in range(source.randrange(1, 5))],
                    lambda: [source.choice(SPECIAL)],
                )
            )()
        made.append("".join(parts))
    return made


def main(gguf: str, tokenizer_json: str, form: str = "") -> None:
    """Compare, with special tokens recognised and taken as text."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = gguf
    parameters.port = 0
    parameters.n_ctx = 256
    parameters.n_parallel = 1
    parameters.warmup = False
    server = xllamacpp.Server(parameters)
    connection = http.client.HTTPConnection(server.listening_address.removeprefix("http://"))
    tokenizer = tokenizers.Tokenizer.from_file(tokenizer_json)
    compared, different = 0, []
    for text in strings():
        if form == "NFC":
            text = unicodedata.normalize("NFC", text)
        for special in (True, False):
            body = {"content": text, "add_special": False, "parse_special": special}
            connection.request("POST", "/tokenize", json.dumps(body))
            theirs = json.loads(connection.getresponse().read())["tokens"]
            tokenizer.encode_special_tokens = not special
            ours = tokenizer.encode(text, add_special_tokens=False).ids
            compared += 1
            if ours != theirs:
                different.append({"text": text, "special": special, "ours": ours, "theirs": theirs})
    print(json.dumps({"compared": compared, "failed": len(different), "first": different[:5]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
