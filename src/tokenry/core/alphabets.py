"""How a stored vocabulary string spells bytes: the byte-level alphabet, the metaspace and WordPiece marks.

Paper: Language Models are Unsupervised Multitask Learners (the 256-symbol byte alphabet of GPT-2).
"""

import re

METASPACE = "▁"
_PLAIN = (*range(33, 127), *range(161, 173), *range(174, 256))


def _byte_characters() -> list[str]:
    """The character that stands for each byte 0..255: printable Latin-1 itself, the others from U+0100 on."""
    characters = [""] * 256
    for byte in _PLAIN:
        characters[byte] = chr(byte)
    rest = (byte for byte in range(256) if not characters[byte])
    for i, byte in enumerate(rest):
        characters[byte] = chr(256 + i)
    return characters


BYTE_TO_CHAR: list[str] = _byte_characters()
CHAR_TO_BYTE: dict[str, int] = {character: byte for byte, character in enumerate(BYTE_TO_CHAR)}

_TO_CHAR = dict(enumerate(BYTE_TO_CHAR))
# Latin-1 characters outside the alphabet go beyond Latin-1, so that encoding an entry which holds one fails loudly.
_TO_LATIN = dict.fromkeys(range(256), 0x10FFFF) | {ord(c): byte for c, byte in CHAR_TO_BYTE.items()}

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


def to_byte_level(data: bytes) -> str:
    """Spell bytes in the byte-level alphabet, one character a byte: b" a" -> "Ġa"."""
    return data.decode("latin-1").translate(_TO_CHAR)


def from_byte_level(text: str) -> bytes:
    """Bytes of a byte-level entry. An entry with a character outside the alphabet stands for its own UTF-8.

    That is the rule of the library's ByteLevel decoder: one foreign character makes the whole entry literal.
    """
    try:
        return text.translate(_TO_LATIN).encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def byte_piece(byte: int) -> str:
    """The stored name of a byte-fallback piece: 10 -> "<0x0A>"."""
    return f"<0x{byte:02X}>"


def byte_of_piece(text: str) -> int | None:
    """The byte a piece like "<0x0A>" stands for, or None when it is not of that form."""
    if len(text) != 6 or not text.startswith("<0x"):
        return None
    match = _BYTE_PIECE.fullmatch(text)
    return int(match[1], 16) if match else None


def from_metaspace(text: str) -> bytes:
    """Bytes of a metaspace entry: "▁the" -> b" the"."""
    return text.replace(METASPACE, " ").encode("utf-8", "surrogatepass")
