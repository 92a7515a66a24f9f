"""Train a Unigram tokenizer with the tokenizers library.

Its result is the same from run to run up to small differences of the scores (and so the order of pieces that score
alike): the library adds up in the order of hash tables with a random seed. It takes texts, not counts: a table of words
is handed to it as text that repeats each word, separators between.

Paper: Subword Regularization: Improving NMT Models with Multiple Subword Candidates (arXiv 1804.10959).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from threading import Thread

from tokenizers import Tokenizer, pre_tokenizers, trainers

from tokenry.core.alphabets import byte_piece
from tokenry.core.cutters import shell
from tokenry.core.pretokens import Pretokens
from tokenry.core.tables import texts
from tokenry.core.vocab import Vocab
from tokenry.tokenization.ensured import Ensured, Form, ensure_entries, settle
from tokenry.tokenization.plans import Plan
from tokenry.tokenization.training import counted, finish

_SEPARATOR = "\ufdd0"  # a noncharacter: no text holds it
_REPEATS = 4096
_MARGIN = 1e-3  # nats by which a guaranteed term beats its best cut


def train_unigram(
    plan: Plan,
    source: object,
    *,
    size: int,
    reading: dict,
    prepare: Callable[[Pretokens], Pretokens] | None = None,
    terms: Sequence[Form] = (),
    how: str = "merges",
) -> tuple[Vocab, Ensured]:
    """Learn the pieces of a Unigram plan.

    Args:
        plan: everything but the pieces.
        source: text, which the library cuts and counts itself; or `Pretokens`.
        size: entries in all.
        reading: `text`, `limit`, `skip_bad`; for a table also `cache` and `workers`.
        prepare: changes the table of words first (boundaries); the text is then counted by us.
        terms: words that shall be pieces; each gets a score just above its best cut. how: see `ensured`.

    Raises:
        ValueError: when the library fails, e.g. for want of text, or `size` is too small.
    """
    first = [token["content"] for token in plan.first]
    room = size - len(plan.last) - (256 if plan.bytes_first else 0)
    if room <= len(first):
        raise ValueError(f"size={size} holds nothing but special tokens and byte pieces. Ask for more.")
    if prepare is not None or isinstance(source, Pretokens) or {"cache", "workers"} & set(reading):
        pretokens = counted(source, plan.spec, reading)
        tokenizer, fed = shell({}, "Unigram"), _repeated(prepare(pretokens) if prepare else pretokens)
        tokenizer.pre_tokenizer = pre_tokenizers.Split(_SEPARATOR, "removed")
    else:
        tokenizer, fed = shell(plan.spec, "Unigram"), texts(source, **reading)
    pieces = _learned(tokenizer, fed, size=room, first=first, unk=plan.config.get("unk_token"))
    if plan.bytes_first:
        least = min(score for _, score in pieces)
        named = [byte_piece(byte) for byte in range(256)]
        rest = [piece for piece in pieces[len(first) :] if piece[0] not in set(named)]
        pieces = pieces[: len(first)] + [[name, least] for name in named] + rest
    pieces, ensured = _with_terms(
        pieces, terms, how, fixed=len(first) + 256 * plan.bytes_first, room=size - len(plan.last)
    )
    plan = replace(plan, last=[*plan.last, *ensured.added])
    place = {piece: i for i, (piece, _) in enumerate(pieces)}
    model = {**plan.spec["model"], "vocab": pieces, "unk_id": place.get(plan.config.get("unk_token"))}
    vocab = finish(plan, model, n_entries=len(pieces), place={token: place[token] for token in first})
    return vocab, ensured


def _learned(tokenizer: Tokenizer, fed: Iterator[str], *, size: int, first: list[str], unk: str | None) -> list:
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=first, unk_token=unk, show_progress=False)
    try:
        _aside(lambda: tokenizer.train_from_iterator(fed, trainer))
    except Exception as error:
        raise ValueError(f"the library could not train a Unigram tokenizer of {size} entries: {error}") from error
    return json.loads(tokenizer.to_str())["model"]["vocab"]


def _aside(work: Callable[[], object]) -> None:
    """Do work in a thread of its own, since the library, once it has the text, does not hear Ctrl-C."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
    if raised:
        raise raised[0]


def _repeated(pretokens: Pretokens) -> Iterator[str]:
    """Each word as often as it was counted, separators between."""
    for word, count in zip(pretokens.words, pretokens.total.tolist(), strict=True):
        for start in range(0, count, _REPEATS):
            yield (word + _SEPARATOR) * min(_REPEATS, count - start)


def _with_terms(pieces: list, terms: Sequence[Form], how: str, *, fixed: int, room: int) -> tuple[list, Ensured]:
    """Put terms among the pieces; without room, for the pieces that score least (characters stay)."""
    if not terms:
        return pieces, Ensured()
    kept = pieces[:fixed]
    free = sorted(pieces[fixed:], key=lambda piece: (len(piece[0]) > 1, -piece[1]))
    place = {piece: i for i, (piece, _) in enumerate(free)}
    n, ensured = settle(
        room - fixed,
        lambda n: ensure_entries(terms, how, known=lambda word: place.get(word, n) < n, longest=10**6),
    )
    scores = dict(map(tuple, free[:n]))
    least = min(scores.values(), default=-1.0)
    whole = {
        form.word for form in terms if form.word is not None and (form.word in scores or form.word in ensured.entries)
    }
    for word in sorted(whole, key=lambda word: (len(word), word)):
        best = _best_cut(word, scores)
        if best is None:
            scores.setdefault(word, least)
        elif scores.get(word, best - 1) < best + _MARGIN:
            scores[word] = best + _MARGIN
    return kept + sorted(
        ([word, score] for word, score in scores.items()), key=lambda piece: (-piece[1], piece[0])
    ), ensured


def _best_cut(word: str, scores: dict[str, float]) -> float | None:
    """Log-probability of the best way to spell a word by two pieces or more."""
    longest = max(map(len, scores), default=0)
    best: list[float | None] = [0.0] + [None] * len(word)
    for end in range(1, len(word) + 1):
        for start in range(max(0, end - longest), end):
            score = scores.get(word[start:end]) if end - start < len(word) else None
            if score is not None and best[start] is not None and (best[end] is None or best[start] + score > best[end]):
                best[end] = best[start] + score
    return best[-1]
