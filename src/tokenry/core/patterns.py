"""How known byte-level tokenizers cut text before merging: patterns by name, and rank files by their content.

Sources: tiktoken's encodings, the tokenizer.json files of the models, llama.cpp's pre-tokenizer names.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tokenry.core.choosing import suggest

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_CL100K = _CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _TAIL
_QWEN2 = _CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _TAIL
_QWEN35 = (
    _CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _cased(contraction: str, digits: str) -> str:
    """Words cut where lower case turns to upper case (o200k, tekken)."""
    head, tail = r"[^\r\n\p{L}\p{N}]?", r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    return f"{head}{_UPPER}*{_LOWER}+{contraction}|{head}{_UPPER}+{_LOWER}*{contraction}|{digits}{tail}"


_O200K = _cased(_CONTRACTION + "?", r"\p{N}{1,3}")
_TEKKEN = _cased("", r"\p{N}")
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
_DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}")
_FALCON = (r"[\p{P}$+<=>^~|`]+", _GPT2, "[0-9][0-9][0-9]")
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
_BAILING = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)

# Each name gives the cuts made one after the other.
PATTERNS: dict[str, tuple[str, ...]] = {
    "gpt2": (_GPT2,),
    "r50k": (_GPT2,),
    "p50k": (_GPT2,),
    "cl100k": (_CL100K,),
    "llama3": (_CL100K,),
    "o200k": (_O200K,),
    "qwen2": (_QWEN2,),
    "qwen35": (_QWEN35,),
    "tekken": (_TEKKEN,),
    "deepseek3": _DEEPSEEK3,
    "deepseek-coder": _DEEPSEEK_CODER,
    "falcon": _FALCON,
    "starcoder": (r"\p{N}", _GPT2),
    "bloom": (_BLOOM,),
    "viking": (_BLOOM, r"\p{N}"),
    "bailingmoe": (_BAILING,),
    "llama-cpp-default": (r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
}

# llama.cpp's name for the pre-tokenizer of a GGUF file -> ours.
_LLAMA_CPP = {
    "llama3": "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx smaug-bpe "
    "glm4 chatglm-bpe",
    "gpt2": "gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jina-v1-en "
    "jina-v2-code roberta-bpe mpt olmo jais trillion granite-docling exaone4",
    "qwen2": "qwen2 deepseek-r1-qwen kormo f2llmv2 stablelm2 megrez hunyuan solar-open grok-2",
    "qwen35": "qwen35",
    "o200k": "gpt-4o llama4 kanana2 talkie minimax-m2",
    "tekken": "tekken",
    "deepseek3": "deepseek-v3 hunyuan-dense joyai-llm hy_v4",
    "deepseek-coder": "deepseek-coder",
    "falcon": "falcon",
    "starcoder": "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2",
    "bloom": "bloom poro-chat gpt3-finnish",
    "viking": "viking",
    "bailingmoe": "bailingmoe bailingmoe2 llada-moe",
    "llama-cpp-default": "default",
}
LLAMA_CPP_NAMES: dict[str, str] = {name: ours for ours, names in _LLAMA_CPP.items() for name in names.split()}
# These look a whole pre-token up before merging it.
WHOLE_WORD_FIRST = frozenset(
    ["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano", "tekken"]
)

_ENDOFTEXT = "<|endoftext|>"
_FIM = ["<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]


@dataclass(frozen=True)
class KnownRanks:
    """What a rank file does not say about itself.

    Attributes:
        pattern: a key of `PATTERNS`.
        specials: the special tokens by id, as one function call because the lists are long.
        roles: role -> special token.
        adds_bos: whether the models expect bos before a text.
        nfc: whether the tokenizer normalises to NFC first.
    """

    pattern: str
    specials: Callable[[], dict[int, str]]
    roles: dict[str, str]
    adds_bos: bool = False
    nfc: bool = False


def _numbered(start: int, names: list[str]) -> dict[int, str]:
    return dict(enumerate(names, start))


def _reserved(stem: str, start: int, stop: int) -> list[str]:
    return [f"<|{stem}reserved_special_token_{i}|>" for i in range(start, stop)]


def _llama3() -> dict[int, str]:
    names = "begin_of_text end_of_text reserved_special_token_0 reserved_special_token_1 finetune_right_pad_id step_id"
    names += " start_header_id end_header_id eom_id eot_id python_tag image"
    return _numbered(128000, [*(f"<|{name}|>" for name in names.split()), *_reserved("", 2, 246)])


def _llama4() -> dict[int, str]:
    text = "header_start header_end eom eot step"
    names = ["begin_of_text", "end_of_text", "fim_prefix", "fim_middle", "fim_suffix", *text.split()]
    post, vision, thought = "text_post_train_", "vision_", "reasoning_"
    listed = [
        *(f"<|{name}|>" for name in names),
        *_reserved(post, 0, 6),
        *(f"<|{name}|>" for name in ("python_start", "python_end", "finetune_right_pad")),
        *_reserved(post, 8, 69),
        *(f"<|{name}|>" for name in ("image_start", "image_end")),
        *_reserved(vision, 0, 2),
        *(f"<|{name}|>" for name in ("tile_x_separator", "tile_y_separator")),
        *_reserved(vision, 2, 6),
        "<|image|>",
        *_reserved(vision, 6, 7),
        "<|patch|>",
        *_reserved(vision, 7, 1048),
        *_reserved(thought, 0, 8),
        *(f"<|reasoning_thinking_{name}|>" for name in ("start", "end")),
    ]
    return _numbered(200000, [*listed, *_reserved("", 0, 2048 - len(listed))])


def _qwen35() -> dict[int, str]:
    names = "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> "
    names += "<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|> "
    names += "<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> "
    names += "<|file_sep|> <tool_response> </tool_response> <think> </think> <|audio_start|> <|audio_end|> <tts_pad> "
    names += "<tts_text_bos> <tts_text_eod> <tts_text_bos_single> <|audio_pad|>"
    return _numbered(248044, names.split())


def _qwen() -> dict[int, str]:
    return _numbered(151643, [_ENDOFTEXT, "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))])


_OPENAI_ROLES = {"eos": _ENDOFTEXT}
_LLAMA_ROLES = {"bos": "<|begin_of_text|>", "eos": "<|end_of_text|>"}

# By SHA-256 of the file, the figure tiktoken itself checks where it has one.
KNOWN_RANKS: dict[str, KnownRanks] = {
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930": KnownRanks(
        "r50k", lambda: {50256: _ENDOFTEXT}, _OPENAI_ROLES
    ),
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069": KnownRanks(
        "p50k", lambda: {50256: _ENDOFTEXT}, _OPENAI_ROLES
    ),
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7": KnownRanks(
        "cl100k", lambda: _numbered(100257, [_ENDOFTEXT, *_FIM]) | {100276: "<|endofprompt|>"}, _OPENAI_ROLES
    ),
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d": KnownRanks(
        "o200k", lambda: {199999: _ENDOFTEXT, 200018: "<|endofprompt|>"}, _OPENAI_ROLES
    ),
    "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55": KnownRanks(
        "llama3", _llama3, _LLAMA_ROLES | {"pad": "<|finetune_right_pad_id|>"}, adds_bos=True
    ),
    "d0bdbaf59b0762c8c807617e2d8ea51420eb1b1de266df2495be755c8e0ed6ed": KnownRanks(
        "o200k", _llama4, _LLAMA_ROLES | {"pad": "<|finetune_right_pad|>"}, adds_bos=True
    ),
    "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186": KnownRanks(
        "qwen2", _qwen, _OPENAI_ROLES, nfc=True
    ),
    "8dde380a6405e935f5de16a99eb61c824f3f814dd1ed298784c72babb7a03cdd": KnownRanks(
        "qwen35", _qwen35, _OPENAI_ROLES, nfc=True
    ),
}


def known(name: str) -> tuple[str, ...]:
    """The cuts of a pattern by name.

    Raises:
        ValueError: with the nearest known name.
    """
    if name not in PATTERNS:
        raise ValueError(
            f"unknown split pattern {name!r}; known are {', '.join(PATTERNS)}.{suggest(name, PATTERNS)} "
            "A regular expression is taken too."
        )
    return PATTERNS[name]


def split_pretokenizer(patterns: tuple[str, ...]) -> dict:
    """The `pre_tokenizer` of a spec: one isolated split after the other, then the byte-level alphabet."""
    splits = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in patterns
    ]
    return {"type": "Sequence", "pretokenizers": [*splits, byte_level(use_regex=False)]}


def byte_level(*, use_regex: bool) -> dict:
    """A ByteLevel component, which serves as pre-tokeniser, post-processor and decoder."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
