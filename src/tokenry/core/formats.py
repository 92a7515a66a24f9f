"""Open a tokenizer of any format as the content of a `tokenizer.json`: one door, told by name and by content.

Formats: Hugging Face folder, hub name or `tokenizer.json`; GPT-2's vocab.json + merges.txt; SentencePiece `.model`;
tiktoken ranks, by path or by tiktoken's name; `tekken.json`; WordPiece `vocab.txt`; GGUF. Every file may be `.xz`.
"""

import json
import lzma
import os
from pathlib import Path

from tokenry.core.encodings import encoding_bytes, is_encoding
from tokenry.core.hf_json import MAX_BYTES, Spec, check_spec, parse_json, reading

__all__ = ["Spec", "read_spec"]

# In this order of preference when a folder holds several.
_FOLDER_FILES = ("tokenizer.json", "tekken.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "config.json")
_HUB_FILES = (*_FOLDER_FILES, "vocab.json", "merges.txt", "vocab.txt", *_BESIDE, "chat_template.jinja")


def read_spec(source: object, *, pattern: str | None = None) -> Spec:
    """Read any tokenizer into a spec.

    Args:
        source: a `tokenizers.Tokenizer`, a fast tokenizer of transformers, a path, a hub name, or one of tiktoken's
            names (cl100k, o200k, p50k, r50k, also with _base).
        pattern: for tiktoken rank files, which do not hold it: the split pattern, or the name of a known one.

    Raises:
        FileNotFoundError: nothing there, or a hub name while the hub cannot be reached.
        ValueError: the content is not a tokenizer we know.
        ImportError: the format needs an extra which is not installed.
    """
    if hasattr(source, "backend_tokenizer"):
        return _from_fast(source)
    if hasattr(source, "to_str"):
        return Spec(json.loads(source.to_str()), {}, "tokenizer")
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(
            f"cannot open a {type(source).__name__} as a tokenizer; need a path, a hub name, a tokenizers.Tokenizer "
            "or a fast tokenizer of transformers (a slow one has to be converted first)."
        )
    if not str(source):
        raise ValueError("an empty name (an unset variable?); need a tokenizer: a file, a folder or a hub name.")
    path = Path(source)
    if path.is_dir():
        with reading(str(path)):
            return _from_folder(path, pattern)
    if path.is_file():
        with reading(str(path)):
            return _from_file(path, pattern)
    return _from_hub(str(source), pattern)


def _from_fast(tokenizer: object) -> Spec:
    """A fast tokenizer of transformers: its backend, and the special tokens it names."""
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    config = {}
    for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        token = getattr(tokenizer, f"{role}_token", None)
        config[f"{role}_token"] = None if token is None else str(token)
    # Beside the roles a tokenizer may name tokens that its model's processor asks for: image_token, boi_token, ...
    for name in getattr(tokenizer, "SPECIAL_TOKENS_ATTRIBUTES", ()):
        if name not in config and name.endswith("_token") and getattr(tokenizer, name, None) is not None:
            config[name] = str(getattr(tokenizer, name))
    for key in ("chat_template", "model_max_length", "padding_side", "truncation_side", "add_bos_token"):
        value = (getattr(tokenizer, "init_kwargs", None) or {}).get(key, getattr(tokenizer, key, None))
        if value is not None:
            config[key] = value
    # What wraps a text is already in the post-processor of the backend.
    config.pop("add_bos_token", None)
    name = str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
    return Spec(spec, config, Path(name).name or name)


def read_bytes(path: Path) -> bytes:
    """The content of a file, `.xz` decompressed in memory, at most 256 MiB.

    Raises:
        ValueError: over the bound, or a damaged `.xz`.
    """
    if path.suffix == ".xz":
        try:
            with lzma.open(path) as file:
                data = file.read(MAX_BYTES + 1)
        except (lzma.LZMAError, EOFError) as error:
            raise ValueError(f"{path} is not a complete .xz file ({error}). Fetch it again.") from None
    elif path.stat().st_size <= MAX_BYTES:
        return path.read_bytes()
    else:
        data = None
    if data is None or len(data) > MAX_BYTES:
        raise ValueError(f"{path} holds over {MAX_BYTES:,} bytes, more than any tokenizer. Is it a model?")
    return data


def _plain_name(path: Path) -> str:
    return path.name.removesuffix(".xz")


def _find(folder: Path, *names: str) -> Path | None:
    return next((folder / n for name in names for n in (name, f"{name}.xz") if (folder / n).is_file()), None)


def _from_folder(folder: Path, pattern: str | None) -> Spec:
    """The tokenizer of a folder, with what the files beside it say."""
    config = _config_beside(folder)
    name = folder.resolve().name
    if main := _find(folder, *_FOLDER_FILES):
        read = _from_file(main, pattern, config)
        return Spec(read.spec, read.config, name)
    for vocab_name, merges_name in (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")):
        vocab, merges = _find(folder, vocab_name), _find(folder, merges_name)
        if vocab and merges:
            from tokenry.core.format_ranks import spec_from_gpt2

            spec, found = spec_from_gpt2(parse_json(read_bytes(vocab), str(vocab)), read_bytes(merges), str(merges))
            return Spec(spec, {**found, **config}, name)
    if vocab := _find(folder, "vocab.txt"):
        return Spec(*_wordpiece(vocab, config), name)
    others = sorted(
        path for path in folder.iterdir() if _plain_name(path).endswith((".tiktoken", ".gguf", ".model", "tekken.json"))
    )
    if len(others) == 1:
        read = _from_file(others[0], pattern, config)
        return Spec(read.spec, read.config, name)
    if others:
        names = ", ".join(path.name for path in others[:5])
        raise ValueError(f"{folder} holds {len(others)} tokenizer files ({names}); name the one you mean.")
    raise FileNotFoundError(
        f"{folder} holds no tokenizer: none of tokenizer.json, tekken.json, *.model, vocab.json with merges.txt, "
        "vocab.txt, *.tiktoken, *.gguf. Pass the folder the tokenizer was saved to."
    )


def _config_beside(folder: Path) -> dict:
    """tokenizer_config.json, completed from the older files and, for special ids, from the model's config."""
    config: dict = {}
    for name in _BESIDE:
        if path := _find(folder, name):
            content = parse_json(read_bytes(path), str(path))
            if name.endswith("tokenizer_config.json"):
                wanted = content
            else:
                wanted = {key: value for key, value in content.items() if key.endswith(("_token", "_token_id"))}
            config = {**wanted, **config}
    template = folder / "chat_template.jinja"
    if template.is_file():
        config.setdefault("chat_template", template.read_text(encoding="utf-8"))
    return config


def _from_file(path: Path, pattern: str | None, config: dict | None = None) -> Spec:
    """One file, its format told by its first bytes, and by its name where those do not decide."""
    name, plain = path.name, _plain_name(path)
    if config is None:
        # Only names that mean "the tokenizer of this folder": a lone file may lie beside anything.
        config = _config_beside(path.parent) if plain in (*_FOLDER_FILES, "vocab.txt") else {}
    with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as file:
        try:
            head = file.read(64)
        except (lzma.LZMAError, EOFError) as error:
            raise ValueError(f"{path} is not a complete .xz file ({error}). Fetch it again.") from None
    if not head:
        raise ValueError(f"{path} is empty; need a tokenizer file.")
    if head.startswith(b"GGUF"):
        from tokenry.core.format_gguf import spec_from_gguf

        spec, found = spec_from_gguf(path)
        return Spec(spec, {**found, **config}, name)
    data = read_bytes(path)
    if plain == "vocab.txt":
        return Spec(*_wordpiece(path, config), name)
    if head.lstrip()[:1] == b"{" or plain.endswith(".json"):
        content = parse_json(data, str(path))
        if "config" in content and isinstance(content.get("vocab"), list):
            from tokenry.core.format_ranks import spec_from_tekken

            spec, found = spec_from_tekken(content, str(path))
            return Spec(spec, {**found, **config}, name)
        check_spec(content, str(path))
        return Spec(content, config, path.resolve().parent.name if plain == "tokenizer.json" else name)
    if _looks_like_ranks(head):
        from tokenry.core.format_ranks import spec_from_tiktoken

        spec, found = spec_from_tiktoken(data, str(path), pattern=pattern)
        return Spec(spec, {**found, **config}, name)
    from tokenry.core.format_sentencepiece import spec_from_sentencepiece

    return Spec(*spec_from_sentencepiece(data, str(path), config), name)


def _looks_like_ranks(head: bytes) -> bool:
    """A first line of base64, a space and a number."""
    parts = head.split(b"\n", 1)[0].split(b" ")
    return len(parts) == 2 and parts[1].strip().isdigit() and parts[0].isascii() and b"\0" not in head


def _wordpiece(path: Path, config: dict) -> tuple[dict, dict]:
    from tokenry.core.format_wordpiece import spec_from_wordpiece

    return spec_from_wordpiece(read_bytes(path), str(path), config)


def _from_hub(name: str, pattern: str | None) -> Spec:
    """A hub name: from the local cache, else downloaded; a sentence at once when the hub cannot be reached."""
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith((".json", ".model", ".xz"))
    if looks_local or not name:
        raise FileNotFoundError(f"{name!r} does not exist; need the path of a tokenizer file or folder, or a hub name.")
    if is_encoding(name):
        from huggingface_hub import constants

        from tokenry.core.format_ranks import spec_from_tiktoken

        data = encoding_bytes(name, offline=constants.is_offline_mode())
        return Spec(*spec_from_tiktoken(data, name, pattern=pattern), name)
    repo, _, revision = name.partition("@")
    folder = _cached(repo, revision or None) or _download(name, repo, revision or None)
    read = _from_folder(folder, pattern)
    return Spec(read.spec, read.config, name)


def _cached(repo: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for file in _HUB_FILES:
        try:
            found = try_to_load_from_cache(repo, file, revision=revision)
        except HFValidationError:
            raise FileNotFoundError(f"{repo!r} does not exist here and cannot be a hub name.") from None
        if isinstance(found, str) and file not in (*_BESIDE, "chat_template.jinja"):
            return Path(found).parent
    return None


def _download(name: str, repo: str, revision: str | None) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    if constants.is_offline_mode() or not _hub_answers(constants.ENDPOINT):
        reason = "the hub is switched off (HF_HUB_OFFLINE)" if constants.is_offline_mode() else "the hub is unreachable"
        raise FileNotFoundError(
            f"{name!r} is not a file or folder here and {reason}. Pass a local folder, or connect and try again."
        )
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(_HUB_FILES)))
    except HfHubHTTPError as error:
        raise FileNotFoundError(
            f"the hub gave no {name!r} ({error}). Is the name right, and may you read it?"
        ) from None


def _hub_answers(endpoint: str) -> bool:
    """One short request, because a missing network costs 47 s of retries inside the hub library."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(endpoint, method="HEAD"), timeout=3):
            return True
    except HTTPError:
        return True
    except (OSError, HTTPException):
        return False
