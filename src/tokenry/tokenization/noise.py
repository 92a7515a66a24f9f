"""How stable is a segmentation when the text has OCR errors or typos? Boundaries kept, tokens changed for each edit.

The KL3M paper shows examples; the measure is ours: both texts are laid side by side by the shortest edit script, and
token boundaries are compared where the texts agree.

Papers: KL3M Tokenizers: A Family of Domain-Specific and Character-Level Tokenizers for Legal, Financial, and
Preprocessing Applications (arXiv 2503.17247).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tokenry.core.report import Report
from tokenry.core.vocab import Vocab
from tokenry.tokenization.counting import Counts
from tokenry.tokenization.findings import Findings, ratio
from tokenry.tokenization.validators import lines_of

# Axes: P pairs.

CONFUSIONS = {
    "rn": ("m",), "m": ("rn",), "cl": ("d",), "d": ("cl",), "l": ("1", "I"), "I": ("l", "1"), "O": ("0",), "o": ("0",),
    "0": ("O",), "1": ("l",), "S": ("5",), "5": ("S",), "B": ("8",), "8": ("B",), "e": ("c",), "c": ("e",),
    "h": ("b",), "U": ("V",), "vv": ("w",), "w": ("vv",), "i": ("l", "j"), "t": ("f",), "g": ("q",),
}  # fmt: skip
"""What a scanner takes for what."""
_LONGEST, _MOST_PAIRS = 4_000, 20_000


@dataclass(frozen=True)
class Block:
    """A stretch in which two texts differ: `clean[a:b]` became `noisy[c:d]`."""

    a: int
    b: int
    c: int
    d: int


@dataclass(frozen=True, eq=False)
class Stability:
    """Segmentations of clean and noisy texts, compared pair by pair.

    Attributes:
        edits: (P,) stretches that differ.
        kept: (P,) boundaries of the clean text that the noisy one has too.
        clean, noisy: (P,) boundaries of each outside the stretches.
        gone: (P,) clean tokens that the noisy text does not have at their place.
        new: (P,) noisy tokens that the clean text does not have at their place.
        recut: (P,) characters of the clean tokens that are gone.
        untouched, untouched_kept: (P,) clean tokens that hold no edit; those of them that stay as they were.
    """

    edits: np.ndarray
    kept: np.ndarray
    clean: np.ndarray
    noisy: np.ndarray
    gone: np.ndarray
    new: np.ndarray
    recut: np.ndarray
    untouched: np.ndarray
    untouched_kept: np.ndarray


def ocr_channel(text: str, rng: np.random.Generator, *, rate: float = 0.02) -> str:
    """Spoil a text as a scanner does: look-alikes, dropped letters, a space inside or between words too many or few.

    Args:
        text: clean text.
        rng: what decides.
        rate: chance of an error at each character.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate={rate}; need the chance of an error at each character, 0..1.")
    out: list[str] = []
    i = 0
    draws = rng.random((len(text), 3))
    while i < len(text):
        hit, which, pick = draws[i]
        size = 1
        if hit >= rate:
            out.append(text[i])
        else:
            pair = text[i : i + 2] if text[i : i + 2] in CONFUSIONS else text[i]
            size, options = len(pair), CONFUSIONS.get(pair, ())
            if options and which < 0.6:
                out.append(options[int(pick * len(options))])
            elif which < 0.8:
                size = 1  # dropped
            else:
                size = 1
                out.append(text[i] + ("" if text[i].isspace() else " "))
        i += size
    return "".join(out)


def noisy_pairs(texts: Iterable[str], *, rate: float = 0.02, seed: int = 0) -> list[tuple[str, str]]:
    """(clean, noisy) pairs of the texts' lines; lines that the channel leaves as they are are left out."""
    rng = np.random.default_rng(seed)
    lines = [line.strip() for text in texts for line in text.replace("\t", " ").splitlines()]
    pairs = [(line, ocr_channel(line, rng, rate=rate)) for line in lines if line and len(line) <= _LONGEST]
    return [(clean, noisy) for clean, noisy in pairs if clean != noisy and noisy.strip()]


def write_pairs(path: str | Path, pairs: Iterable[tuple[str, str]]) -> None:
    """Write `clean<TAB>noisy` lines, whole or not at all."""
    from tokenry.core.runs import atomic_write

    atomic_write(path, "".join(f"{clean}\t{noisy}\n" for clean, noisy in pairs))


