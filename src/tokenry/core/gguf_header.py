"""Read the metadata at the head of a GGUF file: plain values and arrays by name, without touching the tensors.

The gguf package makes a numpy view of every string, which costs ten seconds for a large vocabulary.
"""

import struct

# GGUF's number of a scalar type -> its struct code; 8 is a string, 9 an array.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


class Cursor:
    """A position in the bytes of a file, in the byte order of the file."""

    def __init__(self, data: bytes | memoryview, order: str) -> None:
        self.data, self.order, self.at = data, order, 0

    def take(self, code: str, count: int = 1) -> tuple:
        """`count` numbers of one struct code.

        Raises:
            ValueError: past the end.
        """
        size = struct.calcsize(code) * count
        if self.at + size > len(self.data):
            raise ValueError("it ends inside its metadata")
        values = struct.unpack_from(f"{self.order}{count}{code}", self.data, self.at)
        self.at += size
        return values

    def text(self) -> str:
        """A length and that many bytes of UTF-8."""
        (size,) = self.take("Q")
        if self.at + size > len(self.data):
            raise ValueError("it ends inside its metadata")
        self.at += size
        return bytes(self.data[self.at - size : self.at]).decode("utf-8", "replace")

    def value(self, kind: int, *, keep: bool, depth: int = 0) -> object:
        """A value of a type number. Numbers of an array come as a tuple; None where not `keep`."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            (inner,), (count,) = self.take("I"), self.take("Q")
            if inner in _SCALARS:
                values = self.take(_SCALARS[inner], count)
                return values if keep else None
            if inner == _STRING:
                values = [self.text() for _ in range(count)]
                return values if keep else None
            if depth > 4:
                raise ValueError("its arrays are nested too deeply")
            return [self.value(inner, keep=keep, depth=depth + 1) for _ in range(count)]
        if kind not in _SCALARS:
            raise ValueError(f"it holds a value of unknown type {kind}")
        return self.take(_SCALARS[kind])[0]


def read_metadata(data: bytes | memoryview, *, prefix: str = "") -> dict[str, object]:
    """The metadata of a GGUF file whose names start with `prefix`.

    Args:
        data: the file, or enough of its beginning.

    Raises:
        ValueError: not GGUF, an old version, or cut short, as a clause ("it ends inside its metadata").
    """
    if len(data) < 8 or bytes(data[:4]) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    order = "<" if struct.unpack_from("<I", data, 4)[0] < 0x10000 else ">"
    cursor = Cursor(data, order)
    cursor.at = 4
    (version,) = cursor.take("I")
    if version < 2:
        raise ValueError(f"it is of version {version}, 2 and later are read")
    _, n_values = cursor.take("Q", 2)
    found: dict[str, object] = {}
    for _ in range(n_values):
        name, (kind,) = cursor.text(), cursor.take("I")
        keep = name.startswith(prefix)
        value = cursor.value(kind, keep=keep)
        if keep:
            found[name] = value
    return found
