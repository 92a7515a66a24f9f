"""Folders of lines are read a document a line; other text is left to the readers of tables."""

from audited_tokenizers import byte_level

from tokenry.tokenization.counting import DocumentCounter
from tokenry.tokenization.reading import Reading


def _read(source, **options):
    counter = DocumentCounter(byte_level(300), words=False)
    read = Reading(source, **options)
    excerpts = read.feed([counter], label="x")
    return read, counter.finish(), excerpts


def test_aligned_lines_are_documents_and_the_same_line_is_shown(tmp_path):
    long = "a sentence of fair length for a reader to look at"
    for code in ("eng_Latn", "deu_Latn", "zzz_Latn"):
        (tmp_path / f"{code}.devtest").write_text(f"short\n{code} {long}\n", encoding="utf-8")
    read, counts, excerpts = _read(tmp_path)
    assert read.parallel.names == ("deu_Latn", "eng_Latn", "zzz_Latn")
    assert counts.n_documents == 6
    assert excerpts[0] == ("eng_Latn", f"eng_Latn {long}")
    assert _read([tmp_path], limit=1)[1].n_documents == 3


def test_text_files_of_different_length_are_documents_of_their_own(tmp_path):
    (tmp_path / "one.txt").write_text("a\nb\nc", encoding="utf-8")
    (tmp_path / "two.txt").write_text("a\nb", encoding="utf-8")
    read, counts, _ = _read(tmp_path)
    assert read.parallel is None
    assert counts.n_documents == 2
    assert set(counts.sources) == {"one", "two"}


def test_files_without_a_known_suffix_are_read_by_line_even_unaligned(tmp_path):
    (tmp_path / "one.devtest").write_text("a\nb\nc", encoding="utf-8")
    (tmp_path / "two.devtest").write_text("a\nb", encoding="utf-8")
    read, counts, _ = _read(tmp_path)
    assert read.parallel is None
    assert counts.n_documents == 5


def test_well_known_languages_are_shown_first_where_there_are_many(tmp_path):
    rows = [{"text": "some text", "source": s} for s in ("aaa", "bbb", "deu_Latn", "ccc", "eng_Latn")]
    excerpts = _read(rows)[2]
    assert [name for name, _ in excerpts[:2]] == ["eng_Latn", "deu_Latn"]
    assert len(excerpts) == 4
