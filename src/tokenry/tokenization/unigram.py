"""Train a Unigram tokenizer with the tokenizers library.

Its result is the same from run to run up to small differences of the scores (and so the order of pieces that score
alike): the library adds up in the order of hash tables with a random seed.

Paper: Subword Regularization: Improving NMT Models with Multiple Subword Candidates (arXiv 1804.10959).
"""

import json

from tokenizers import Tokenizer, trainers

from tokenry.core.alphabets import byte_piece
from tokenry.core.cutters import shell
from tokenry.core.pretokens import Pretokens
from tokenry.core.tables import texts
from tokenry.core.vocab import Vocab
from tokenry.tokenization.training import Plan, finish


def train_unigram(plan: Plan, source: object, *, size: int, reading: dict) -> Vocab:
    """Learn the pieces of a Unigram plan.

    Args:
        plan: everything but the pieces.
        source: text, as `core.tables.stream` takes it; the library cuts and counts it itself.
        size: entries in all.
        reading: `text`, `limit`, `skip_bad`.

    Raises:
        ValueError: when the library fails, e.g. for want of text, or `size` is too small.
    """
    unknown = [key for key in reading if key not in ("text", "limit", "skip_bad")]
    if unknown or isinstance(source, Pretokens):
        raise ValueError(
            f"Unigram is trained by the library on the text itself; {unknown or 'Pretokens'} cannot be used."
        )
    first = [token["content"] for token in plan.first]
    room = size - len(plan.last) - (256 if plan.bytes_first else 0)
    if room <= len(first):
        raise ValueError(f"size={size} holds nothing but special tokens and byte pieces. Ask for more.")
    tokenizer: Tokenizer = shell(plan.spec, "Unigram")
    unk = plan.config.get("unk_token")
    trainer = trainers.UnigramTrainer(vocab_size=room, special_tokens=first, unk_token=unk, show_progress=False)
    try:
        tokenizer.train_from_iterator(texts(source, **reading), trainer)
    except Exception as error:
        raise ValueError(f"the library could not train a Unigram tokenizer of {size} entries: {error}") from error
    pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
    if plan.bytes_first:
        least = min(score for _, score in pieces)
        named = [byte_piece(byte) for byte in range(256)]
        rest = [piece for piece in pieces[len(first) :] if piece[0] not in set(named)]
        pieces = pieces[: len(first)] + [[name, least] for name in named] + rest
    place = {piece: i for i, (piece, _) in enumerate(pieces)}
    model = {**plan.spec["model"], "vocab": pieces, "unk_id": place.get(unk)}
    return finish(plan, model, n_entries=len(pieces), place={token: place[token] for token in first})
