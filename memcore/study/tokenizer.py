"""A CLIP tokenizer whose vocabulary is learnt from the captions: without a download, one token a word."""

from __future__ import annotations

import json
import re
import string
import tempfile
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

SEQUENCE = 16
START, END = "<|startoftext|>", "<|endoftext|>"
_LAST = "</w>"
#: How CLIP cuts a text into words, for the captions' characters.
_WORD = re.compile(r"[a-z]+|[0-9]|[^\sa-z0-9]+")
_ALPHABET = string.ascii_lowercase + string.digits + "-',.!?&:()"


def train_tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """Train byte-pair encoding until every word of the captions is one token. Ties are resolved by the alphabet."""
    with tempfile.TemporaryDirectory() as folder:
        save_vocabulary(captions, Path(folder))
        return CLIPTokenizer.from_pretrained(folder, model_max_length=SEQUENCE)


def save_vocabulary(captions: Iterable[str], folder: Path) -> None:
    """Write vocab.json and merges.txt. transformers 4 reads these; 5 writes tokenizer.json in their place."""
    merges = learn_merges(captions)
    tokens = [*_ALPHABET, *(c + _LAST for c in _ALPHABET), *(a + b for a, b in merges)]
    vocabulary = {token: i for i, token in enumerate([*dict.fromkeys(tokens), START, END])}
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def learn_merges(captions: Iterable[str]) -> list[tuple[str, str]]:
    """Return the merges of byte-pair encoding, most frequent pair first."""
    counts = Counter(word for caption in captions for word in _WORD.findall(caption))
    words = {word: [*word[:-1], word[-1] + _LAST] for word in sorted(counts)}
    merges: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in words.items():
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {word: _merge(parts, best) for word, parts in words.items()}


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    i = 0
    while i < len(parts):
        if tuple(parts[i : i + 2]) == pair:
            merged.append(parts[i] + parts[i + 1])
            i += 2
        else:
            merged.append(parts[i])
            i += 1
    return merged
