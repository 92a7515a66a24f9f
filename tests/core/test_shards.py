"""Ids come back from disk as they were, and arrays that do not belong together are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.shards import ShardWriter, read_manifest, read_shard, shard_documents, write_shard


@pytest.mark.parametrize(("vocab_size", "kind"), [(512, np.uint16), (65_536, np.uint16), (65_537, np.uint32)])
def test_a_shard_comes_back_from_disk_as_it_was(tmp_path, vocab_size, kind):
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, vocab_size, size=n).astype(np.uint32) for n in (5, 0, 100, 1)]
    assert write_shard(tmp_path / "shard", iter(documents), vocab_size=vocab_size) == 4
    ids, offsets = read_shard(tmp_path / "shard")
    assert isinstance(ids, np.memmap)
    assert ids.dtype == kind
    for ours, theirs in zip(shard_documents(ids, offsets), documents, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(np.load(tmp_path / "shard" / "ids.npy"), np.concatenate(documents))


def test_an_empty_shard_is_a_shard(tmp_path):
    write_shard(tmp_path / "shard", [], vocab_size=10)
    ids, offsets = read_shard(tmp_path / "shard")
    assert len(ids) == 0
    assert list(shard_documents(ids, offsets)) == []


def test_a_shard_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Document 1 holds id 10"):
        write_shard(tmp_path / "shard", [np.array([9]), np.array([10])], vocab_size=10)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError, match="not a shard"):
        read_shard(tmp_path)
    write_shard(tmp_path / "shard", [np.array([9])], vocab_size=10)
    np.save(tmp_path / "shard" / "offsets.npy", np.array([0, 2]))
    with pytest.raises(ValueError, match="does not fit"):
        read_shard(tmp_path / "shard")


@given(
    st.lists(st.lists(st.integers(0, 69_999), max_size=9).map(np.array), max_size=9),
    st.integers(1, 8),
    st.none() | st.integers(2, 7),
)
def test_batches_of_documents_of_any_size_make_one_array(tmp_path_factory, documents, width, length):
    folder = tmp_path_factory.mktemp("shard")
    writer = ShardWriter(folder, vocab_size=70_000, length=length, pad=69_999)
    for start in range(0, len(documents), width):
        part = documents[start : start + width]
        writer.add(np.concatenate(part).astype(np.uint32), np.array([len(one) for one in part]))
    writer.close()
    ids, offsets = read_shard(folder)
    assert [one.tolist() for one in shard_documents(ids, offsets)] == [one.tolist() for one in documents]
    assert (ids[offsets[-1] :] == 69_999).all()
    stored = np.load(folder / "ids.npy")
    size = sum(map(len, documents))
    assert stored.shape == ((size,) if length is None else (-(-size // length), length))
    assert (folder / "ids.npy").stat().st_size == 128 + stored.nbytes


def test_an_id_outside_is_named_by_its_document_in_a_batch(tmp_path):
    writer = ShardWriter(tmp_path, vocab_size=10)
    writer.add(np.array([1, 2], np.uint32), np.array([2]))
    with pytest.raises(ValueError, match="Document 3 holds id 11"):
        writer.add(np.array([3, 11, 4], np.uint32), np.array([1, 0, 2]))


@pytest.mark.parametrize(
    "record", ["[1]", "{", '{"format": 2, "shards": []}', '{"format": 1, "shards": [{"name": "../x"}]}',
               '{"format": 1, "shards": []}'],
)  # fmt: skip
def test_a_manifest_that_is_none_is_refused(tmp_path, record):
    (tmp_path / "packed.json").write_text(record)
    with pytest.raises(ValueError, match="no manifest of a packed corpus"):
        read_manifest(tmp_path)
