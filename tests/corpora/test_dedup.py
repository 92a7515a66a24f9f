"""Duplicates are found as often as the theory says, named after the one that is kept, and nothing else is."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.cli import app
from tokenry.core.hashing import MinHash, shingle_hashes
from tokenry.corpora import minhash_kernels
from tokenry.corpora.dedup import Settings, dedup, hashes, normalised_url
from tokenry.corpora.dedup_clusters import catch_probability
from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.units import Reading

ENGINE = EmbeddedEngine(workers=1)
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "nrstlm"]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def found(result, method="minhash"):
    rows = [row for part in result.decisions.parts for row in pq.read_table(part).to_pylist()]
    return {row["id"]: row[f"dedup.{method}.duplicate_of"] for row in rows}


def planted(rng, n_pairs, share_changed, n_words=200):
    """Pairs of texts that differ in some words each, and their true Jaccard similarity of runs of five words."""
    rows, similarities = [], []
    for pair in range(n_pairs):
        words = rng.choice(WORDS, n_words)
        other = words.copy()
        changed = rng.choice(n_words, round(share_changed * n_words), replace=False)
        other[changed] = [f"x{pair}y{place}" for place in changed]
        runs = [{tuple(text[place : place + 5]) for place in range(n_words - 4)} for text in (words, other)]
        similarities.append(len(runs[0] & runs[1]) / len(runs[0] | runs[1]))
        rows += [{"id": f"{pair}a", "text": " ".join(words)}, {"id": f"{pair}b", "text": " ".join(other)}]
    return rows, np.array(similarities)


def test_signatures_are_those_of_core_hashing():
    rng = np.random.default_rng(0)
    texts = [list(rng.choice(WORDS, n)) for n in (0, 1, 3, 5, 40)]
    minhash = MinHash(24, seed=3)
    expected = [minhash.signature(shingle_hashes(words, width=5)) for words in texts]
    from tokenry.core.hashing import stable_hash

    flat = np.array([stable_hash(word) for words in texts for word in words], np.uint64)
    offsets = np.concatenate([[0], np.cumsum([len(words) for words in texts])])
    made = minhash_kernels.signatures(flat, offsets, 5, *minhash.multipliers)
    assert (made == np.array(expected)).all()


@pytest.mark.parametrize("share_changed", [0.02, 0.045, 0.08])
def test_pairs_are_caught_as_often_as_their_similarity_says(tmp_path, share_changed):
    rng = np.random.default_rng(round(1000 * share_changed))
    rows, similarity = planted(rng, 300, share_changed)
    result = dedup(write(tmp_path / "d.jsonl", rows), tmp_path / "out", engine=ENGINE)
    duplicates = found(result)
    caught = np.array([duplicates[f"{pair}b"] == f"{pair}a" for pair in range(300)])
    chances = catch_probability(similarity, bands=14, rows=8)
    # The sum of independent draws with these chances: four of its standard deviations, and one pair for rounding.
    bound = 4 * np.sqrt((chances * (1 - chances)).sum()) + 1
    assert abs(caught.sum() - chances.sum()) <= bound
    strangers = [name for name, kept in duplicates.items() if kept is not None and kept[:-1] != name[:-1]]
    assert strangers == []
    assert not any(duplicates[f"{pair}a"] for pair in range(300))


def test_the_published_bands_have_their_published_chances():
    assert catch_probability(0.8, bands=14, rows=8) == pytest.approx(0.924, abs=5e-4)
    assert catch_probability(0.7, bands=14, rows=8) == pytest.approx(0.565, abs=5e-4)
    assert catch_probability(0.8, bands=9, rows=13) == pytest.approx(0.399, abs=5e-4)
    assert catch_probability(0.8, bands=20, rows=13) == pytest.approx(0.677, abs=5e-4)


def test_checking_drops_pairs_that_met_by_chance(tmp_path):
    rows, similarity = planted(np.random.default_rng(5), 200, 0.08)
    docs = write(tmp_path / "d.jsonl", rows)
    loose = Settings(bands=56, rows=2)
    all_pairs = found(dedup(docs, tmp_path / "a", settings=loose, engine=ENGINE))
    checked = found(dedup(docs, tmp_path / "b", settings=Settings(bands=56, rows=2, verify=0.75), engine=ENGINE))
    assert sum(kept is not None for kept in all_pairs.values()) > 180
    assert similarity.max() < 0.75
    # An estimate from 112 values is .75 at a true .43 to .55 with a chance below exp(-2 * 112 * .2 ** 2) = 1e-4 a pair.
    assert sum(kept is not None for kept in checked.values()) == 0


def test_exact_duplicates_ignore_case_and_punctuation_unless_strict(tmp_path):
    texts = ["One two, three!", "one two three", "One two, three!", "one  two\nthree", "four", None, None, "...", "!!!"]
    rows = [{"id": str(n), "text": text} for n, text in enumerate(texts)]
    docs = write(tmp_path / "d.jsonl", rows)
    loose = found(dedup(docs, tmp_path / "a", settings=Settings("exact"), engine=ENGINE), "exact")
    assert loose == {"0": None, "1": "0", "2": "0", "3": "0", "4": None, "5": None, "6": None, "7": None, "8": None}
    strict = found(dedup(docs, tmp_path / "b", settings=Settings("exact", strict=True), engine=ENGINE), "exact")
    assert [name for name, kept in strict.items() if kept] == ["2"]


def test_the_longest_or_the_best_of_a_cluster_is_kept(tmp_path):
    base = "word " * 50
    rows = [{"id": "a", "text": base}, {"id": "b", "text": base + "!" * 9}, {"id": "c", "text": base + "."}]
    docs = write(tmp_path / "d.jsonl", rows)
    longest = found(dedup(docs, tmp_path / "a", settings=Settings("exact"), keep="longest", engine=ENGINE), "exact")
    assert longest == {"a": "b", "b": None, "c": "b"}
    signals = ENGINE.map(docs, quality, tmp_path / "s", key="k").folder
    best = dedup(
        docs, tmp_path / "b", settings=Settings("exact"), keep="test.quality", engine=ENGINE,
        reading=Reading(sidecars=(str(signals),)),
    )  # fmt: skip
    assert found(best, "exact") == {"a": "c", "b": "c", "c": None}
    with pytest.raises(ValueError, match=r"'test\.other'; need first, longest"):
        dedup(docs, tmp_path / "c", settings=Settings("exact"), keep="test.other", engine=ENGINE)


def quality(batch):
    scores = pa.array([{"a": 1.0, "b": 2.0, "c": 3.0}[name] for name in batch.column("id").to_pylist()], pa.float64())
    return pa.RecordBatch.from_arrays([batch.column("id"), scores], names=["id", "test.quality"])


def test_a_new_corpus_is_compared_with_the_index_of_an_earlier_one(tmp_path):
    rng = np.random.default_rng(8)
    rows, _ = planted(rng, 30, 0.0)
    first = [row for row in rows if row["id"].endswith("a")]
    second = [row for row in rows if row["id"].endswith("b")] + [{"id": "new", "text": " ".join(rng.choice(WORDS, 90))}]
    earlier = dedup(write(tmp_path / "1.jsonl", first), tmp_path / "one", engine=ENGINE)
    later = dedup(write(tmp_path / "2.jsonl", second), tmp_path / "two", engine=ENGINE, against=[earlier.index.folder])
    whole = dedup(write(tmp_path / "3.jsonl", [*first, *second]), tmp_path / "three", engine=ENGINE)
    assert found(later) == {name: kept for name, kept in found(whole).items() if not name.endswith("a")}
    assert found(later)["new"] is None
    with pytest.raises(ValueError, match="made with other settings"):
        dedup(tmp_path / "2.jsonl", tmp_path / "x", settings=Settings(seed=1), engine=ENGINE,
              against=[earlier.index.folder])  # fmt: skip


def test_hashes_of_other_documents_are_not_taken_for_those_of_these(tmp_path):
    docs = write(tmp_path / "d.jsonl", [{"id": "a", "text": "one two"}, {"id": "b", "text": "one two"}])
    made = dedup(docs, tmp_path / "o", settings=Settings("exact"), engine=ENGINE)
    shutil.rmtree(made.decisions.folder)
    assert found(dedup(docs, tmp_path / "o", settings=Settings("exact"), engine=ENGINE), "exact")["b"] == "a"
    shutil.rmtree(made.decisions.folder)
    write(docs, [{"id": "a", "text": "one two"}, {"id": "b", "text": "another"}])
    with pytest.raises(ValueError, match=r"o\.index is there already and was made from other documents"):
        dedup(docs, tmp_path / "o", settings=Settings("exact"), engine=ENGINE)


def test_texts_without_spaces_are_compared_by_their_characters(tmp_path):
    text = "データの質は言語モデルの質を決める。重複した文書は学習を妨げるので取り除くことが望ましいとされている。" * 2
    rows = [
        {"id": "a", "text": text},
        {"id": "b", "text": text + "終"},
        {"id": "c", "text": "まったく別の文章です" * 9},
    ]
    assert found(dedup(write(tmp_path / "d.jsonl", rows), tmp_path / "out", engine=ENGINE)) == {
        "a": None, "b": "a", "c": None,
    }  # fmt: skip


def test_addresses_are_compared_without_what_does_not_matter(tmp_path):
    same = ["http://www.a.org/x/", "https://a.org/x#part", "a.org/x?utm_source=z", "https://A.org:443/x"]
    other = ["https://a.org/X", "https://a.org/x?b=1&a=2", None, ""]
    assert len({normalised_url(url) for url in same}) == 1
    assert normalised_url("a.org/?b=1&a=2") == normalised_url("a.org?a=2&b=1")
    rows = [{"id": str(n), "text": "t", "url": url} for n, url in enumerate([*same, *other])]
    made = found(
        dedup(write(tmp_path / "d.jsonl", rows), tmp_path / "o", settings=Settings("url"), engine=ENGINE), "url"
    )
    assert made == {"0": None, "1": "0", "2": "0", "3": "0", "4": None, "5": None, "6": None, "7": None}
    write(tmp_path / "n.jsonl", [{"id": "1", "text": "t"}])
    with pytest.raises(ValueError, match="no column 'url'"):
        dedup(tmp_path / "n.jsonl", tmp_path / "p", settings=Settings("url"), engine=ENGINE)


@given(st.lists(st.text(alphabet="ab .", max_size=12), min_size=1, max_size=12), st.integers(1, 4))
def test_hashes_do_not_depend_on_the_batch(texts, cut):
    batch = pa.RecordBatch.from_pydict({"id": [str(n) for n in range(len(texts))], "text": texts})
    for settings in (Settings("exact"), Settings(bands=2, rows=2, width=2)):
        whole = hashes(batch, settings=settings).to_pylist()
        parts = [
            row
            for at in range(0, len(texts), cut)
            for row in hashes(batch.slice(at, cut), settings=settings).to_pylist()
        ]
        assert whole == parts


def test_contradictions_are_refused():
    with pytest.raises(ValueError, match=r"minhsh.*minhash"):
        Settings("minhsh")
    with pytest.raises(ValueError, match="bands=0"):
        Settings(bands=0)
    with pytest.raises(ValueError, match="verify=2"):
        Settings(verify=2)


def test_the_verb_finds_and_select_drops_them(tmp_path, capsys):
    rows, _ = planted(np.random.default_rng(1), 5, 0.0)
    docs, out = write(tmp_path / "d.jsonl", rows), tmp_path / "dups"
    app(["corpus", "dedup", str(docs), "--out", str(out), "--workers", "1", "--json", "-q"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["facts"]["duplicates"] == 5
    rule = "missing(dedup.minhash.duplicate_of)"
    app(["corpus", "select", str(docs), "--signals", str(out), "--where", rule, "--out", str(tmp_path / "kept"),
         "--workers", "1", "--json", "-q"], standalone_mode=False)  # fmt: skip
    assert json.loads(capsys.readouterr().out)["facts"]["kept"] == 5
