"""A small vocabulary, rubrics, tiny models and planted documents for the tests of rating."""

from dataclasses import replace

from tokenry.core.vocab import Vocab
from tokenry.corpora.rubrics import Criterion, Ratings, Rubric, rubric
from tokenry.worlds.rated_texts import CRITERIA, DOMAINS, rated_texts

TEMPLATE = "<s>{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}answer: "
SMALL = Rubric(
    "small", (Criterion("first", "bad", "good"), Criterion("second", "bad", "good")), domains={"A": "Law", "B": "Art"}
)


def letters_vocab(*more, specials=()):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    known = ["<s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *more]
    merges = [(token[:-1], token[-1]) for token in more]
    backend = Tokenizer(models.BPE({token: place for place, token in enumerate(known)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<s>", *specials])
    return Vocab.open(backend)


def tiny_model(*, template=None, positions=1024, spread=0.3, width=32, specials=(), seed=0):
    """A random Llama over bytes, large enough weights that answers differ."""
    from tokenry.models.tiny import tiny_llama

    vocab = letters_vocab(specials=specials)
    lm = tiny_llama(vocab, width=width, heads=4, positions=positions, spread=spread, seed=seed)
    lm.tokenizer.chat_template = template
    return lm


def planted_rubric():
    """The criteria and domains of the planted documents, of DataMan's."""
    whole = rubric("dataman")
    kept = tuple(one for one in whole.criteria if one.name in CRITERIA)
    letters = {letter: name for letter, name in whole.domains.items() if name in DOMAINS}
    return replace(whole, name="planted", criteria=kept, domains=letters)


def planted(n, *, seed=0):
    """Texts and ratings."""
    scheme, made = planted_rubric(), rated_texts(n, seed=seed)
    letters = {name: letter for letter, name in scheme.domains.items()}
    scores = [dict(zip(CRITERIA, one.scores, strict=True)) for one in made]
    ratings = [Ratings(tuple(score[name] for name in scheme.names), letters[one.domain])
               for score, one in zip(scores, made, strict=True)]  # fmt: skip
    return [one.text for one in made], ratings
