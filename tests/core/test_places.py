"""Paths, globs, folders, lists and hub addresses become files, and what is not there is told at once."""

import gzip
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tokenry.core import places
from tokenry.core.places import find_places, looks_like_paths, split_suffix
from tokenry.core.tables import read, stream, texts, write


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    for name in ("b/x.jsonl", "a/x.jsonl", "a/deep/y.jsonl", "a/.hidden.jsonl", ".git/z.jsonl", "a/run.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"text": "{name}"}}\n')
    (tmp_path / "a/notes.md").write_text("# not data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("crawl/de.jsonl.zst", ("de", "jsonl", "zstd")),
        ("de.v2.JSONL.GZ", ("de.v2", "jsonl", "gzip")),
        ("a.json", ("a", "json", None)),
        ("a.txt.xz", ("a", "txt", "xz")),
        ("a.parquet", ("a", "parquet", None)),
        ("a.parquet.gz", ("a", None, "gzip")),
        ("a.md", ("a", None, None)),
        (".jsonl", (".jsonl", None, None)),
    ],
)
def test_a_suffix_says_format_and_compression(path, parts):
    assert split_suffix(path) == parts


def test_a_folder_is_read_sorted_with_its_subfolders_without_hidden_files_and_records(tree):
    assert [place.name for place in find_places(tree)] == ["a/deep/y.jsonl", "a/x.jsonl", "b/x.jsonl"]
    assert list(texts(tree)) == ["a/deep/y.jsonl", "a/x.jsonl", "b/x.jsonl"]


def test_globs_lists_and_repeats(tree):
    assert list(texts("*/x.jsonl")) == ["a/x.jsonl", "b/x.jsonl"]
    assert list(texts("**/y.jsonl")) == ["a/deep/y.jsonl"]
    assert list(texts([Path("b"), "a/x.jsonl", "b/x.jsonl"])) == ["b/x.jsonl", "a/x.jsonl"]
    assert list(texts("a/*")) == ["a/deep/y.jsonl", "a/x.jsonl"]


def test_made_ids_differ_between_files_of_one_name(tree):
    table = read(tree)
    assert table["id"].to_pylist() == ["a/deep/y.jsonl:1", "a/x.jsonl:1", "b/x.jsonl:1"]
    assert table["source"].to_pylist() == ["y", "x", "x"]
    assert read("a/x.jsonl")["id"].to_pylist() == ["x.jsonl:1"]


def test_a_name_with_glob_characters_that_exists_is_taken_as_it_is(tmp_path):
    (tmp_path / "a[1].txt").write_text("brackets")
    assert list(texts(tmp_path / "a[1].txt")) == ["brackets"]


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("a/xx.jsonl", FileNotFoundError, "Did you mean 'x.jsonl'?"),
        ("none/x.jsonl", FileNotFoundError, "none does not exist"),
        ("*.parquet", FileNotFoundError, "no file matches this pattern"),
        ("a/notes.md", ValueError, "unknown kind of file. Need .jsonl"),
        (".git", ValueError, None),
        ("a/*.md", ValueError, "unknown kind of file"),
        ("one line\nand another", ValueError, "is a text, not a path. Give texts as a list"),
        ([Path("a/x.jsonl"), "just words"], ValueError, "holds both files (a/x.jsonl) and strings that are no files"),
        (["a/x.jsonl", "just words"], ValueError, "holds both files"),
        (["gone.jsonl"], FileNotFoundError, "gone.jsonl: no such file"),
    ],
)
def test_what_is_not_there_is_told_at_the_call(tree, source, error, words):
    if words is None:  # hidden files are left out below a folder, not in the folder that was named
        assert list(texts(source)) == [".git/z.jsonl"]
        return
    with pytest.raises(error) as caught:
        stream(source)
    assert words in str(caught.value)


def test_folders_without_documents_are_told(tmp_path):
    with pytest.raises(ValueError, match="it is empty"):
        find_places(tmp_path)
    (tmp_path / "readme.md").write_text("x")
    with pytest.raises(ValueError, match=r"it holds readme\.md"):
        find_places(tmp_path)


def test_lists_of_texts_are_texts_and_lists_of_files_are_files(tree):
    assert looks_like_paths(["a/x.jsonl", "b/*.jsonl", "b"])
    assert looks_like_paths([Path("nowhere")])
    assert looks_like_paths(["nowhere.jsonl.gz"])
    assert not looks_like_paths(["a text", "b/x.jsonl is a file"])
    assert not looks_like_paths(["", "words"])
    assert not any(looks_like_paths([sign]) for sign in ("/", ".", "..", "*", "?", "~", "//", "[a-z]", "", "\0", "b/x"))
    assert not looks_like_paths(["see the end.txt", "words"])
    assert not looks_like_paths([])
    assert not looks_like_paths([{"text": "x"}])
    assert list(texts(["one", "two"])) == ["one", "two"]


def test_the_hub_is_refused_at_once_when_it_is_switched_off(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=r"the hub is switched off \(HF_HUB_OFFLINE is set\)"):
        find_places("hf://datasets/owner/name")


class Shelf(MemoryFileSystem):
    """The hub's file system interface over memory: the same calls, other paths behind them."""

    cachable = False
    store = {}  # noqa: RUF012 - the class attribute that MemoryFileSystem keeps its files in

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("hf://"))


@pytest.fixture
def hub(monkeypatch) -> Shelf:
    shelf = Shelf()
    shelf.store.clear()
    monkeypatch.setattr(places, "_hub_filesystem", lambda source: shelf)
    shelf.pipe("/datasets/owner/name/b.jsonl.gz", gzip.compress(b'{"text": "zipped"}\n'))
    shelf.pipe("/datasets/owner/name/deep/a.jsonl", b'{"text": "plain"}\n')
    shelf.pipe("/datasets/owner/name/README.md", b"# card")
    return shelf


def test_files_folders_and_globs_of_the_hub_are_read(hub, tmp_path):
    assert list(texts("hf://datasets/owner/name")) == ["zipped", "plain"]
    assert list(texts("hf://datasets/owner/name/deep/a.jsonl")) == ["plain"]
    assert list(texts("hf://datasets/owner/name/*.gz")) == ["zipped"]
    write(read(["a", "b"]), tmp_path / "c.parquet")
    hub.pipe("/datasets/owner/other/c.parquet", (tmp_path / "c.parquet").read_bytes())
    assert list(texts("hf://datasets/owner/other")) == ["a", "b"]
    assert list(texts([Path(tmp_path), "hf://datasets/owner/name/deep/a.jsonl"])) == ["a", "b", "plain"]


def test_what_the_hub_does_not_hold_is_told(hub, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nothing there on the hub"):
        find_places("hf://datasets/owner/gone")
    with pytest.raises(FileNotFoundError, match="nothing there on the hub"):
        find_places("hf://datasets/owner/name/*.zst")
    with pytest.raises(ValueError, match="unknown kind of file"):
        find_places("hf://datasets/owner/name/README.md")
    monkeypatch.setattr(hub, "isdir", lambda path: (_ for _ in ()).throw(ConnectionError("no route")))
    with pytest.raises(FileNotFoundError, match=r"the hub did not answer \(ConnectionError: no route\)"):
        find_places("hf://datasets/owner/name")
