"""Repeated passages are those of a search by brute force, whatever the memory, and cutting them leaves one copy."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenry.cli import app
from tokenry.corpora import substring_kernels
from tokenry.corpora.dedup_substrings import dedup_substrings
from tokenry.corpora.embedded import EmbeddedEngine

pytest.importorskip("pydivsufsort")
pytest.importorskip("duckdb")
ENGINE = EmbeddedEngine(workers=1)
LENGTH = 16


def write(path, texts):
    path.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))
    return path


def found(made):
    """Spans of characters of each document."""
    rows = [row for part in made.decisions.parts for row in pq.read_table(part).to_pylist()]
    return [[(span["start"], span["end"]) for span in row["dedup.substring.spans"]] for row in rows]


def by_brute_force(texts, length, keep):
    """For each text the spans of whole characters whose bytes all lie in runs that repeat."""
    runs = {}
    encoded = [(text or "").encode() for text in texts]
    for number, data in enumerate(encoded):
        for at in range(len(data) - length + 1):
            runs.setdefault(data[at : at + length], []).append((number, at))
    marked = [np.zeros(len(data), bool) for data in encoded]
    for places in runs.values():
        for number, at in places[1:] if keep == "first" else places if len(places) > 1 else ():
            marked[number][at : at + length] = True
    made = []
    for text, marks in zip(texts, marked, strict=True):
        at, spans = 0, []
        for place, character in enumerate(text or ""):
            size = len(character.encode())
            if marks[at : at + size].all():
                if spans and spans[-1][1] == place:
                    spans[-1][1] = place + 1
                else:
                    spans.append([place, place + 1])
            at += size
        made.append([tuple(span) for span in spans])
    return made


def mosaic(rng, pieces, n_texts, n_pieces):
    """Texts made of pieces of which some come again, cut anywhere."""
    made = []
    for _ in range(n_texts):
        chosen = [pieces[one] for one in rng.integers(len(pieces), size=n_pieces)]
        made.append("".join(piece[rng.integers(9) :] for piece in chosen))
    return made


@pytest.mark.parametrize("keep", ["first", "none"])
@pytest.mark.parametrize("memory", [2**30, 20_000])
def test_what_is_found_is_what_a_search_by_brute_force_finds(tmp_path, keep, memory):
    rng = np.random.default_rng(3)
    pieces = ["".join(rng.choice(list("abcdé🙂\n "), rng.integers(5, 60))) for _ in range(40)]
    texts = [*mosaic(rng, pieces, 60, 5), "a" * 50, "a" * 80, "", None, "ab" * 40, "short"]
    docs = write(tmp_path / "d.jsonl", texts)
    made = dedup_substrings(docs, tmp_path / "o", length=LENGTH, keep=keep, memory=memory, engine=ENGINE)
    assert found(made) == by_brute_force(texts, LENGTH, keep)
    assert (made.report.facts["suffix_arrays"] > 3) == (memory == 20_000)
    assert not list(tmp_path.glob(".o*"))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.binary(min_size=16, max_size=40), st.binary(max_size=60), st.integers(2, 16))
def test_equal_runs_hold_an_anchor_of_one_hash_and_it_lies_inside_them(before, run, after, gram):
    """The law that lets the first pass leave out all else: whatever stands around a run, its least hash is found."""
    data = np.frombuffer(before + run + after, np.uint8)
    alone = np.frombuffer(run[:16], np.uint8)
    _, wanted = substring_kernels.anchors(alone, 0, 16, 16, gram)
    places, hashes = substring_kernels.anchors(data, 0, len(data), 16, gram)
    inside = (places >= len(before)) & (places + gram <= len(before) + 16)
    assert len(wanted) == 1
    assert wanted[0] in hashes[inside]


def test_planted_passages_are_cut_and_one_copy_stays(tmp_path, capsys):
    """300 documents, 60 of them with one of two passages in their middle: 58 copies go, and nothing else."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz "))
    passages = ["".join(rng.choice(letters, n)) for n in (300, 500)]
    texts, clean = [], []
    for number in range(300):
        head, tail = ("".join(rng.choice(letters, 400)) for _ in range(2))
        passage = passages[number // 5 % 2] if number % 5 == 0 else ""
        texts.append(head + passage + tail)
        clean.append(head + (passage if number < 10 else "") + tail)
    docs, out = write(tmp_path / "d.jsonl", texts), tmp_path / "dups"
    app(["corpus", "dedup", str(docs), "--out", str(out), "--method", "substring", "--length", "200", "--workers", "1",
         "--json", "-q"], standalone_mode=False)  # fmt: skip
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts["documents_with_spans"] == 58
    cut = ["--where", "dedup.substring.share >= 0", "--cut", "dedup.substring.spans"]
    app(["corpus", "select", str(docs), "--signals", str(out), *cut, "--out", str(tmp_path / "kept"), "--workers", "1",
         "--json", "-q"], standalone_mode=False)  # fmt: skip
    kept = [text for part in sorted((tmp_path / "kept").glob("*.parquet")) for text in pq.read_table(part)["text"]]
    # By chance a passage goes on in two documents with the same letter: a copy may be a few letters longer.
    lost = [len(want) - len(text.as_py()) for want, text in zip(clean, kept, strict=True)]
    assert all(0 <= n <= 8 for n in lost)
    assert sum(lost) <= 2 * 58 * (1 + 1 / 27)


def test_wrong_settings_are_named(tmp_path):
    docs = write(tmp_path / "d.jsonl", ["x"])
    with pytest.raises(ValueError, match=r"length=3.*at least 16"):
        dedup_substrings(docs, tmp_path / "o", length=3, engine=ENGINE)
    with pytest.raises(ValueError, match=r"keep='longest'.*first or none"):
        dedup_substrings(docs, tmp_path / "o", keep="longest", engine=ENGINE)


def test_options_of_other_methods_are_refused_not_ignored(tmp_path):
    docs = write(tmp_path / "d.jsonl", ["x"])
    command = ["corpus", "dedup", str(docs), "--out", str(tmp_path / "o"), "--method"]
    for method, option in (("substring", "--against"), ("paragraphs", "--keep")):
        with pytest.raises(ValueError, match=f"--method {method} knows no {option}"):
            app([*command, method, option, str(tmp_path)], standalone_mode=False)


def test_texts_that_are_shorter_than_a_run_make_an_empty_sidecar(tmp_path):
    made = dedup_substrings(write(tmp_path / "d.jsonl", ["x", None, "y" * 50]), tmp_path / "o", engine=ENGINE)
    assert found(made) == [[], [], []]
    assert pa.types.is_list(pq.read_schema(made.decisions.parts[0]).field("dedup.substring.spans").type)
