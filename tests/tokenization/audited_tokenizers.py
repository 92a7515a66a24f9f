"""Small tokenizers of every family, trained by the library in a blink, and texts that try them."""

import random

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tokenry.core.vocab import Vocab
from tokenry.data import demo_model

SENTENCES = (
    "The quick brown fox jumps over the lazy dog, again and again.",
    "Übergrößenträger überqueren die Straße; die Brücke ist gesperrt.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "def area(radius):\n    return 3.14159 * radius ** 2\n",
    "In 1984 it cost 1234567 units, i.e. 12,345.67 each.",
    "我们今天去北京大学，明天回来。",
    "It's what they'd said: we'll see, don't worry.",
    "नमस्ते दुनिया, यह एक परीक्षा है।",
)
TRICKY = (
    "",
    " ",
    "\n\n\n",
    "  two spaces before, and after  ",
    "tabs\tand\r\nline breaks\n\n  deep",
    "e\u0301 decomposed, ﬁ ligature, ½, Ⅷ, ① and ＡＢＣ",
    "👩‍👩‍👧 family, 🇩🇪 flag, \u200b zero width, \u00a0 no-break",
    "literal <s> and </s> and <|endoftext|> and [CLS] and <unk>",
    "▁ metaspace ▁▁",
    "x" * 300,
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
)


def made_documents(n: int, seed: int = 0) -> list[tuple[str, str]]:
    """(text, source) pairs: random sentences, shuffled words, and all of TRICKY."""
    rng = random.Random(seed)
    documents = [(text, "tricky") for text in TRICKY]
    for i in range(n):
        words = " ".join(rng.choices(SENTENCES, k=rng.randint(1, 5))).split(" ")
        if i % 3 == 0:
            rng.shuffle(words)
        documents.append((" ".join(words), f"made{i % 3}"))
    return documents


def byte_level(size: int = 600, normalizer: object = None) -> Vocab:
    """Byte-level BPE with the GPT-2 pattern and one special token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(
        tokenizer,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
        "byte-level",
    )


def word_piece() -> Vocab:
    """Uncased WordPiece in the way of BERT."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    return _trained(tokenizer, trainer, "word-piece")


def unigram() -> Vocab:
    """Unigram with metaspace, NFKC and an unknown token."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    return _trained(tokenizer, trainer, "unigram")


def sentencepiece() -> Vocab:
    """The carried stories260K tokenizer: sentencepiece BPE with byte fallback, dummy space in front, 512 entries."""
    return Vocab.open(demo_model())


def _trained(tokenizer: Tokenizer, trainer: object, name: str) -> Vocab:
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    vocab = Vocab.open(tokenizer)
    return Vocab.from_spec(vocab.spec, vocab.config, name)


MAKERS = {
    "byte-level": byte_level,
    "byte-level NFC": lambda: byte_level(normalizer=normalizers.NFC()),
    "sentencepiece": sentencepiece,
    "word-piece": word_piece,
    "unigram": unigram,
}
