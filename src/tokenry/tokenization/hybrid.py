"""Compose a vocabulary of roots, affixes and fall-back pieces from a dictionary or analyser: morphemes as tokens.

The result is a Unigram model with byte pieces in a plain `tokenizer.json`: it opens everywhere, and every text comes
back from its tokens. Each surface form of a morpheme is an entry of its own (kitap, kitab; lar, ler), so nothing has to
be guessed on decoding; `allomorphs` gives the forms of a Turkish suffix one id on top of it.

Papers: Tokenization Standards for Linguistic Integrity: Turkish as a Benchmark (arXiv 2502.07057; the follow-up's
dictionary tokenizer); Subword Regularization (arXiv 1804.10959; the model).
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tokenry.core.alphabets import METASPACE, byte_piece
from tokenry.core.pretokens import Pretokens
from tokenry.core.report import Report
from tokenry.core.vocab import Vocab
from tokenry.tokenization.plans import Plan, plan_metaspace
from tokenry.tokenization.training import counted, finish
from tokenry.tokenization.validators import Segmentation, Validator

HYBRID_PATTERN = (
    rf"{METASPACE}+(?={METASPACE})"
    rf"|{METASPACE}?(?:\p{{Lu}}\p{{M}}*)+(?!\p{{Ll}})"
    rf"|{METASPACE}?(?:\p{{Lu}}\p{{M}}*)?[\p{{Ll}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]+"
    rf"|\p{{N}}|{METASPACE}?[^{METASPACE}\s\p{{L}}\p{{N}}]+|{METASPACE}|\s+"
)
"""Cuts "HTTPServer" into HTTP and Server, digits one by one; a word keeps the space before it."""

_SPECIALS = {"unk": "<unk>", "bos": "<s>", "eos": "</s>", "pad": "<pad>"}
_ROUNDS = 4
_COSTS = (0.0, 2.0, 4.0, 8.0)
_LONGEST_WORD = 64
_REPORTED = 1000


@dataclass(frozen=True)
class Hybrid:
    """A vocabulary of morphemes and fall-back pieces.

    Attributes:
        vocab: the tokenizer.
        n_morphemes: entries that are morphemes of analysed words.
        n_pieces: fall-back entries.
        analysed_share: share of the text's words (by count, words of letters seen often enough) with an analysis.
        kept_share: share of the analysed words (by count) which the finished tokenizer cuts exactly as analysed.
    """

    vocab: Vocab
    n_morphemes: int
    n_pieces: int
    analysed_share: float
    kept_share: float


def train_hybrid(
    source: object,
    validator: Validator,
    *,
    size: int,
    dictionary_share: float = 0.8,
    min_count: int = 2,
    roots: Iterable[str] = (),
    specials: Mapping[str, str] | None = None,
    **reading: object,
) -> Hybrid:
    """Compose a vocabulary from the analyses of a text's words.

    Of a word's analyses the likeliest by the morphemes' counts is taken (hard EM); frequent morphemes become entries,
    and BPE learns the rest. Scores are log shares less a cost a token (see `_calibrated`).

    Args:
        source: text, as `core.tables.stream` takes it, or `Pretokens` cut by the same pre-tokeniser.
        validator: see `validators`.
        size: entries in all: special tokens, 256 byte pieces, characters, morphemes, fall-back pieces.
        dictionary_share: share of the room behind the characters for morphemes; what they leave goes to the pieces.
        min_count: words seen less often are not analysed.
        roots: word starts to have though the text never uses them, in the room the text's morphemes leave.
        specials: role -> token; must hold "unk".
        reading: keywords of `core.pretokens.count_pretokens`.

    Raises:
        ValueError: a size without room for anything; no word of the text has an analysis.

    Paper: Tokenization Standards for Linguistic Integrity (arXiv 2502.07057); the tokenizer is its follow-up's.
    """
    roles = dict(_SPECIALS if specials is None else specials)
    if "unk" not in roles or not 0 < dictionary_share <= 1:
        raise ValueError(
            f"specials={roles}, dictionary_share={dictionary_share}; need an 'unk' token and a share in 0..1."
        )
    plan = plan_metaspace(roles, HYBRID_PATTERN, merges=False)
    spec = {**plan.spec, "model": {"type": "Unigram", "unk_id": 0, "vocab": [], "byte_fallback": True}}
    pretokens = counted(source, spec, reading)
    known, rest = analysed_words(pretokens, validator, min_count=min_count)
    if not known:
        raise ValueError(f"{validator.name} analyses none of the text's words; is it of the text's language?")
    taken = likely_analyses(known)
    characters = _characters(pretokens)
    room = size - len(plan.first) - 256 - len(characters)
    if room < 1:
        raise ValueError(f"size={size} does not hold {size - room} special tokens, bytes and characters. Ask for more.")
    counts = _part_counts(taken, known)
    wanted = [*sorted(counts, key=lambda part: (-counts[part], part)), *(METASPACE + root for root in roots)]
    morphemes = [part for part in dict.fromkeys(wanted) if part not in characters][: int(room * dictionary_share)]
    pieces = _fallback_pieces(rest, characters, room - len(morphemes), set(morphemes))
    scores, kept_share = _calibrated(_log_shares(characters, morphemes, pieces, counts), set(pieces), taken, known)
    letters = max(1, sum(n for _, n in _word_counts(pretokens, min_count)))
    return Hybrid(
        vocab=_assembled(plan, spec, scores),
        n_morphemes=len(morphemes),
        n_pieces=len(pieces),
        analysed_share=sum(n for n, _ in known.values()) / letters,
        kept_share=kept_share,
    )


def hybrid_to_folder(
    source: list,
    validator: Validator,
    out: str | Path,
    *,
    allomorphs: bool = False,
    overwrite: bool = False,
    **options: object,
) -> Report:
    """Train as `train_hybrid` does and write a folder that AutoTokenizer opens, with its report and run.json.

    Args:
        source: paths of the text.
        validator: see `validators`.
        out: folder to create; refused when it exists unless `overwrite`.
        allomorphs: write beside it which entries are forms of one suffix (`allomorphs.Allomorphs.open`), by Turkish
            vowel harmony, and say what sharing their ids saves and costs on the first documents.
        options: keywords of `train_hybrid`.

    Returns:
        Report of kind "tokenizer-hybrid".

    Raises:
        As `train_hybrid`. FileExistsError: `out` exists.
    """
    from tokenry.core.runs import atomic_folder, write_run

    with atomic_folder(out, overwrite=overwrite) as folder:
        made = train_hybrid(source, validator, **options)
        made.vocab.to_hf(folder)
        report = Report("tokenizer-hybrid", f"Morphemes by {validator.name}, {made.vocab.size:,} entries")
        report.facts = {
            "folder": str(out),
            "validator": validator.name,
            "vocab_size": made.vocab.size,
            "morphemes": made.n_morphemes,
            "fallback_pieces": made.n_pieces,
            "analysed_share": made.analysed_share,
            "kept_share": made.kept_share,
        }
        report.notes.append(
            "analysed_share: words of letters (by count) with an analysis; kept_share: of these, cut by the finished "
            "tokenizer exactly as analysed. Both on the training text."
        )
        report.verdict = (
            f"{made.kept_share:.1%} of the analysed words are cut into their morphemes; judge it on other text with "
            "tokenry tokenizer morphology."
        )
        if allomorphs:
            _share_ids(report, made.vocab, validator, folder, source, options)
        report.save(folder / "report")
        arguments = options | {"allomorphs": allomorphs}
        write_run(folder, verb="tokenizer hybrid", arguments=arguments, seed=None, inputs=list(source))
    return report


def _share_ids(
    report: Report, vocab: Vocab, validator: Validator, folder: Path, source: list, options: Mapping
) -> None:
    """Write which entries are forms of one suffix, and add to a report what that does to the first documents."""
    from tokenry.core.tables import texts
    from tokenry.tokenization.allomorphs import Allomorphs, allomorph_report

    shared = Allomorphs.of(vocab, getattr(validator, "affixes", ()))
    shared.save(folder)
    limit = min(_REPORTED, options.get("limit") or _REPORTED)
    found = allomorph_report(shared, texts(source, limit=limit, text=options.get("text", "text")))
    report.facts |= {f"allomorphs.{name}": value for name, value in found.facts.items()}


def _word_counts(pretokens: Pretokens, min_count: int) -> Iterable[tuple[str, int]]:
    """Words of letters that occur often enough, as the model sees them."""
    for word, n in zip(pretokens.words, pretokens.total.tolist(), strict=True):
        body = word.removeprefix(METASPACE)
        if n >= min_count and body.isalpha() and len(body) <= _LONGEST_WORD:
            yield word, n


def analysed_words(
    pretokens: Pretokens, validator: Validator, *, min_count: int = 2
) -> tuple[dict[str, tuple[int, list[Segmentation]]], dict[str, int]]:
    """Words with their counts and analyses, the mark of the space on the first part; and the counts of all others."""
    from tokenry.core.runs import Progress

    known: dict[str, tuple[int, list[Segmentation]]] = {}
    asked = dict(_word_counts(pretokens, min_count))
    with Progress(f"analysing with {validator.name}", total=len(asked), unit="words") as progress:
        for word, n in asked.items():
            body = word.removeprefix(METASPACE)
            mark = word[: len(word) - len(body)]
            cuts = [_as_written(body, cut, mark) for cut in validator.analyses(body) if len("".join(cut)) == len(body)]
            if cuts:
                known[word] = n, list(dict.fromkeys(cuts))
            progress.add(1)
    rest = {w: n for w, n in zip(pretokens.words, pretokens.total.tolist(), strict=True) if w not in known}
    return known, rest


def _as_written(body: str, cut: Segmentation, mark: str) -> Segmentation:
    """The parts in the word's own letters."""
    parts, start = [], 0
    for part in cut:
        parts.append(body[start : start + len(part)])
        start += len(part)
    return (mark + parts[0], *parts[1:])


