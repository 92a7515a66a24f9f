"""One problem: units, fewer merges, and a replay that is kept."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trained_vocabularies import fiction, script_lines, small

from tokenry.tokenization import mixture_replay
from tokenry.tokenization.mixture_counts import count_categories
from tokenry.tokenization.mixture_evidence import gather_evidence, solve, to_bytes, to_pairs

SHARES = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(lambda x: np.array(x) / sum(x))
SIZES = st.lists(st.integers(1, 10**9), min_size=3, max_size=3).map(np.array)


@given(SHARES, SIZES, SIZES)
def test_units_convert_there_and_back(shares, n_bytes, n_pairs):
    there = to_bytes(shares, n_bytes, n_pairs)
    assert there.sum() == pytest.approx(1)
    assert to_pairs(there, n_bytes, n_pairs) == pytest.approx(shares)


def test_a_share_of_pairs_is_worth_its_bytes():
    """Closed form: equal pairs at 1 and 3 bytes a pair are 1/4 and 3/4 of the bytes."""
    assert to_bytes(np.array([0.5, 0.5]), np.array([100, 300]), np.array([100, 100])).tolist() == [0.25, 0.75]


def test_the_first_merges_are_those_of_a_shorter_replay():
    vocab = small()
    categories = count_categories({"a": fiction(), "b": script_lines()}, vocab)
    whole = gather_evidence(vocab, categories, vocab.merges).first(120)
    short = gather_evidence(vocab, categories, vocab.merges[:120])

    def totals(evidence):
        steps = evidence.trajectories
        changes = steps.events @ evidence.counts
        rows = [(int(t), *steps.pairs[p].tolist()) for t, p in zip(steps.event_step, steps.event_pair, strict=True)]
        return {row: change.tolist() for row, change in zip(rows, changes.toarray(), strict=True)}

    assert totals(whole) == totals(short)
    assert solve(whole).pairs_share == pytest.approx(solve(short).pairs_share, abs=1e-9)


def test_a_kept_replay_serves_more_categories_without_replaying(tmp_path, monkeypatch):
    vocab = small()
    a = count_categories({"a": fiction()[:200]}, vocab)
    both = count_categories({"a": fiction()[:200], "b": script_lines()}, vocab)
    gather_evidence(vocab, a, vocab.merges, folder=tmp_path)
    replayed = []
    real = mixture_replay.replay_merges

    def watched(symbols, offsets, merges, **options):
        replayed.append(len(offsets) - 1)
        return real(symbols, offsets, merges, **options)

    monkeypatch.setattr(mixture_replay, "replay_merges", watched)
    kept = gather_evidence(vocab, both, vocab.merges, folder=tmp_path)
    again = gather_evidence(vocab, both, vocab.merges, folder=tmp_path)
    assert replayed == [len(both.words) - len(a.words)]
    monkeypatch.undo()
    fresh = gather_evidence(vocab, both, vocab.merges)
    for evidence in (kept, again):
        assert evidence.pairs_n.tolist() == fresh.pairs_n.tolist()
        assert solve(evidence).objective == pytest.approx(solve(fresh).objective, rel=1e-2)
    with pytest.raises(ValueError, match="'c' holds no two neighbouring symbols"):
        gather_evidence(vocab, count_categories({"a": fiction(20), "c": ["1 2 3"]}, vocab), vocab.merges)


def test_an_interrupted_replay_goes_on_where_it_stopped(tmp_path, monkeypatch):
    vocab = small()
    categories = count_categories({"a": fiction()[:200], "b": script_lines()}, vocab)
    whole = gather_evidence(vocab, categories, vocab.merges)
    monkeypatch.setattr(mixture_replay, "_BLOCK", 2_000)
    real, done = mixture_replay._replay_block, []

    def stopped(*arguments):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return real(*arguments)

    monkeypatch.setattr(mixture_replay, "_replay_block", stopped)
    with pytest.raises(KeyboardInterrupt):
        gather_evidence(vocab, categories, vocab.merges, folder=tmp_path)
    assert [len(list(path.glob("*.npz"))) for path in tmp_path.iterdir()] == [2]

    monkeypatch.setattr(mixture_replay, "_replay_block", lambda *arguments: (done.append(1), real(*arguments))[1])
    other = gather_evidence(vocab, count_categories({"a": fiction()[:200]}, vocab), vocab.merges, folder=tmp_path / "x")
    assert other.pairs_n.shape == (1,)
    done.clear()
    again = gather_evidence(vocab, categories, vocab.merges, folder=tmp_path)
    n_blocks = len(mixture_replay._blocks(again.spelled.offsets))
    assert n_blocks > 4
    assert len(done) == n_blocks - 2
    assert (again.trajectories.events != whole.trajectories.events).nnz == 0
    assert sorted(path.name[:12] for path in tmp_path.iterdir() if path.name != "x") == ["trajectories"]


def test_the_solver_s_banner_stays_out_of_the_json():
    """HiGHS prints its name once a process, past Python and before any option can be set: only a process shows it."""
    code = "from tokenry.tokenization.mixture_evidence import silence_solver as s; s(); import highspy; highspy.Highs()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b""
