"""Term lists from the files they come in."""

import gzip

import pytest

from tokenry.tokenization.concept_readers import obo_terms, read_terms

OBO = r"""format-version: 1.2
[Term]
id: X:1
name: Heart failure
synonym: "Cardiac \"failure\", acute" EXACT []
synonym: "HF" RELATED ABBREVIATION [PMID:1]

[Term]
id: X:2
name: obsolete thing
is_obsolete: true

[Typedef]
id: part_of
name: part of

[Term]
name: Nephritis ! a comment
"""


def test_an_ontology_gives_names_and_synonyms_of_living_terms():
    assert obo_terms(OBO) == ["Heart failure", 'Cardiac "failure", acute', "HF", "Nephritis"]
    assert obo_terms(OBO, synonyms=False) == ["Heart failure", "Nephritis"]


def test_tables_and_lists_are_read_also_compressed(tmp_path):
    (tmp_path / "a.csv").write_text('id,Name\n1,"Aspirin, coated"\n2,Ibuprofen\n2,Ibuprofen\n')
    (tmp_path / "b.tsv").write_text("Aspirin\t1\nIbuprofen\t2\n")
    with gzip.open(tmp_path / "c.obo.gz", "wt") as file:
        file.write(OBO)
    (tmp_path / "d.txt").write_text("one\n\ntwo words\n")
    assert read_terms(tmp_path / "a.csv") == ["Aspirin, coated", "Ibuprofen"]
    assert read_terms(tmp_path / "a.csv", column="id") == ["1", "2"]
    assert read_terms(tmp_path / "b.tsv") == ["Aspirin", "Ibuprofen"]
    assert len(read_terms(tmp_path / "c.obo.gz")) == 4
    assert read_terms(tmp_path / "d.txt") == ["one", "two words"]


def test_bad_files_are_named_with_what_is_wrong(tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00caf\xe9")
    (tmp_path / "empty.obo").write_text("format-version: 1.2\n")
    (tmp_path / "half.csv.gz").write_bytes(gzip.compress(b"name\nx\n")[:-9])
    for name, words in (("bad.txt", "not UTF-8"), ("empty.obo", "0 terms"), ("half.csv.gz", "cannot be read")):
        with pytest.raises(ValueError, match=words):
            read_terms(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no term list"):
        read_terms(tmp_path / "none.obo")
    (tmp_path / "a.csv").write_text("id,name\n1,x\n")
    with pytest.raises(ValueError, match="no column 'term'"):
        read_terms(tmp_path / "a.csv", column="term")
