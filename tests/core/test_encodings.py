import hashlib
import lzma

import pytest

from tokenry.core import encodings
from tokenry.core.vocab import Vocab


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["cl100k", "cl100k_base"])
def test_an_encoding_is_opened_by_name_from_the_cache_of_tiktoken(name, empty_cache, shared_data):
    with lzma.open(shared_data / "tokenizers" / "openai" / "cl100k_base.tiktoken.xz") as file:
        data = file.read()
    address = encodings._ADDRESS.format("cl100k")
    (empty_cache / hashlib.sha1(address.encode()).hexdigest()).write_bytes(data)
    vocab = Vocab.open(name)
    assert vocab.name == name
    assert vocab.encode(["hello world"])[0].tolist() == [15339, 1917]


def test_a_file_of_another_content_in_the_cache_is_not_taken(empty_cache):
    address = encodings._ADDRESS.format("o200k")
    (empty_cache / hashlib.sha1(address.encode()).hexdigest()).write_bytes(b"IQ== 0\n")
    with pytest.raises(FileNotFoundError, match="not in tiktoken's cache and the network is switched off"):
        Vocab.open("o200k_base")


def test_a_failed_download_is_a_sentence(empty_cache, monkeypatch):
    load = pytest.importorskip("tiktoken.load")

    def fails(address):
        raise OSError("no route to host")

    monkeypatch.setattr(load, "read_file_cached", fails)
    with pytest.raises(FileNotFoundError, match=r"could not be fetched \(no route to host\): set TIKTOKEN_CACHE_DIR"):
        encodings.encoding_bytes("cl100k", offline=False)
