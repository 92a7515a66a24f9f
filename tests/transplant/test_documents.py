"""Splitting a stream of documents into parts that share nothing."""

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenry.transplant.documents import SHARES, general_texts, part_texts, size_of, split, take

TEXTS = [f"document {i} " + "word " * (i % 40 + 5) for i in range(400)]


def split_into(folder, texts, *, seed=0, caps=None):
    return split(texts, folder, seed=seed, caps=caps or {}, reading={})


def test_parts_share_no_document_and_together_are_everything(tmp_path):
    split_into(tmp_path, TEXTS)
    parts = [part_texts(tmp_path, name) for name in SHARES]
    assert sum(map(len, parts)) == len(TEXTS)
    assert set().union(*map(set, parts)) == set(TEXTS)


def test_equal_documents_fall_into_one_part_once(tmp_path):
    counts = split_into(tmp_path, TEXTS + TEXTS[:50])
    assert counts["all"]["documents"] == len(TEXTS)
    assert sum(counts[name]["documents"] for name in SHARES) == len(TEXTS)


def test_shares_of_bytes_are_kept(tmp_path):
    counts = split_into(tmp_path, TEXTS)
    largest = max(len(t) for t in TEXTS)
    for name, share in SHARES.items():
        assert abs(counts[name]["bytes"] - share * counts["all"]["bytes"]) <= 2 * largest


def test_the_order_of_the_input_has_no_say_and_the_seed_has(tmp_path):
    split_into(tmp_path / "a", TEXTS)
    split_into(tmp_path / "b", TEXTS[::-1])
    split_into(tmp_path / "c", TEXTS, seed=1)
    held = {name: part_texts(tmp_path / name, "heldout") for name in "abc"}
    assert held["a"] == held["b"]
    assert held["a"] != held["c"]


def test_a_cap_keeps_a_sample_that_does_not_depend_on_the_order(tmp_path):
    counts = split_into(tmp_path, TEXTS, caps={"heal": 3000})
    assert 0 < counts["heal"]["bytes"] <= 3000
    # A uniform sample comes from all over the input, not from its head.
    places = [TEXTS.index(text) for text in part_texts(tmp_path, "heal")]
    assert max(places) > 300
    assert min(places) < 100


@settings(max_examples=30)
@given(st.lists(st.text(min_size=1, max_size=30).filter(str.strip), min_size=8, max_size=40, unique=True))
def test_every_part_holds_something_however_few_the_documents(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("parts")
    counts = split_into(folder, texts)
    assert all(counts[name]["documents"] >= 1 for name in SHARES)
    assert sum(counts[name]["documents"] for name in SHARES) == len(texts)


def test_one_document_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(ValueError, match=r"1 different document.*need at least 8.*[Cc]ut the text"):
        split_into(tmp_path, ["one long document " * 1000])


def test_source_and_id_are_kept(tmp_path):
    rows = [{"id": f"d{i}", "text": text, "source": f"s{i % 3}"} for i, text in enumerate(TEXTS)]
    split_into(tmp_path, rows)
    table = pq.read_table(tmp_path / "compose.parquet").to_pylist()
    assert all(rows[int(row["id"][1:])] == row for row in table)


def test_general_text_to_score_and_to_replay_share_no_document():
    scored, replayed = general_texts(TEXTS, 4000, 6000, seed=0)
    assert not set(scored) & set(replayed)
    assert 3500 < size_of(scored) <= 4000
    assert size_of(replayed) <= 6000


def test_a_small_general_text_is_replayed_in_rounds():
    _, replayed = general_texts(TEXTS[:20], 10**6, 50_000, seed=0)
    assert size_of(replayed) > 49_000
    assert len(set(replayed)) < 20


def test_without_replay_all_general_text_may_be_scored():
    scored, replayed = general_texts(TEXTS[:20], 10**6, 0, seed=0)
    assert sorted(scored) == sorted(TEXTS[:20])
    assert replayed == []


def test_one_general_document_cannot_be_both():
    with pytest.raises(ValueError, match="need one of each"):
        general_texts(TEXTS[:1], 1000, 1000, seed=0)


def test_taking_a_prefix_keeps_to_the_bound_and_never_returns_nothing():
    assert take(["ab", "cd", "ef"], 4) == ["ab", "cd"]
    assert "".join(take(["a " * 500], 100)).strip() == ("a " * 50).strip()
    assert take(["xyz " * 10], 3)