def likely_analyses(known: Mapping[str, tuple[int, Sequence[Segmentation]]]) -> dict[str, Segmentation]:
    """One analysis a word: the likeliest by the counts of the morphemes in all that was taken (hard EM, four rounds).

    At first every analysis of a word counts alike. Ties go to fewer parts, then to the first in order.
    """
    counts: Counter = Counter()
    for n, cuts in known.values():
        for cut in cuts:
            for part in cut:
                counts[part] += n / len(cuts)
    taken: dict[str, Segmentation] = {}
    for _ in range(_ROUNDS):
        total = math.log(sum(counts.values()))
        before = taken
        taken = {
            word: min(
                cuts, key=lambda cut: (round(sum(total - math.log(counts[p] + 0.5) for p in cut), 9), len(cut), cut)
            )
            for word, (_, cuts) in known.items()
        }
        if taken == before:
            break
        counts = _part_counts(taken, known)
    return taken


def _part_counts(taken: Mapping[str, Segmentation], known: Mapping) -> Counter:
    """How often each morpheme occurs in what was taken."""
    counts: Counter = Counter()
    for word, cut in taken.items():
        for part in cut:
            counts[part] += known[word][0]
    return counts


def _characters(pretokens: Pretokens) -> list[str]:
    """The characters that make up nearly all of the text; bytes spell the rest, line ends and tabs."""
    from tokenry.tokenization.word_tables import character_counts, covering

    seen = character_counts(pretokens.words, pretokens.total)
    for char in "\n\r\t":
        if ord(char) < len(seen):
            seen[ord(char)] = 0
    return sorted(chr(point) for point in covering(seen).tolist())


