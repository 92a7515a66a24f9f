"""Lists: phrases are found where they stand, domains are put into their categories, wrong files are named."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from signal_worlds import PIECES, batch_of, scored

from tokenry.corpora.families import Material, Settings
from tokenry.corpora.signals import families_of, score_batch
from tokenry.corpora.word_lists import ENGLISH_STOP_WORDS, Domains, Phrases, host_of, normalise, read_list

WORDS = st.lists(st.one_of(st.sampled_from(["bad", "Bad,", "word", "s&m", "tût", "\n"]), PIECES), max_size=30)


@given(WORDS)
def test_words_and_phrases_are_found_where_a_plain_search_finds_them(words):
    text = " ".join(words)
    entries = ["bad", "Bad Word", "s&m", "tût"]
    material = Material(Settings(bad_words="given"))
    material.bad_phrases = Phrases.of(entries)
    made = score_batch(batch_of([text]), families_of("toxicity"), material=material)
    plain, wanted = normalise(text).split(), {normalise(entry) for entry in entries}
    hits = [
        (i, n)
        for i in range(len(plain))
        for n in (1, 2)
        if " ".join(plain[i : i + n]) in wanted and i + n <= len(plain)
    ]
    assert made.column("toxicity.words").to_pylist() == [len(hits)]
    spans = made.column("toxicity.spans").to_pylist()[0]
    assert [normalise(text[span["start"] : span["end"]]) for span in spans] == [
        " ".join(plain[i : i + n]) for i, n in hits
    ]


def test_stop_words_are_counted_in_any_case_and_other_lists_are_taken():
    assert {"the", "of", "and"} <= set(ENGLISH_STOP_WORDS.split())
    found = scored(["The cat and THE dog.", "zzz", ""], "stop_words")
    assert found["stop_words.share"] == [3 / 5, 0.0, None]
    assert found["stop_words.different"] == [2, 0, 0]


def test_domains_are_put_into_their_categories(tmp_path):
    (tmp_path / "adult").mkdir()
    (tmp_path / "adult" / "domains").write_text("bad.example\nboth.example\n")
    (tmp_path / "games.txt").write_text("both.example\n\n")
    batch = batch_of(["a", "b", "c"]).append_column(
        "link", pa.array(["http://me@Bad.example:8/x", "both.example", None])
    )
    material = Material(Settings(domains=str(tmp_path), url="link"))
    made = score_batch(batch, families_of("domain"), material=material)
    assert made.column("domain.host").to_pylist() == ["bad.example", "both.example", None]
    assert made.column("domain.categories").to_pylist() == ["adult", "adult,games", ""]
    assert made.column("domain.n_categories").to_pylist() == [1, 2, 0]
    with pytest.raises(ValueError, match=r"read from the column 'url'.*link"):
        score_batch(batch, families_of("domain"), material=Material(Settings(domains=str(tmp_path))))


def test_hosts_are_read_from_addresses_and_bare_domains():
    addresses = ["https://A.example./x", "a.example", "//a.example", "a.example/x?y", "http://[::1", "", None, "a b"]
    assert [host_of(one) for one in addresses][:4] == ["a.example"] * 4
    assert host_of("http://[::1") is None
    assert host_of("") is host_of(None) is None


def test_wrong_lists_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no list"):
        read_list(tmp_path / "no.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(ValueError, match=r"no text in UTF-8.*iconv"):
        read_list(tmp_path / "latin.txt")
    with pytest.raises(FileNotFoundError, match="no lists of domains"):
        Domains.read(tmp_path / "nowhere")
    (tmp_path / "ok.txt").write_text("\ufeffone\r\n\n two \n", encoding="utf-8")
    assert read_list(tmp_path / "ok.txt") == ["one", "two"]
    assert len(Phrases.of([]).hashes) == 0
    assert np.diff(Phrases.of([]).find(_words("a b"))[2]).tolist() == [0]


def _words(text):
    from tokenry.corpora.prepared import Prepared

    return Prepared(pa.array([text])).folded
