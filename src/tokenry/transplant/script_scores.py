"""Score a model on each script of a text apart: bits per byte of its Latin, of its Greek, of its digits and marks."""

from functools import lru_cache

import numpy as np

from tokenry.core.splitting import script_of, segments
from tokenry.models.lm import LM
from tokenry.models.scoring import Scores
from tokenry.transplant.scoring import units


def measure_scripts(lm: LM, texts: list[str], *, segment_bytes: int) -> dict[str, Scores]:
    """What `measure` gives, apart for each script: Latin, Greek, ..., Common for digits and punctuation.

    The nats of a token are spread evenly over its bytes, so that one across two scripts counts for both; a token is
    counted where most of its bytes are. White space belongs to what follows it, a combining mark to what it stands on.
    Where the tokens do not spell a segment (a normaliser), the nats of the segment are spread over all of its bytes.

    Returns:
        script -> Scores of every unit (0 bytes where a unit has none of it), most bytes first. Their sums are those of
        `measure`.
    """
    wanted = units(texts, segment_bytes)
    owners, cut = [], []
    for owner, text in enumerate(wanted):
        parts = segments(text, segment_bytes)
        cut += parts
        owners += [owner] * len(parts)
    # As LM.score: where the tokenizer adds a space of its own, a piece that opens with one gives its own away.
    spoken = [part[1:] if lm.adds_space and len(part) > 1 and part[0] == " " else part for part in cut]
    found: dict[str, np.ndarray] = {}
    ids = lm.vocab.encode(spoken)
    for owner, part, own, nats in zip(owners, cut, ids, lm.nll(spoken), strict=True):
        names, of_byte = byte_scripts(part)
        of_bytes, counted = _spread(nats, np.asarray(lm.vocab.byte_lengths)[own].astype(np.int64), of_byte)
        for code, name in enumerate(names):
            here = of_byte == code
            table = found.setdefault(name, np.zeros((3, len(wanted))))
            table[:, owner] += of_bytes[here].sum(), here.sum(), (counted == code).sum()
    order = sorted(found, key=lambda name: (-found[name][1].sum(), name))
    return {name: Scores(found[name][0], *found[name][1:].astype(np.int64)) for name in order}


def _spread(nats: np.ndarray, sizes: np.ndarray, of_byte: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nats of each byte of a segment, and the script that each token is counted for."""
    n = len(of_byte)
    if len(sizes) and sizes.sum() == n + 1:
        sizes = sizes - (np.arange(len(sizes)) == 0)  # the space that a tokenizer puts in front of every text
    if not n or sizes.sum() != n:
        return np.full(n, nats.sum() / max(1, n)), np.full(len(nats), of_byte[0] if n else 0)
    starts = np.cumsum(sizes) - sizes
    of_bytes = np.repeat(nats / np.maximum(sizes, 1), sizes)
    bare = sizes == 0
    np.add.at(of_bytes, np.minimum(starts[bare], n - 1), nats[bare])
    return of_bytes, of_byte[np.minimum(starts + sizes // 2, n - 1)]


@lru_cache(maxsize=4096)
def byte_scripts(text: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Scripts of a text, and for each UTF-8 byte the number of its script among them."""
    scripts = [script_of(char) for char in text]
    for at in range(1, len(text)):
        if scripts[at] == "Inherited":
            scripts[at] = scripts[at - 1]
    for at in range(len(text) - 1, -1, -1):
        if text[at].isspace():
            scripts[at] = scripts[at + 1] if at + 1 < len(text) else scripts[at - 1] if at else "Common"
    names = tuple(dict.fromkeys(scripts))
    codes = np.array([names.index(name) for name in scripts], np.int64)
    sizes = [len(char.encode("utf-8", "surrogatepass")) for char in text]
    return names, np.repeat(codes, sizes)


def whole(scripts: dict[str, Scores]) -> Scores:
    """Scores of the units over all scripts."""
    return Scores(*(sum(getattr(s, key) for s in scripts.values()) for key in ("nats", "n_bytes", "n_tokens")))
