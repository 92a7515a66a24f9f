import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.gguf_header import read_metadata


def write(path):
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_string("general.name", "naïve ▁")
    for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"):
        getattr(writer, f"add_{name}")(f"number.{name}", 7 if name[0] == "u" else -7)
    writer.add_float32("number.float32", 0.5)
    writer.add_float64("number.float64", -0.25)
    writer.add_bool("number.flag", True)
    writer.add_array("array.numbers", [1, 2, 3])
    writer.add_array("array.floats", [0.5, -1.5])
    writer.add_array("array.words", ["a", "", "日本"])
    writer.add_tensor("weights", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def test_every_type_is_read_as_by_the_gguf_package(tmp_path):
    ours, reader = read_metadata(write(tmp_path / "m.gguf")), gguf.GGUFReader(str(tmp_path / "m.gguf"))
    names = [name for name in reader.fields if not name.startswith("GGUF.")]
    assert list(ours) == names
    for name in names:
        expected = reader.get_field(name).contents()
        assert (list(ours[name]) if isinstance(ours[name], tuple) else ours[name]) == expected


def test_only_the_names_asked_for_are_kept(tmp_path):
    assert set(read_metadata(write(tmp_path / "m.gguf"), prefix="array.w")) == {"array.words"}


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory) -> bytes:
    return write(tmp_path_factory.mktemp("gguf") / "m.gguf")


@given(st.data())
def test_a_file_cut_or_changed_anywhere_is_read_or_refused_in_a_clause(whole_file, data):
    changed = bytearray(whole_file[: data.draw(st.integers(8, len(whole_file)))])
    changed[data.draw(st.integers(4, len(changed) - 1))] = data.draw(st.integers(0, 255))
    sentence = "it "
    try:
        read_metadata(bytes(changed))
    except ValueError as error:
        sentence = str(error)
    assert sentence.startswith("it ")


def test_what_is_not_gguf_is_refused():
    with pytest.raises(ValueError, match="does not begin with GGUF"):
        read_metadata(b"PK\x03\x04 and more")
    with pytest.raises(ValueError, match="does not begin with GGUF"):
        read_metadata(b"GGUF")
