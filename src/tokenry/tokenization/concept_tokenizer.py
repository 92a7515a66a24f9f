"""A pool as transformers' data code expects a tokenizer: batches with offsets and word numbers, padding, saving.

Paper: Infusing clinical knowledge into tokenisers (K-Tokeniser; arXiv 2406.14312).
"""

import bisect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokenry.tokenization.concepts import Encoded, TokenizerPool

if TYPE_CHECKING:
    from transformers import BatchEncoding


class PoolTokenizer:
    """Gives a `TokenizerPool` the calls that collators, `Trainer` and label alignment make of a fast tokenizer.

    Whatever is not defined here (`pad`, `decode`, `pad_token_id`, ...) is the plain tokenizer's over the same ids.

    Args:
        pool: what segments.
        max_length: longest sequence that truncation leaves, special tokens included.

    Paper: K-Tokeniser (arXiv 2406.14312), the local choice at training and inference.
    """

    def __init__(self, pool: TokenizerPool, *, max_length: int = 512) -> None:
        from tokenry.models.lm import tokenizer_of

        self.pool, self.model_max_length = pool, max_length
        self._plain = tokenizer_of(pool.vocab)

    @classmethod
    def open(cls, folder: str | Path, **options: object) -> "PoolTokenizer":
        """Of the folder that `tokenizer concepts build` wrote."""
        return cls(TokenizerPool.open(folder), **options)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") or name == "_plain":
            raise AttributeError(name)
        return getattr(self._plain, name)

    def __len__(self) -> int:
        return len(self._plain)

    def __call__(
        self,
        text: str | Sequence[str] | Sequence[Sequence[str]],
        *,
        is_split_into_words: bool = False,
        add_special_tokens: bool = True,
        truncation: bool = False,
        max_length: int | None = None,
        padding: bool | str = False,
        return_offsets_mapping: bool = False,
        return_tensors: str | None = None,
    ) -> "BatchEncoding":
        """Encode a text or a batch as a fast tokenizer does.

        Args:
            text: one text, several, or (with `is_split_into_words`) words of one or several; words are joined by a
                space, so the pool sees a sentence, and `word_ids` numbers them as given.
            truncation, max_length: cut to this many ids, special tokens included; default `model_max_length`.
            padding, return_tensors: as transformers' `pad`.

        Returns:
            BatchEncoding with `input_ids`, `attention_mask`, `token_type_ids`, on request `offset_mapping`; its
            `word_ids(i)` works.

        Raises:
            ValueError: something else than text.
        """
        given, single = _batch(text, is_split_into_words)
        limit = (max_length or self.model_max_length) if truncation else None
        made = [self._one(item, add_special_tokens, limit) for item in given]
        data = {
            "input_ids": [ids for ids, _, _ in made],
            "token_type_ids": [[0] * len(ids) for ids, _, _ in made],
            "attention_mask": [[1] * len(ids) for ids, _, _ in made],
        }
        if return_offsets_mapping:
            data["offset_mapping"] = [offsets for _, offsets, _ in made]
        return _batch_encoding(
            self._plain, data, [words for _, _, words in made],
            single=single, padding=padding, max_length=max_length, tensors=return_tensors,
        )  # fmt: skip

    def _one(self, item: str | Sequence[str], specials: bool, limit: int | None) -> tuple[list, list, list]:
        words = None if isinstance(item, str) else list(item)
        made = self.pool.encode(item if words is None else " ".join(words))
        ids, offsets = list(made.ids), list(made.offsets)
        numbers = list(made.word_ids) if words is None else _given_words(made, words)
        first, last = (
            [i] if specials and i is not None else [] for i in (self._plain.cls_token_id, self._plain.sep_token_id)
        )
        if limit is not None:
            keep = max(0, limit - len(first) - len(last))
            ids, offsets, numbers = ids[:keep], offsets[:keep], numbers[:keep]
        nowhere = [(0, 0)]
        offsets = nowhere * len(first) + offsets + nowhere * len(last)
        return first + ids + last, offsets, [None] * len(first) + numbers + [None] * len(last)


def _batch(text: object, words: bool) -> tuple[list, bool]:
    def is_item(value: object) -> bool:
        if words:
            return isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value)
        return isinstance(value, str)

    if is_item(text):
        return [text], True
    if isinstance(text, (list, tuple)) and all(map(is_item, text)):
        return list(text), False
    wanted = "a list of words, or a list of such lists" if words else "a text or a list of texts"
    raise ValueError(f"got {type(text).__name__}; need {wanted}.")


def _given_words(made: Encoded, words: list[str]) -> list[int]:
    """The given word each piece lies in; the pool's own words may be smaller (punctuation)."""
    starts, place = [], 0
    for word in words:
        starts.append(place)
        place += len(word) + 1
    return [bisect.bisect_right(starts, start) - 1 for start, _ in made.offsets]


def _batch_encoding(
    plain: object, data: dict, words: list, *, single: bool, padding: bool | str, max_length: int | None,
    tensors: str | None,
) -> "BatchEncoding":  # fmt: skip
    from transformers import BatchEncoding

    class PoolBatch(BatchEncoding):
        """A batch that knows its words although no Rust encoding stands behind it."""

        def word_ids(self, batch_index: int = 0) -> list[int | None]:
            """For each id of a sequence the number of its word; None for special tokens and padding."""
            shown = self["input_ids"] if single and tensors is None else self["input_ids"][batch_index]
            return words[batch_index] + [None] * (len(shown) - len(words[batch_index]))

    if padding:
        offsets = data.pop("offset_mapping", None)
        data = dict(plain.pad(data, padding=padding, max_length=max_length))
        if offsets is not None:
            longest = len(data["input_ids"][0])
            data["offset_mapping"] = [item + [(0, 0)] * (longest - len(item)) for item in offsets]
    if single and tensors is None:
        data = {name: value[0] for name, value in data.items()}
    return PoolBatch(data, tensor_type=tensors)
