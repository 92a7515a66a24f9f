"""Less-is-Better: learn a lexicon that needs few tokens and few types, by reading, memorising and forgetting.

No pre-tokeniser decides what a unit is: an entry may be part of a word, a word, or several words. The learner reads a
document greedily, proposes what stands side by side, moves an entry up when the text needs it and down when smaller
entries read the same text as well, and forgets what does not pay.

Paper: Rethinking Tokenization: Crafting Better Tokenizers for Large Language Models (arXiv 2403.00417).
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from tokenry.core.vocab import Vocab
from tokenry.tokenization.least_effort_documents import GAP, GAPS, Documents, Rules
from tokenry.tokenization.least_effort_lexicon import DECODINGS, Lexicon, least_effort_spec, sentences, to_vocab

# Axes: E entries by priority, L symbols of the longest entry or frame, M nodes of the index, K slots of its edges.

_SAVE_EVERY = 1000
_FORMAT = 2
_STATE = ("symbols", "lengths", "lives", "frames", "random", "epoch", "signature")


class Learner:
    """The learner and its memory. Same documents, rules and seed: same lexicon, however often it was interrupted.

    Args:
        documents: what it reads, one document an epoch, drawn with replacement.
        rules: see `Rules`.
        seed: of all that is drawn.

    It starts with the characters of the first ten documents, on probation. An entry is its place: 0 is the head.
    """

    def __init__(self, documents: Documents, *, rules: Rules | None = None, seed: int = 0) -> None:
        self.documents, self.rules, self.seed = documents, rules or Rules(), seed
        self.epoch = 0
        self._random = np.array([seed % 2**64], np.uint64)
        first = documents.symbols[: documents.ends[documents.starts[min(10, len(documents))]]]
        characters = int(first.max()) + 1  # symbols are numbered by first appearance
        self._symbols_EL = np.zeros((characters, self._width), np.int32)
        self._symbols_EL[:, 0] = np.arange(characters)
        self._length_E = np.ones(characters, np.int32)
        self._frame_E = np.full(characters, -1, np.int32)
        self._life_E = np.full(characters, self.rules.life, np.int32)
        self._sizes = np.array([characters, 1], np.int64)
        self._reindex()

    @property
    def n_entries(self) -> int:
        """Entries of the lexicon now, frames included."""
        return int(self._sizes[0])

    @property
    def _width(self) -> int:
        """Symbols of the longest entry; a frame is two chunks and two gap symbols."""
        return self.rules.max_length if self.rules.gaps == "off" else 2 * self.rules.max_length + 2

    def run(self, epochs: int) -> None:
        """Read so many documents more."""
        for _ in range(epochs):
            self.step()

    def step(self) -> tuple[int, int]:
        """One epoch: read a document, move entries, forget. Returns its known chunks and unknown characters."""
        from tokenry.tokenization.least_effort_kernels import read_document, uniform

        data, ends = self.documents.document(int(uniform(self._random) * len(self.documents)))
        rules = self.rules
        self._make_room(len(data))
        space = self.documents.alphabet.index(" ") if not rules.across_words and " " in self.documents.alphabet else -1
        slots, mode = 1 << max(4, (2 * len(data)).bit_length()), GAPS.index(rules.gaps)
        seen, seen_frames = np.zeros((slots, 2), np.int64), np.zeros((slots if mode else 1, 5), np.int64)
        counts = read_document(
            data, ends, self._keys_K, self._children_K, self._entry_M, self._symbols_EL, self._length_E, self._life_E,
            self._node_E, self._move_E, self._first_E, self._frame_E, self._frames_M, self._sizes, self._random, seen,
            seen_frames, np.array([rules.max_length, rules.max_gap, space, mode, rules.longest_filler], np.int64),
            rules.memory_in,
        )  # fmt: skip
        self._settle()
        self.epoch += 1
        return counts

    def lexicon(self) -> Lexicon:
        """The lexicon as it is now."""
        is_frame_E = self._first_E[: self.n_entries] >= 0
        frames = tuple(self._halves(e) for e in np.flatnonzero(is_frame_E).tolist())
        return Lexicon(tuple(self._spelled(self._row(e)) for e in np.flatnonzero(~is_frame_E).tolist()), frames)

    def _row(self, entry: int) -> list[int]:
        return self._symbols_EL[entry, : self._length_E[entry]].tolist()

    def _spelled(self, symbols: list[int]) -> str:
        return "".join(self.documents.alphabet[s] for s in symbols)

    def _halves(self, frame: int) -> tuple[str, str]:
        row = self._row(frame)
        second = row.index(GAP, 1)
        return self._spelled(row[1:second]), self._spelled(row[second + 1 :])

    def _settle(self) -> None:
        """Move all entries at once, delete those moved past the end, and let probation take its course."""
        n, rules = self.n_entries, self.rules
        filler = np.flatnonzero(self._frame_E[:n] >= 0)
        np.add.at(self._move_E, self._frame_E[filler], self._move_E[filler])  # a frame moves with what it taught
        order, kept = settled(self._move_E[:n], update_rate=rules.update_rate)
        life = self._life_E[:n].copy()
        on = life > 0
        life[on] -= 1
        kept &= ~(on & (life <= 1))
        order = order[kept[order]]
        m = len(order)
        tail = np.arange(min(m - 1, int((1 - rules.memory_out) * m)), m) if m else order
        for name in ("_symbols_EL", "_length_E", "_node_E", "_first_E", "_frame_E"):
            array = getattr(self, name)
            array[:m] = array[order]
        self._settle_frames(order, n)
        gone = np.flatnonzero(~kept)
        dead_nodes = self._entry_M[: self._sizes[1]] >= 0
        self._life_E[:m] = life[order]
        self._life_E[tail[self._life_E[tail] == 0]] = rules.life
        self._move_E[:n] = 0
        self._sizes[0] = m
        self._entry_M[: self._sizes[1]][dead_nodes] = -1
        self._entry_M[self._node_E[:m]] = np.arange(m, dtype=np.int32)
        self._forgotten += len(gone)
        if self._forgotten > max(1000, m):
            self._reindex()

    def _settle_frames(self, order: np.ndarray, n_before: int) -> None:
        """Fillers follow their frame to its new place, or lose it; nodes are told how many frames begin there."""
        m = len(order)
        place = np.full(n_before + 1, -1, np.int32)  # the last cell is what -1 reads
        place[order] = np.arange(m, dtype=np.int32)
        self._frame_E[:m] = place[self._frame_E[:m]]
        self._frames_M[: self._sizes[1]] = 0
        first = self._first_E[:m]
        np.add.at(self._frames_M, first[first >= 0], 1)

    def _reindex(self) -> None:
        """Build the trie anew, without the branches of what was forgotten."""
        n = self.n_entries
        n_nodes = 1 + int(self._length_E[:n].sum())
        self._keys_K = np.empty(1 << (2 * n_nodes).bit_length(), np.int64)
        self._children_K = np.empty(len(self._keys_K), np.int32)
        self._entry_M, self._frames_M = np.full(n_nodes, -1, np.int32), np.zeros(n_nodes, np.int32)
        self._node_E, self._first_E = np.zeros((2, len(self._length_E)), np.int32)
        self._move_E = np.zeros(len(self._length_E), np.int64)
        self._index()
        self._forgotten = 0

    def _index(self) -> None:
        from tokenry.tokenization.least_effort_kernels import index_all

        index_all(self._keys_K, self._children_K, self._entry_M, self._symbols_EL, self._length_E, self._node_E,
                  self._first_E, self._frames_M, self._sizes)  # fmt: skip

    def _make_room(self, n_symbols: int) -> None:
        """Room for what a document of so many symbols can add: an entry for every second symbol at most.

        With gaps also a frame for every second chunk, and an entry for every chunk and start of a sentence.
        """
        n, more = self.n_entries, n_symbols // 2 + 1 if self.rules.gaps == "off" else 3 * n_symbols + 2
        for name in ("_symbols_EL", "_length_E", "_life_E", "_node_E", "_move_E", "_first_E", "_frame_E"):
            array = getattr(self, name)
            if len(array) < n + more:
                setattr(self, name, _grown(array, 2 * (n + more)))
        nodes = int(self._sizes[1]) + more * self._width
        if len(self._entry_M) < nodes:
            self._entry_M, self._frames_M = _grown(self._entry_M, 2 * nodes), _grown(self._frames_M, 2 * nodes)
        if len(self._keys_K) < 2 * nodes:
            self._keys_K = np.empty(1 << (4 * nodes).bit_length(), np.int64)
            self._children_K = np.empty(len(self._keys_K), np.int32)
            self._index()

    def save(self, path: str | Path) -> None:
        """Write the state, so that `load` goes on from it (numpy's .npz, no pickle)."""
        from tokenry.core.runs import atomic_path

        n = self.n_entries
        with atomic_path(path) as part, part.open("wb") as file:
            np.savez(
                file, symbols=self._symbols_EL[:n], lengths=self._length_E[:n], lives=self._life_E[:n],
                frames=self._frame_E[:n], random=self._random, epoch=np.int64(self.epoch),
                signature=np.frombuffer(self._signature(), np.uint8),
            )  # fmt: skip

    def load(self, path: str | Path) -> None:
        """Take over a state written by `save`.

        Raises:
            ValueError: a state of another text, other rules or another seed, or no state at all.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                state = {name: file[name] for name in _STATE}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a state of this learner ({error}). Give a new file to write.") from None
        if state["signature"].tobytes() != self._signature():
            raise ValueError(
                f"{path} is the state of another run (other text, rules or seed). Use the same ones, or a new file."
            )
        if not self._is_sound(state):
            raise ValueError(f"{path} is damaged: its entries do not fit this learner. Give a new file to write.")
        self._symbols_EL, self._length_E = state["symbols"], state["lengths"]
        self._life_E, self._frame_E = state["lives"], state["frames"]
        self._random, self.epoch = state["random"], int(state["epoch"])
        self._sizes = np.array([len(self._length_E), 1], np.int64)
        self._reindex()

    def _is_sound(self, state: dict[str, np.ndarray]) -> bool:
        """Whether the arrays of a state may be given to compiled loops, which check nothing."""
        symbols, lengths, lives, frames, random = (state[name] for name in _STATE[:5])
        n, longest = len(lengths), self.rules.max_length
        shapes = symbols.shape == (n, self._width) and random.shape == (1,)
        shapes &= lengths.shape == lives.shape == frames.shape == (n,)
        types = symbols.dtype == lengths.dtype == lives.dtype == frames.dtype == np.int32 and random.dtype == np.uint64
        if not (shapes and types) or n == 0:
            return shapes and types
        if lengths.min() < 1 or lengths.max() > self._width or lives.min() < 0:
            return False
        inside_EL = np.arange(self._width) < lengths[:, None]  # what lies behind an entry is what lay there before
        is_gap_EL = (symbols == GAP) & inside_EL
        is_frame_E = symbols[:, 0] == GAP
        is_character_EL = (symbols >= 0) & (symbols < len(self.documents.alphabet))
        known = bool((is_gap_EL | is_character_EL | ~inside_EL).all())
        second_E = np.where(is_frame_E, self._width - 1 - is_gap_EL[:, ::-1].argmax(1), 0)
        formed_E = np.where(is_frame_E, second_E > 0, True) & (is_gap_EL.sum(1) == 2 * is_frame_E)
        formed_E &= np.where(is_frame_E, np.maximum(second_E, lengths - second_E) <= longest + 1, lengths <= longest)
        told = frames[frames >= 0]
        known &= bool((frames >= -1).all() and (told < n).all())
        return known and bool(formed_E.all() and is_frame_E[told].all())

    def _signature(self) -> bytes:
        documents = self.documents
        digest = hashlib.blake2b("".join(documents.alphabet).encode("utf-8", "surrogatepass"), digest_size=16)
        for array in (documents.symbols, documents.ends, documents.starts):
            digest.update(array.tobytes())
        return json.dumps([_FORMAT, self.seed, asdict(self.rules), digest.hexdigest()]).encode()


def settled(moves_E: np.ndarray, *, update_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """The moves of an epoch, all at once: an entry at place i goes to i -+ (floor(update_rate i) + 1) for each sign.

    An entry with several signs of one kind left over is moved so often, each time from where it came to; above the head
    a promotion counts one place. Where several want one place, those that rise stand before the one that stays, those
    that sink behind it; among equals the old order holds.

    Returns:
        order: int64 (E,), the entries in their new order. kept: bool (E,), False where moved past the end.
    """
    from tokenry.tokenization.least_effort_kernels import wanted_places

    wanted_E = wanted_places(np.ascontiguousarray(moves_E, np.int64), update_rate)
    return np.lexsort((np.arange(len(moves_E)), np.sign(moves_E), wanted_E)), wanted_E < len(moves_E)


def train_least_effort(
    source: object,
    *,
    size: int,
    seed: int = 0,
    epochs: int = 5000,
    gaps: str | None = None,
    keep_spaces: bool = True,
    rules: Rules | None = None,
    decoding: str = "greedy",
    specials: Mapping[str, str] | None = None,
    resume: str | Path | None = None,
    **reading: object,
) -> Vocab:
    """Learn a Less-is-Better lexicon and make a tokenizer of its best entries.

    Args:
        source: documents, as `core.tables.stream` takes them; running text, since the learner reads in order.
        size: entries in all: special tokens, the 256 bytes and the characters of the text, which are never dropped,
            and the lexicon's entries by priority.
        seed: of the learner.
        epochs: documents of about 200 sentences that are read.
        gaps: whether frames around a gap are learned too, one of `GAPS`; None for what `rules` say. Frames teach
            entries and are none: a token is a run of characters, so the tokenizer holds none of them.
        keep_spaces: the space is a character like any other; without it the tokenizer removes all spaces, as the
            original did, and a text does not come back.
        rules: the rest of `Rules`.
        decoding: how the tokenizer cuts: "greedy" (longest match, the paper's) or "fewest" (fewest tokens, among
            equals those of higher priority).
        specials: role -> special token; default <s> </s> <pad> <unk>.
        resume: file for the learner's state, written every 1,000 epochs, on Ctrl-C and at the end; where it exists the
            run goes on from it.
        reading: `text`, `limit`, `skip_bad` of `core.tables.texts`.

    Returns:
        The vocabulary; smaller than `size` where less was learned.

    Raises:
        ValueError: no text, a size that does not hold special tokens, bytes and characters, a state of another run.

    Paper: Rethinking Tokenization: Crafting Better Tokenizers for Large Language Models (arXiv 2403.00417).
    """
    from tokenry.core.pretokens import Pretokens
    from tokenry.core.tables import texts

    unknown = sorted(key for key, value in reading.items() if key not in ("text", "limit", "skip_bad") and value)
    reading = {key: value for key, value in reading.items() if key in ("text", "limit", "skip_bad")}
    if unknown or isinstance(source, Pretokens):
        raise ValueError(f"Less-is-Better reads running text in order; {unknown or 'a table of words'} cannot be used.")
    if decoding not in DECODINGS:
        raise ValueError(f"decoding={decoding!r}; need {' or '.join(DECODINGS)}. Take greedy for the paper's way.")
    rules = rules or Rules()
    rules = rules if gaps is None else replace(rules, gaps=gaps)
    spec = least_effort_spec(keep_spaces=keep_spaces)
    documents = Documents.of(sentences(texts(source, **reading), spec), per_document=rules.sentences)
    learner = Learner(documents, rules=rules, seed=seed)
    _run_with_state(learner, epochs, Path(resume) if resume else None)
    return to_vocab(
        learner.lexicon(), spec, size=size, decoding=decoding, specials=specials, characters=_frequent(documents)
    )


def _run_with_state(learner: Learner, epochs: int, state: Path | None) -> None:
    from tokenry.core.runs import Progress

    if state is not None and state.exists():
        learner.load(state)
    try:
        with Progress("learning a lexicon", epochs, "epochs", start=learner.epoch) as progress:
            while learner.epoch < epochs:
                learner.step()
                progress.add(1, note=f"{learner.n_entries:,} entries")
                if state is not None and learner.epoch % _SAVE_EVERY == 0:
                    learner.save(state)
    finally:
        if state is not None:
            learner.save(state)


def _frequent(documents: Documents) -> list[str]:
    """The characters that cover the text as the other trainers' alphabets do, most frequent first."""
    from tokenry.tokenization.word_tables import covering

    seen = np.bincount(documents.symbols, minlength=len(documents.alphabet))
    return [documents.alphabet[s] for s in covering(seen).tolist()]


def _grown(array: np.ndarray, size: int) -> np.ndarray:
    grown = np.zeros((size, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
