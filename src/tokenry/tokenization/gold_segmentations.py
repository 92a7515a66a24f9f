"""Do token boundaries fall on morpheme boundaries? Gold segmentations, boundary scores, stems kept whole.

Papers: SIGMORPHON 2022 Shared Task on Morpheme Segmentation (arXiv 2206.07615); Why do language models perform worse
for morphologically complex languages? (MorphScore, arXiv 2411.14198).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from tokenry.core.intervals import Interval, wilson_interval
from tokenry.core.vocab import Vocab
from tokenry.tokenization.edit_distances import edit_distances
from tokenry.tokenization.findings import ratio
from tokenry.tokenization.validators import Segmentation, lines_of

# Axes: W words.

_LONGEST_WORD = 200


@dataclass(frozen=True)
class GoldWord:
    """A word with its morphemes.

    Attributes:
        text: the word as written.
        morphemes: as the gold has them; they need not spell the word ("abbreviate" "ing").
        cuts: where they meet in the written word, in characters.
    """

    text: str
    morphemes: Segmentation
    cuts: tuple[int, ...]

    @property
    def parts(self) -> Segmentation:
        """The written word at its cuts."""
        ends = (0, *self.cuts, len(self.text))
        return tuple(self.text[a:b] for a, b in pairwise(ends))


@dataclass(frozen=True)
class BoundaryScores:
    """Token boundaries against morpheme boundaries, inside words.

    Attributes:
        precision, recall, f1: over all boundaries, intervals over words; None without a boundary to count.
        morphscore: share of the words of two morphemes and two or more tokens whose one morpheme boundary is a token
            boundary.
        stem_kept: share of stems with two or more forms that every form begins with in the same tokens, cut at its
            end.
        words_whole: share of words that are one token.
        tokens_per_word: mean.
        n_words: words scored.
        n_respelled: words left out, because the tokenizer does not spell them as they are written.
    """

    precision: Interval | None
    recall: Interval | None
    f1: Interval | None
    morphscore: Interval | None
    stem_kept: Interval | None
    words_whole: Interval
    tokens_per_word: float
    n_words: int
    n_respelled: int


def read_gold(path: str | Path, *, limit: int | None = None) -> list[GoldWord]:
    """Read gold segmentations: `word<TAB>part @@part` (SIGMORPHON), `part|part`, or `part part`.

    Where the parts do not spell the word, their boundaries are placed by the shortest edit scripts between both; a
    word in which these disagree is left out. A word listed twice counts once.

    Raises:
        ValueError: no line of the file is such a segmentation.
    """
    found: dict[str, GoldWord] = {}
    for line in lines_of(path):
        cells = line.split("\t")
        if len(cells) < 2 or " " in cells[0].strip() or len(cells[0]) > _LONGEST_WORD:
            continue
        word, cell = cells[0].strip(), cells[1].replace(" @@", " ").replace("|", " ")
        parts = tuple(cell.split())
        cuts = surface_cuts(word, parts) if word and parts else None
        if cuts is not None:
            found.setdefault(word, GoldWord(word, parts, cuts))
        if limit is not None and len(found) >= limit:
            break
    if not found:
        raise ValueError(
            f"{path} holds no gold segmentation; need lines like 'undoing<TAB>un|do|ing', or with ' @@' for the bar."
        )
    return list(found.values())


def surface_cuts(word: str, morphemes: Sequence[str]) -> tuple[int, ...] | None:
    """Where morphemes meet in the written word, or None where that is in doubt.

    Every shortest edit script from the joined morphemes to the word must put a boundary at the same place, and no two
    boundaries at the same one, nor one at an end.
    """
    joined = "".join(morphemes)
    inner = np.cumsum([len(part) for part in morphemes])[:-1].tolist()
    if joined == word:
        return tuple(inner)
    if not inner:
        return ()
    there = np.array(edit_distances(joined, word))
    back = np.array(edit_distances(joined[::-1], word[::-1]))[::-1, ::-1]
    total = there[-1, -1]
    cuts = []
    for at in inner:
        places = np.flatnonzero(there[at] + back[at] == total)
        if len(places) != 1 or not 0 < places[0] < len(word):
            return None
        cuts.append(int(places[0]))
    return tuple(cuts) if len(set(cuts)) == len(cuts) else None


def token_cuts(vocab: Vocab, words: Sequence[str]) -> list[tuple[tuple[int, ...], list[int]] | None]:
    """Where tokens meet inside words, as they stand behind a space: (inner cuts in characters, ids).

    A boundary inside a character is no cut. None where the tokens do not spell the word (lower-casing, unknown).
    """
    from tokenry.tokenization.counting import encode_words

    found = []
    for word, ids in zip(words, encode_words(vocab, [" " + word for word in words]), strict=True):
        data = [vocab.tokens[i] or b"" for i in ids]
        spelled, wanted = b"".join(data), word.encode("utf-8")
        if spelled.removeprefix(b" ") != wanted:
            found.append(None)
            continue
        ends = np.cumsum([len(part) for part in data]) - (len(spelled) - len(wanted))
        at = {end: i for i, end in enumerate(np.cumsum([0] + [len(c.encode("utf-8")) for c in word]).tolist())}
        cuts = sorted({at[end] for end in ends.tolist() if end in at} - {0, len(word)})
        found.append((tuple(cuts), ids))
    return found


def boundary_scores(vocab: Vocab, gold: Sequence[GoldWord], *, seed: int = 0) -> BoundaryScores:
    """Score a tokenizer against gold segmentations.

    Args:
        vocab: the tokenizer.
        gold: from `read_gold`.
        seed: of the bootstrap over words.

    Raises:
        ValueError: the tokenizer spells none of the words.
    """
    placed = token_cuts(vocab, [word.text for word in gold])
    pairs = [(word, cut) for word, cut in zip(gold, placed, strict=True) if cut is not None]
    if not pairs:
        raise ValueError(
            f"{vocab.name} spells none of the {len(gold)} gold words as they are written; nothing to score."
        )
    hits = np.array([len(set(word.cuts) & set(cuts)) for word, (cuts, _) in pairs], np.float64)
    made = np.array([len(cuts) for _, (cuts, _) in pairs], np.float64)
    true = np.array([len(word.cuts) for word, _ in pairs], np.float64)
    lengths = np.array([len(ids) for _, (_, ids) in pairs], np.float64)
    single = [(word, cuts) for word, (cuts, ids) in pairs if len(word.cuts) == 1 and len(ids) > 1]
    right = sum(word.cuts[0] in cuts for word, cuts in single)
    whole = int((lengths == 1).sum())
    return BoundaryScores(
        precision=ratio(hits, made, seed=seed),
        recall=ratio(hits, true, seed=seed),
        f1=ratio(2 * hits, made + true, seed=seed),
        morphscore=wilson_interval(right, len(single)) if single else None,
        stem_kept=_stems_kept(vocab, pairs),
        words_whole=wilson_interval(whole, len(pairs)),
        tokens_per_word=float(lengths.mean()),
        n_words=len(pairs),
        n_respelled=len(gold) - len(pairs),
    )


def _stems_kept(vocab: Vocab, pairs: list) -> Interval | None:
    """Stems whose forms all begin with the same tokens, which end where the stem ends."""
    stems: dict[str, list] = defaultdict(list)
    for word, (cuts, ids) in pairs:
        if word.cuts:
            stems[word.morphemes[0]].append(_stem_tokens(vocab, word, cuts, ids))
    shared = [len(set(heads)) == 1 and heads[0] is not None for heads in stems.values() if len(heads) > 1]
    return wilson_interval(sum(shared), len(shared)) if shared else None


def _stem_tokens(vocab: Vocab, word: GoldWord, cuts: tuple[int, ...], ids: list[int]) -> tuple[int, ...] | None:
    if word.cuts[0] not in cuts:
        return None
    room = len(word.text[: word.cuts[0]].encode("utf-8"))
    head, spelled = [], b""
    for i in ids:
        if len(spelled.removeprefix(b" ")) >= room:
            break
        spelled += vocab.tokens[i] or b""
        head.append(i)
    return tuple(head)
