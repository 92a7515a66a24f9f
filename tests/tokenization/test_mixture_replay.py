"""Replaying merges: equal to counting anew after every merge, linear in the counts, kept and resumed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixture_worlds import counts_by_step, counts_from_scratch, planted, random_merges, random_words
from scipy import sparse

from tokenry.tokenization import mixture_replay
from tokenry.tokenization.mixture_replay import Trajectories, add_words, replay_merges


def _as_counters(trajectories, first_step=0):
    """Per step and word, {pair: count} without zeros."""
    events = trajectories.events.toarray().astype(int)
    pairs = [tuple(pair) for pair in trajectories.pairs.tolist()]
    out = []
    for step in range(first_step, len(trajectories.merges) + 1):
        known = trajectories.event_step <= step
        totals = np.zeros((len(pairs), events.shape[1]), int)
        np.add.at(totals, trajectories.event_pair[known], events[known])
        out.append([{pairs[p]: int(word[p]) for p in np.flatnonzero(word)} for word in totals.T])
    return out


def _same(a, b):
    equal = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in
                ("merges", "pairs", "merged_pair", "event_step", "event_pair"))  # fmt: skip
    return equal and a.events.shape == b.events.shape and (a.events != b.events).nnz == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(0, 12), st.data())
def test_counts_are_those_of_counting_anew_after_every_merge(seed, n_symbols, n_merges, data):
    rng = np.random.default_rng(seed)
    symbols, offsets = random_words(rng, n_symbols=n_symbols)
    merges = random_merges(rng, n_merges, n_symbols)
    first = data.draw(st.integers(0, len(merges)))
    trajectories = replay_merges(symbols, offsets, merges, first_step=first)
    history = counts_from_scratch(symbols, offsets, merges)
    assert _as_counters(trajectories, first) == [[dict(word) for word in step] for step in history[first:]]


def test_overlapping_runs_count_twice_and_merge_from_the_left():
    trajectories = replay_merges(np.zeros(5, np.int32), [0, 5], [(0, 0, 1)])
    assert _as_counters(trajectories) == [[{(0, 0): 4}], [{(1, 1): 1, (1, 0): 1}]]


def test_a_pair_listed_again_merges_what_arose_in_between_and_nothing_goes_back():
    # "abc": (b, c) comes first in the list, but a later merge that makes b again must wait for the pair's second turn.
    merges = [(1, 2, 3), (0, 0, 1), (1, 2, 3)]
    trajectories = replay_merges(np.array([0, 0, 2], np.int32), [0, 3], merges)
    assert _as_counters(trajectories)[2:] == [[{(1, 2): 1}], [{}]]
    once = replay_merges(np.array([0, 0, 2], np.int32), [0, 3], merges[:2])
    assert _as_counters(once)[2] == [{(1, 2): 1}]


def test_learned_merges_are_the_most_frequent_pairs_at_their_steps():
    symbols, offsets, counts_WC, merges = planted(5)
    trajectories = replay_merges(symbols, offsets, merges)
    table = counts_by_step(trajectories, counts_WC).sum(2)
    assert (trajectories.merged_pair >= 0).all()
    chosen = table[np.arange(len(merges)), trajectories.merged_pair]
    assert (chosen == table.max(1)).all()
    assert (chosen > 0).all()


def test_merges_learned_by_the_library_are_the_most_frequent_pairs(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    from tokenry.core.pretokens import count_pretokens
    from tokenry.core.tables import read
    from tokenry.core.vocab import Vocab
    from tokenry.data import demo_text
    from tokenry.tokenization.word_tables import model_spelling, spell

    texts = read(demo_text("fiction"), limit=60)["text"].to_pylist()
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False)
    model.train_from_iterator(texts, trainer)
    model.save(str(tmp_path / "tokenizer.json"))
    vocab = Vocab.open(tmp_path / "tokenizer.json")
    counted = count_pretokens(texts, vocab)
    spelling = model_spelling(vocab, "".join(sorted(set("".join(counted.words)))))
    symbols, offsets = spell(counted.words, spelling)
    trajectories = replay_merges(symbols, offsets, vocab.merges)
    table = counts_by_step(trajectories, counted.counts).sum(2)
    chosen = table[np.arange(len(vocab.merges)), trajectories.merged_pair]
    assert len(chosen) > 300
    assert (chosen == table.max(1)).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_changes_are_linear_in_the_counts(seed):
    rng = np.random.default_rng(seed)
    symbols, offsets = random_words(rng)
    trajectories = replay_merges(symbols, offsets, random_merges(rng, 6))
    one, two = rng.integers(0, 9, (2, len(offsets) - 1, 3))
    mixed = counts_by_step(trajectories, 2 * one + two)
    assert (mixed == 2 * counts_by_step(trajectories, one) + counts_by_step(trajectories, two)).all()
    assert (mixed == counts_by_step(trajectories, sparse.csr_matrix(2 * one + two))).all()


def test_adding_words_is_replaying_all_of_them(monkeypatch):
    rng = np.random.default_rng(3)
    symbols, offsets = random_words(rng, n_words=30)
    merges = random_merges(rng, 10)
    whole = replay_merges(symbols, offsets, merges, first_step=2)
    cut = offsets[12]
    some = replay_merges(symbols[:cut], offsets[:13], merges, first_step=2)
    assert _same(add_words(some, symbols[cut:], offsets[12:] - cut), whole)


def test_blocks_and_threads_change_nothing(monkeypatch):
    rng = np.random.default_rng(4)
    symbols, offsets = random_words(rng, n_words=60)
    merges = random_merges(rng, 10)
    whole = replay_merges(symbols, offsets, merges)
    monkeypatch.setattr(mixture_replay, "_BLOCK", 20)
    assert _same(replay_merges(symbols, offsets, merges, workers=3), whole)


def test_an_interrupted_replay_goes_on_where_it_stopped(monkeypatch, tmp_path):
    rng = np.random.default_rng(4)
    symbols, offsets = random_words(rng, n_words=60)
    merges = random_merges(rng, 10)
    monkeypatch.setattr(mixture_replay, "_BLOCK", 40)
    real, calls = mixture_replay._replay_block, []

    def breaks(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(mixture_replay, "_replay_block", breaks)
    with pytest.raises(KeyboardInterrupt):
        replay_merges(symbols, offsets, merges, folder=tmp_path)
    done = len(list(tmp_path.glob("part-*.npz")))
    assert done >= 3
    monkeypatch.setattr(mixture_replay, "_replay_block", lambda *args: (calls.append(1), real(*args))[1])
    calls.clear()
    resumed = replay_merges(symbols, offsets, merges, folder=tmp_path)
    assert len(calls) == len(list(tmp_path.glob("part-*.npz"))) - done
    assert _same(resumed, replay_merges(symbols, offsets, merges))
    with pytest.raises(ValueError, match="another replay"):
        replay_merges(symbols, offsets, merges[:-1], folder=tmp_path)


def test_a_saved_replay_is_read_back_and_a_damaged_one_refused(tmp_path):
    rng = np.random.default_rng(8)
    symbols, offsets = random_words(rng)
    trajectories = replay_merges(symbols, offsets, random_merges(rng, 6), first_step=1)
    trajectories.save(tmp_path / "replay")
    loaded = Trajectories.load(tmp_path / "replay")
    assert _same(loaded, trajectories)
    assert loaded.first_step == 1
    file = tmp_path / "replay" / "event_pair.npy"
    np.save(file, np.load(file) + 1000)
    with pytest.raises(ValueError, match="replay the merges again"):
        Trajectories.load(tmp_path / "replay")
    file.write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match="replay the merges again"):
        Trajectories.load(tmp_path / "replay")
    with pytest.raises(FileNotFoundError, match="a replay was saved"):
        Trajectories.load(tmp_path)


@pytest.mark.parametrize(
    ("symbols", "offsets", "merges", "said"),
    [
        ([0, 1], [0, 3], [(0, 1, 2)], "do not cut"),
        ([0, -1], [0, 2], [(0, 1, 2)], "need ids from 0"),
        ([0, 1], [0, 2], [(0, 1, 2**40)], "need ids from 0"),
        (np.zeros(20_000, int), [0, 20_000], [(0, 0, 1)], "Cut long words"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(symbols, offsets, merges, said):
    with pytest.raises(ValueError, match=said):
        replay_merges(np.array(symbols), np.array(offsets), np.array(merges))
