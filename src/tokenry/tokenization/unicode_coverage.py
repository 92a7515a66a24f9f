"""Which characters of Unicode survive a tokenizer, and what they cost: by block and by plane.

Papers: Qtok: A Comprehensive Framework for Evaluating Multilingual Tokenizer Quality in Large Language Models (arXiv
2410.12989; coverage of scripts).
"""

import unicodedata
from functools import lru_cache
from importlib.resources import files

import numpy as np

from tokenry.core.intervals import wilson_interval
from tokenry.core.vocab import Vocab
from tokenry.tokenization.counting import Counts, encode_words
from tokenry.tokenization.findings import Findings, rows_as_columns

PLANES = {
    0: "Basic Multilingual",
    1: "Supplementary Multilingual",
    2: "Supplementary Ideographic",
    3: "Tertiary Ideographic",
    14: "Special-purpose",
}
_MOST_OF_A_BLOCK = 24


def unicode_coverage(counts: Counts, *, seed: int = 0) -> Findings:
    """Characters of every Unicode block that come back exactly, and tokens per character; no text is needed.

    Assigned characters only, at most 24 of a block, evenly spaced; each is encoded between two letters.
    """
    chars, block_of = probe_characters()
    survives, n_tokens = probe(counts.vocab, chars)
    blocks, rows = list(dict.fromkeys(block_of)), []
    place = {name: i for i, name in enumerate(blocks)}
    index = np.array([place[name] for name in block_of])
    for i, name in enumerate(blocks):
        of = index == i
        n, n_kept = int(of.sum()), int(survives[of].sum())
        interval = wilson_interval(n_kept, n)
        row = {"block": name, "plane": ord(chars[int(np.flatnonzero(of)[0])]) >> 16, "n": n, "survive": n_kept}
        row |= {"share": interval.value, "low": interval.low, "high": interval.high}
        rows.append(row | {"tokens_each": float(n_tokens[of].mean())})
    planes = []
    plane_of = np.array([ord(char) >> 16 for char in chars])
    for plane, name in PLANES.items():
        of = plane_of == plane
        if of.any():
            interval = wilson_interval(int(survives[of].sum()), int(of.sum()))
            row = {"plane": name, "n": int(of.sum()), "share": interval.value, "low": interval.low}
            planes.append(row | {"high": interval.high, "tokens_each": float(n_tokens[of].mean())})
    lost = [row for row in rows if not row["survive"]]
    found = Findings(
        facts={
            "unicode_blocks": len(rows),
            "unicode_blocks_lost": len(lost),
            "unicode_characters_tried": len(chars),
            "unicode_characters_kept": int(survives.sum()),
        },
        tables={"unicode_planes": rows_as_columns(planes), "unicode_blocks": rows_as_columns(rows)},
        notes=["Unicode coverage tries up to 24 evenly spaced characters of each block, between two letters."],
    )
    if lost:
        shown = ", ".join(row["block"] for row in lost[:6])
        found.warnings.append(f"No tried character of {len(lost)} Unicode blocks comes back: {shown}.")
    return found


def probe(vocab: Vocab, chars: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """For each character, whether it comes back exactly between two letters, and its tokens behind a line break."""
    unknown = vocab.specials.get("unk", -1)
    texts = [f"a{char}b" for char in chars]
    ids = vocab.encode(texts)
    back = vocab.backend.decode_batch([own.tolist() for own in ids], skip_special_tokens=False)
    survives = np.array([text == again for text, again in zip(texts, back, strict=True)], bool)
    survives &= np.array([unknown not in own for own in ids], bool)
    return survives, np.array([len(own) for own in encode_words(vocab, chars)], np.int64)


@lru_cache(maxsize=1)
def _blocks() -> list[tuple[int, int, str]]:
    lines = files("tokenry.tokenization").joinpath("unicode_blocks.tsv").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return [(int(low, 16), int(high, 16), name) for low, high, name in rows]


@lru_cache(maxsize=1)
def probe_characters() -> tuple[list[str], list[str]]:
    """Up to 24 assigned characters of every block, and the block of each; no surrogates, controls or private use."""
    chars, names = [], []
    for low, high, name in _blocks():
        points = [p for p in range(low, high + 1) if unicodedata.category(chr(p)) not in ("Cn", "Cs", "Co", "Cc")]
        picked = np.linspace(0, len(points) - 1, min(len(points), _MOST_OF_A_BLOCK)).astype(int) if points else []
        chars += [chr(points[i]) for i in picked]
        names += [name] * len(picked)
    return chars, names