def spoil_to_file(source: object, out: str | Path, *, rate: float = 0.02, seed: int = 0, **reading: object) -> Report:
    """Spoil the lines of a text as a scanner would, write the pairs, and say how many edits they hold.

    Args:
        source: text, as `core.tables.stream` takes it.
        out: file of `clean<TAB>noisy` lines.
        rate: chance of an error at each character.
        seed: of the errors.
        reading: `text`, `limit`, passed to `stream`.

    Raises:
        ValueError: no line was changed.
    """
    from tokenry.core.tables import texts

    pairs = noisy_pairs(texts(source, **reading), rate=rate, seed=seed)
    if not pairs:
        raise ValueError(f"no line was changed at rate={rate}; give more text or a higher rate.")
    write_pairs(out, pairs)
    n_edits = sum(len(edit_blocks(clean, noisy)) for clean, noisy in pairs)
    report = Report("noisy-pairs", f"Noisy lines in {out}")
    report.facts = {"file": str(out), "pairs": len(pairs), "edits": n_edits, "rate": rate, "seed": seed}
    report.verdict = (
        f"{len(pairs):,} pairs with {n_edits:,} edits; next: tokenry tokenizer audit T --lens noise --pairs {out}."
    )
    return report


def read_pairs(path: str | Path) -> list[tuple[str, str]]:
    """Read `clean<TAB>noisy` lines.

    Raises:
        FileNotFoundError: no such file. ValueError: a line without a tab, too long, or no line that differs.
    """
    pairs = []
    for number, line in enumerate(lines_of(path), 1):
        clean, tab, noisy = line.partition("\t")
        if not tab or max(len(clean), len(noisy)) > _LONGEST:
            raise ValueError(
                f"{path} line {number} is no pair; need clean<TAB>noisy, at most {_LONGEST} characters each. Make some "
                "with: "
                "tokenry tokenizer spoil --text FILE --out pairs.tsv."
            )
        if clean != noisy and clean and noisy and len(pairs) < _MOST_PAIRS:
            pairs.append((clean, noisy))
    if not pairs:
        raise ValueError(f"{path} holds no pair whose two sides differ; need at least one.")
    return pairs


def edit_blocks(clean: str, noisy: str) -> list[Block]:
    """The stretches that differ, by a shortest edit script (bit-parallel, Hyyrö 2003); neighbouring edits are one."""
    plus, minus = _vertical_steps(clean, noisy)
    i, j = len(clean), len(noisy)
    steps: list[Block] = []
    while i and j:
        if plus[j - 1] >> (i - 1) & 1:
            steps.append(Block(i - 1, i, j, j))
            i -= 1
            continue
        j -= 1
        if j and minus[j - 1] >> (i - 1) & 1:
            steps.append(Block(i, i, j, j + 1))
            continue
        i -= 1
        if clean[i] != noisy[j]:
            steps.append(Block(i, i + 1, j, j + 1))
    if i or j:
        steps.append(Block(0, i, 0, j))
    blocks: list[Block] = []
    for step in reversed(steps):
        if blocks and (blocks[-1].b, blocks[-1].d) == (step.a, step.c):
            blocks[-1] = Block(blocks[-1].a, step.b, blocks[-1].c, step.d)
        else:
            blocks.append(step)
    return blocks


def _vertical_steps(clean: str, noisy: str) -> tuple[list[int], list[int]]:
    """For each character of `noisy`: bits of the places in `clean` where the distance rises, and where it falls."""
    places: dict[str, int] = {}
    for i, char in enumerate(clean):
        places[char] = places.get(char, 0) | 1 << i
    mask = (1 << len(clean)) - 1
    up, down = mask, 0
    plus, minus = [], []
    for char in noisy:
        match = places.get(char, 0)
        diagonal = ((match & up) + up) ^ up | match | down
        right = (down | ~(diagonal | up)) << 1 | 1
        left = (diagonal & up) << 1
        up, down = (left | ~(diagonal | right)) & mask, right & diagonal & mask
        plus.append(up)
        minus.append(down)
    return plus, minus