def _fallback_pieces(
    rest: Mapping[str, int], characters: Sequence[str], n_pieces: int, taken: set[str]
) -> dict[str, int]:
    """Pieces that BPE learns on the words without analysis, with how often these use each."""
    from tokenry.tokenization.merges import encode_words, train_merges
    from tokenry.tokenization.word_tables import spell

    place = {char: i for i, char in enumerate(characters)}
    words = [word for word in rest if all(char in place for char in word)]
    if not words or n_pieces < 1:
        return {}
    symbols, offsets = spell(words, {char: [i] for char, i in place.items()})
    counts = np.array([rest[word] for word in words], np.int64)
    learned = train_merges(symbols, offsets, counts, n_symbols=len(characters), n_merges=n_pieces + len(taken),
                           names=list(characters), min_count=2)  # fmt: skip
    names = list(characters)
    for (left, right), result in zip(learned.pairs.tolist(), learned.results.tolist(), strict=True):
        if result == len(names):
            names.append(names[left] + names[right])
    rows = np.column_stack([learned.pairs, learned.results]).astype(np.int32)
    ids, ends = encode_words(symbols, offsets, rows)
    used = np.bincount(ids, weights=np.repeat(counts, np.diff(ends)), minlength=len(names))
    fresh = [i for i in range(len(characters), len(names)) if names[i] not in taken][:n_pieces]
    return {names[i]: int(used[i]) for i in fresh}


