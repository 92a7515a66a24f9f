"""A training that was cut off goes on where it stood: the merges are those of one run, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from merge_oracle import table_of

from tokenry.tokenization import resuming
from tokenry.tokenization.merges import Rules, learn_merges, word_marks
from tokenry.tokenization.resuming import STATE, train_resumable

WORDS = st.dictionaries(st.text("aab", min_size=1, max_size=14), st.integers(1, 4), min_size=1, max_size=8)
MORE_WORDS = st.dictionaries(st.text("abc ", min_size=1, max_size=20), st.integers(1, 4), min_size=1, max_size=10)


def _same(one, other) -> None:
    for left, right in ((one.pairs, other.pairs), (one.results, other.results), (one.counts, other.counts)):
        np.testing.assert_array_equal(left, right)


@settings(max_examples=25)
@given(
    words=WORDS | MORE_WORDS, every=st.integers(1, 5), n=st.integers(0, 25), more=st.integers(0, 9),
    names=st.sampled_from([(), ("ab",), ("aba", "aa")]), words_most=st.integers(0, 2),
)  # fmt: skip
def test_stages_give_the_merges_of_one_run(words, every, n, more, names, words_most, tmp_path_factory):
    folder = tmp_path_factory.mktemp("state")
    names = [*names, *(c for c in sorted(set("".join(words))) if c not in names)]
    table, marks = table_of(words, names), word_marks([name.encode() for name in names])
    first = Rules(names, n, max_words=words_most, marks=marks, lengths=np.array([len(name) for name in names]))
    longer = Rules(names, n + more, max_words=words_most, marks=marks, lengths=first.lengths)
    _same(train_resumable(*table, rules=first, folder=folder, every=every), learn_merges(*table, rules=first))
    _same(train_resumable(*table, rules=longer, folder=folder, every=every), learn_merges(*table, rules=longer))
    _same(train_resumable(*table, rules=first, folder=folder, every=every), learn_merges(*table, rules=first))


def _random_table() -> tuple[tuple, list[str]]:
    rng = np.random.default_rng(0)
    words = {"".join(rng.choice(list("abcdefg"), rng.integers(2, 12))): int(rng.integers(1, 50)) for _ in range(3000)}
    names = sorted(set("".join(words)))
    return table_of(words, names), names


def test_a_run_that_was_killed_goes_on_from_its_last_state(tmp_path, monkeypatch):
    table, names = _random_table()
    rules, saved, whole = Rules(names, 400), [], resuming._save

    def save_twice_and_die(*arguments):
        whole(*arguments)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(resuming, "_save", save_twice_and_die)
    with pytest.raises(KeyboardInterrupt):
        train_resumable(*table, rules=rules, folder=tmp_path, every=100)
    assert len(saved) == 2
    resumed = train_resumable(*table, rules=rules, folder=tmp_path, every=100)
    assert len(saved) == 4  # two of the four stages were not learned again
    _same(resumed, learn_merges(*table, rules=rules))


def test_another_table_or_rule_is_refused_and_a_broken_state_named(tmp_path):
    table, names = _random_table()
    train_resumable(*table, rules=Rules(names, 20), folder=tmp_path)
    for other in (Rules(names, 20, min_count=3), Rules([*names[:-1], "x"], 20), Rules(names, 20, max_length=4)):
        with pytest.raises(ValueError, match="another training"):
            train_resumable(*table, rules=other, folder=tmp_path)
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:100])
    with pytest.raises(ValueError, match="not a state"):
        train_resumable(*table, rules=Rules(names, 20), folder=tmp_path)


def test_guarded_trainings_are_not_resumable():
    table, names = _random_table()
    with pytest.raises(ValueError, match="one go"):
        train_resumable(*table, rules=Rules(names, 5, guard=(np.zeros(len(table[2])), 1)), folder="nowhere")