def stability(vocab: Vocab, pairs: Sequence[tuple[str, str]]) -> Stability:
    """Compare the segmentations of clean and noisy texts.

    A boundary inside an edited stretch has no counterpart and is not counted. Where letters were only dropped or only
    put in, both edges of the stretch are one place.

    Args:
        vocab: the tokenizer.
        pairs: (clean, noisy) texts.
    """
    rows = []
    for clean, noisy in pairs:
        spans = [
            [(*span, i) for span, i in zip(encoding.offsets, encoding.ids, strict=True)]
            for encoding in vocab.backend.encode_batch([clean, noisy], add_special_tokens=False)
        ]
        rows.append(_compared(edit_blocks(clean, noisy), spans, (len(clean), len(noisy))))
    return Stability(*np.array(rows, np.int64).reshape(-1, 9).T)


def _compared(blocks: list[Block], spans: list[list[tuple[int, int, int]]], sizes: tuple[int, int]) -> tuple[int, ...]:
    """One row of a `Stability`, from the (start, end, id) of the tokens of both texts."""
    cuts = [{start for start, _, _ in some if 0 < start < size} for some, size in zip(spans, sizes, strict=True)]
    here = {_clean_place(blocks, cut) for cut in cuts[0]} - {None}
    there = {_noisy_place(blocks, cut) for cut in cuts[1]} - {None}
    at: dict[tuple[int, int], list[int]] = {}
    for start, end, i in spans[1]:
        at.setdefault((start, end), []).append(i)
    untouched = kept = recut = 0
    for start, end, i in spans[0]:
        place = _moved(blocks, start, end)
        stays = place is not None and i in at.get(place, ())
        untouched += place is not None
        kept += stays
        recut += 0 if stays else end - start
    gone, new = (len(some) - kept for some in spans)
    return len(blocks), len(here & there), len(here), len(there), gone, new, recut, untouched, kept


def _clean_place(blocks: list[Block], cut: int) -> tuple[str, int] | None:
    """What a boundary of the clean text is called; None inside an edit."""
    for number, block in enumerate(blocks):
        if block.a < cut < block.b:
            return None
        if cut in (block.a, block.b) and (block.a == block.b or block.c == block.d):
            return "edit", number
    return "clean", cut


def _noisy_place(blocks: list[Block], cut: int) -> tuple[str, int] | None:
    """The same for a boundary of the noisy text: the place of the clean text where it stands."""
    shift = 0
    for number, block in enumerate(blocks):
        if cut < block.c:
            break
        if block.c < cut < block.d:
            return None
        if cut in (block.c, block.d) and (block.a == block.b or block.c == block.d):
            return "edit", number
        if cut == block.c:
            return "clean", block.a
        shift = block.b - block.d
    return "clean", cut + shift


def _moved(blocks: list[Block], start: int, end: int) -> tuple[int, int] | None:
    """Where a stretch of the clean text stands in the noisy one; None when an edit lies in it."""
    shift = 0
    for block in blocks:
        if block.a < end and block.b > start:
            return None
        if block.b <= start:
            shift = block.d - block.b
    return start + shift, end + shift


def noise(counts: Counts, *, seed: int = 0, pairs: str | Sequence[tuple[str, str]] | None = None) -> Findings:
    """Lens: what errors in a text do to its segmentation.

    Args:
        counts: names the tokenizer; its text is not used.
        seed: of the bootstrap over pairs.
        pairs: file for `read_pairs`, or the pairs.

    Raises:
        ValueError: no pairs are given. FileNotFoundError: no such file.
    """
    if pairs is None:
        raise ValueError(
            "the lens 'noise' needs clean<TAB>noisy lines: --pairs FILE. Make some with the OCR channel: "
            "tokenry tokenizer spoil --text FILE --out pairs.tsv."
        )
    found_P = stability(counts.vocab, read_pairs(pairs) if isinstance(pairs, (str, Path)) else pairs)
    return Findings(
        facts={
            "noise_pairs": len(found_P.edits),
            "noise_edits": int(found_P.edits.sum()),
            "noise_boundary_f1": ratio(2 * found_P.kept, found_P.clean + found_P.noisy, seed=seed),
            "noise_tokens_changed_per_edit": ratio(found_P.gone + found_P.new, found_P.edits, seed=seed),
            "noise_characters_recut_per_edit": ratio(found_P.recut, found_P.edits, seed=seed),
            "noise_untouched_kept": ratio(found_P.untouched_kept, found_P.untouched, seed=seed),
        },
        notes=[
            "Noise: boundaries outside the edits, clean against noisy; for each edited stretch the clean tokens that "
            "are gone and the noisy ones that are new (2 where one letter is one token), and the characters of those "
            "that are gone; clean tokens without an edit inside that stay the same. Intervals over pairs."
        ],
    )