def _log_shares(
    characters: Sequence[str], morphemes: Sequence[str], pieces: Mapping[str, int], counts: Mapping[str, int]
) -> dict[str, float]:
    """Log shares of morphemes, pieces and single characters; a character that no analysis uses lies below all."""
    total = math.log(sum(counts.values()) + sum(pieces.values()) + 1)
    scores = {part: math.log(counts.get(part) or 0.5) - total for part in morphemes}
    scores |= {piece: math.log(n + 0.5) - total for piece, n in pieces.items()}
    least = min(scores.values(), default=-1.0) - 1.0
    return {char: math.log(counts[char]) - total if counts.get(char) else least for char in characters} | scores


def _calibrated(
    scores: Mapping[str, float], pieces: set[str], taken: Mapping[str, Segmentation], known: Mapping
) -> tuple[dict[str, float], float]:
    """Take from every score a cost a token, and from the fall-back pieces a further one, so that the model cuts as many
    of the analysed training words as analysed as it can; the least such costs are taken.

    Log shares alone would cut a rare root into two frequent affixes.
    """
    from tokenizers import models

    best, best_share = dict(scores), -1.0
    for cost in _COSTS:
        for further in _COSTS:
            tried = {entry: score - cost - further * (entry in pieces) for entry, score in scores.items()}
            model = models.Unigram([("<unk>", 0.0), *tried.items()], unk_id=0, byte_fallback=False)
            share = _kept_share(model, taken, known)
            if share > best_share + 1e-9:
                best, best_share = tried, share
    return best, best_share


def _kept_share(model: object, taken: Mapping[str, Segmentation], known: Mapping) -> float:
    """Share of the analysed words, by count, which the model cuts as analysed."""
    kept = total = 0
    for word, cut in taken.items():
        n = known[word][0]
        total += n
        kept += n * ([token.value for token in model.tokenize(word)] == list(cut))
    return kept / total


def _assembled(plan: Plan, spec: dict, scores: Mapping[str, float]) -> Vocab:
    """Special tokens, byte pieces, and the scored entries, as a vocabulary."""
    first = [token["content"] for token in plan.first]
    least = min(scores.values()) - 1.0
    table = [[entry, 0.0] for entry in first] + [[byte_piece(byte), least] for byte in range(256)]
    table += [[entry, score] for entry, score in scores.items()]
    unk = first.index(plan.spec["model"]["unk_token"])
    model = {**spec["model"], "vocab": table, "unk_id": unk}
    return finish(plan, model, n_entries=len(table), place={token: i for i, token in enumerate(first)})
