"""Two small vocabularies that overlap: what most tests of this room move between."""

import pytest

from small_vocabularies import byte_level
from tokenry.core.vocab import Vocab


@pytest.fixture
def old() -> Vocab:
    return byte_level("english", 340)


@pytest.fixture
def new() -> Vocab:
    return byte_level("both", 420, ("<|end|>", "<|start|>"))
