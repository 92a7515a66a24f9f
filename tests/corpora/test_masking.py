"""Masking replaces what is marked, touches nothing else, and refuses marks of another text."""

import pyarrow as pa
import pytest
from signal_worlds import batch_of

from tokenry.core.tables import read
from tokenry.corpora.families import SPANS
from tokenry.corpora.masking import mask, mask_corpus, read_replacements
from tokenry.corpora.pii import find
from tokenry.corpora.signals import families_of, score_batch, score_corpus


def with_spans(texts, rows):
    spans = [None if row is None else [{"start": a, "end": b, "score": c} for a, b, c in row] for row in rows]
    return batch_of(texts).append_column("own.spans", pa.array(spans, SPANS))


def test_nothing_personal_is_left_after_masking():
    texts = ["😀 mail a@b.example, call 212-555-0142", "none", None, "10.0.0.1 and AKIAIOSFODNN7EXAMPLE"]
    batch = batch_of(texts)
    scored = score_batch(batch, families_of("pii"))
    for name in scored.schema.names[1:]:
        batch = batch.append_column(name, scored.column(name))
    masked = mask(batch).column("text").to_pylist()
    assert masked == [
        "😀 mail |||EMAIL_ADDRESS|||, call |||PHONE_NUMBER|||",
        "none",
        None,
        "|||IP_ADDRESS||| and |||KEY|||",
    ]
    assert not any(spans for text in masked if text for spans in find(text).values())


def test_only_spans_with_enough_score_are_replaced():
    batch = with_spans(["abcdef"], [[(0, 1, 0.2), (2, 3, 0.9)]])
    assert mask(batch, {"own.spans": "_"}, least=0.4).column("text").to_pylist() == ["ab_def"]
    assert mask(batch, {"own.spans": "_"}).column("text").to_pylist() == ["_b_def"]


def test_marks_of_another_text_and_columns_without_spans_are_refused():
    with pytest.raises(ValueError, match="made for another text"):
        mask(with_spans(["ab"], [[(0, 9, 1.0)]]), {"own.spans": ""})
    with pytest.raises(ValueError, match=r"no column 'own.span' to mask\. Did you mean 'own\.spans'"):
        mask(with_spans(["ab"], [[]]), {"own.span": ""})
    with pytest.raises(ValueError, match="only spans"):
        mask(batch_of(["ab"]), {"id": ""})
    with pytest.raises(ValueError, match="need COLUMN=TEXT"):
        read_replacements(["pii.emails"])
    with pytest.raises(ValueError, match="no spans are taken out"):
        read_replacements([], ["fineweb"])
    assert read_replacements(["x.y=z"], ["c4"]) == {"c4.dropped": "", "x.y": "z"}
    assert read_replacements(["pii.emails=", "a.b=c=d"]) == {"pii.emails": "", "a.b": "c=d"}


def test_a_corpus_is_masked_row_by_row_and_keeps_its_other_columns(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": "1", "text": "a@b.example", "stars": 3}\n{"id": "2", "text": "ok", "stars": 4}\n')
    score_corpus(source, "pii", tmp_path / "signals", workers=1)
    made = mask_corpus(source, [tmp_path / "signals"], tmp_path / "out", replacements={"pii.emails": "<mail>"})
    table = read(str(made.folder))
    assert table.column("text").to_pylist() == ["<mail>", "ok"]
    assert table.column("stars").to_pylist() == [3, 4]
    assert not any(name.startswith("pii") for name in table.column_names)
    with pytest.raises(ValueError, match=r"'pii\.mails' to mask"):
        mask_corpus(source, [tmp_path / "signals"], tmp_path / "no", replacements={"pii.mails": ""})
