"""all-MiniLM-L6-v2 once more, in numpy: what its vectors are, apart from any engine.

After the papers: BERT (arXiv 1810.04805), WordPiece's greedy match, the mean over all tokens.
"""

import json
import math
import unicodedata
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

LONGEST_WORD = 100

_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
"""Abramowitz and Stegun 7.1.26: off by 1.5e-7 at most."""


class MiniLM:
    """The model in a directory with config.json, vocab.txt and model.safetensors."""

    def __init__(self, directory: Path) -> None:
        self.config = json.loads((directory / "config.json").read_text("utf-8"))
        words = (directory / "vocab.txt").read_text("utf-8").split("\n")
        self.vocabulary = {word: number for number, word in enumerate(words) if word}
        self.weights = {
            name: value.astype(np.float32)
            for name, value in load_file(directory / "model.safetensors").items()
        }

    def embed(self, text: str, longest: int = 256) -> np.ndarray:
        """Return the vector of a text, of unit length."""
        hidden = self._hidden(self.tokens(text, longest))
        mean = hidden.mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean))

    def tokens(self, text: str, longest: int = 256) -> list[int]:
        """Return the token ids of a text, of which the end is cut."""
        ids = [piece for word in self._words(text) for piece in self._pieces(word)]
        ends = (self.vocabulary["[CLS]"], self.vocabulary["[SEP]"])
        return [ends[0], *ids[: longest - 2], ends[1]]

    def _words(self, text: str) -> list[str]:
        """Return words and single marks, in lower case and without accents."""
        plain = ""
        for character in text:
            if character in "\t\n\r" or unicodedata.category(character) == "Zs":
                plain += " "
            elif unicodedata.category(character)[0] == "C" or character == "\ufffd":
                continue
            elif "\u4e00" <= character <= "\u9fff":
                plain += f" {character} "
            else:
                plain += character
        lowered = unicodedata.normalize("NFD", plain.lower())
        words = [""]
        for character in lowered:
            kind = unicodedata.category(character)
            if kind == "Mn":
                continue
            ascii_mark = character.isascii() and not character.isalnum() and character > " "
            if character == " ":
                words.append("")
            elif ascii_mark or kind[0] == "P":
                words += [character, ""]
            else:
                words[-1] += character
        return [word for word in words if word]

    def _pieces(self, word: str) -> list[int]:
        """Return the longest known pieces from the left; an unknown word is one token."""
        ids: list[int] = []
        start = 0
        while start < len(word) <= LONGEST_WORD:
            prefix = "##" if start else ""
            ends = (end for end in range(len(word), start, -1))
            end = next((e for e in ends if prefix + word[start:e] in self.vocabulary), start)
            if end == start:
                break
            ids.append(self.vocabulary[prefix + word[start:end]])
            start = end
        return ids if ids and start == len(word) else [self.vocabulary["[UNK]"]]

    def _hidden(self, ids: list[int]) -> np.ndarray:
        """Return the last layer's output: a row of 384 for each token."""
        table = "embeddings.{}_embeddings.weight".format
        hidden = self.weights[table("word")][ids]
        hidden = hidden + self.weights[table("position")][: len(ids)]
        hidden = hidden + self.weights[table("token_type")][0]
        hidden = self._normal("embeddings.LayerNorm", hidden)
        for number in range(self.config["num_hidden_layers"]):
            layer = f"encoder.layer.{number}"
            seen = self._linear(f"{layer}.attention.output.dense", self._attention(layer, hidden))
            hidden = self._normal(f"{layer}.attention.output.LayerNorm", hidden + seen)
            inner = self._linear(f"{layer}.intermediate.dense", hidden)
            inner = inner * (1 + _erf(inner / math.sqrt(2))) / 2
            outer = self._linear(f"{layer}.output.dense", inner)
            hidden = self._normal(f"{layer}.output.LayerNorm", hidden + outer)
        return hidden

    def _attention(self, layer: str, hidden: np.ndarray) -> np.ndarray:
        heads = self.config["num_attention_heads"]
        query, key, value = (
            self._linear(f"{layer}.attention.self.{name}", hidden)
            .reshape(len(hidden), heads, -1)
            .transpose(1, 0, 2)
            for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return np.asarray((weights @ value).transpose(1, 0, 2).reshape(len(hidden), -1))

    def _linear(self, name: str, values: np.ndarray) -> np.ndarray:
        return np.asarray(values @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"])

    def _normal(self, name: str, values: np.ndarray) -> np.ndarray:
        centred = values - values.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.config["layer_norm_eps"])
        scale, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return np.asarray(centred / spread * scale + shift)


def _erf(values: np.ndarray) -> np.ndarray:
    size = np.abs(values)
    part = 1 / (1 + 0.3275911 * size)
    series = sum(factor * part ** (power + 1) for power, factor in enumerate(_ERF))
    return np.asarray(np.sign(values) * (1 - series * np.exp(-(size**2))))
