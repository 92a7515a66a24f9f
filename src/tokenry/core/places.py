"""Find the files of documents behind a path, glob, folder, list or `hf://datasets/...`, and open them as bytes."""

import contextlib
import glob
import itertools
import lzma
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tokenry.core.choosing import suggest

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet", ".txt": "txt"}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".xz": "xz", ".bz2": "bz2"}
KNOWN = ".jsonl .ndjson .json .txt (each also with .gz .zst .xz .bz2) and .parquet"
# Records that tools leave beside data: never data themselves when a whole folder is read.
RECORDS = {"run.json", "report.json", "manifest.json", "dataset_info.json", "dataset_infos.json", "state.json"}
HUB = "hf://"


@dataclass(frozen=True)
class Place:
    """One file of documents.

    Attributes:
        path: how it is opened and named in messages.
        name: its path below the common folder of all files read together; made ids begin with it.
        stem: its file name without suffixes, the source of its documents when they name none.
        format: one of the values of `FORMATS`.
        compression: one of the values of `COMPRESSIONS`, or None.
    """

    path: str
    name: str
    stem: str
    format: str
    compression: str | None


def split_suffix(path: str) -> tuple[str, str | None, str | None]:
    """Stem, format and compression that a file name promises; the format is None when unknown.

    >>> split_suffix("crawl/de.jsonl.zst")
    ('de', 'jsonl', 'zstd')
    """
    stem, suffix = os.path.splitext(os.path.basename(path))
    compression = COMPRESSIONS.get(suffix.lower())
    if compression:
        stem, suffix = os.path.splitext(stem)
    form = FORMATS.get(suffix.lower())
    if form is None or (form == "parquet" and compression):
        return stem, None, compression
    return stem, form, compression


def find_places(source: str | os.PathLike | Sequence[str | os.PathLike]) -> list[Place]:
    """All files of documents behind paths, globs, folders and hub addresses.

    A folder is read with all its subfolders, in sorted order, taking files with a known suffix and leaving out hidden
    ones and the records of tools (`RECORDS`). A file named twice is read once.

    Raises:
        FileNotFoundError: nothing is there, or the hub is switched off or out of reach.
        ValueError: what is there is not of a known kind.
    """
    sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    local, remote = {}, {}  # insertion-ordered sets
    for one in map(os.fspath, sources):
        if one.startswith(HUB):
            remote.update(dict.fromkeys(_on_hub(one)))
        else:
            local.update(dict.fromkeys(_on_disk(one)))
    return _named(list(local)) + _named(list(remote))


def looks_like_paths(strings: Sequence[object]) -> bool:
    """Whether a list names files rather than holding texts.

    It does when every member is a path object, a hub address, a one-line string that ends in a known suffix (also a
    glob such as `de/*.jsonl`), or the name of an existing folder. Signs alone (`"/"`, `"."`, `"*"`) are texts.

    Raises:
        ValueError: some members are existing files of documents and others are not paths at all.
    """
    if not strings or not all(isinstance(one, (str, os.PathLike)) for one in strings):
        return False
    if all(map(_is_path_like, strings)):
        return True
    for one in strings:
        if isinstance(one, os.PathLike) or (_has_known_suffix(one) and os.path.isfile(os.path.expanduser(one))):
            raise ValueError(
                f"a list holds both files ({os.fspath(one)}) and strings that are no files. "
                "Give files, as pathlib.Path, or texts, not both."
            )
    return False


@contextlib.contextmanager
def open_place(place: Place) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed, as a stream."""
    with contextlib.ExitStack() as stack:
        opener = _hub_filesystem(place.path).open if place.path.startswith(HUB) else open
        file = stack.enter_context(opener(place.path, "rb"))
        if place.compression == "xz":
            file = stack.enter_context(lzma.open(file))
        elif place.compression is not None:
            import pyarrow as pa

            file = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(file, "r"), place.compression))
        yield file


def _is_path_like(one: str | os.PathLike) -> bool:
    if isinstance(one, os.PathLike) or one.startswith(HUB):
        return True
    if not one or len(one) > 4096 or "\n" in one or "\0" in one:
        return False
    return _has_known_suffix(one) or (any(map(str.isalnum, one)) and os.path.isdir(one))


def _has_known_suffix(one: str) -> bool:
    # The cheap look first: a list may hold a million long texts.
    return "." in one[-16:] and "\n" not in one[-16:] and split_suffix(one)[1] is not None


def _expanded(path: str) -> list[str]:
    """What a path or glob matches; a name that exists is taken as it is, whatever characters it holds."""
    if os.path.lexists(path):
        return [path]
    return sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) else []


def _on_disk(source: str) -> list[str]:
    if "\n" in source or "\0" in source or len(source) > 4096:
        raise ValueError(f"{source[:40]!r}... is a text, not a path. Give texts as a list: [text].")
    matches = _expanded(os.path.expanduser(source))
    if not matches:
        raise FileNotFoundError(f"{source}: {_why_missing(source)}")
    files = []
    for match in matches:
        if os.path.isdir(match):
            files += _in_folder(match, source)
        elif len(matches) == 1:
            files.append(_checked(match))
        elif _has_known_suffix(match) and os.path.basename(match) not in RECORDS:
            files.append(match)
    if not files:
        raise ValueError(f"{source} matches {len(matches)} files, none of a known kind; need {KNOWN}.")
    return files


def _why_missing(source: str) -> str:
    if glob.has_magic(source):
        return "no file matches this pattern. Check it, or give the folder."
    folder, name = os.path.split(os.path.expanduser(source))
    if os.path.isdir(folder or "."):
        near = suggest(name, os.listdir(folder or "."))
        return f"no such file or folder.{near} A data set of the hub is named {HUB}datasets/owner/name."
    return f"no such file or folder: {folder} does not exist. A data set of the hub is named {HUB}datasets/owner/name."


def _in_folder(folder: str, source: str) -> list[str]:
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = [name for name in names if not name.startswith(".") and name not in RECORDS]
        files += [os.path.join(parent, name) for name in visible if _has_known_suffix(name)]
    if not files:
        held = sorted(os.listdir(folder))
        shown = f"holds {', '.join(held[:5])}{', ...' if len(held) > 5 else ''}" if held else "is empty"
        raise ValueError(f"no documents in the folder {source}: it {shown}. Need files of {KNOWN}.")
    return sorted(files)


def _checked(path: str) -> str:
    if not _has_known_suffix(path):
        raise ValueError(f"{path}: unknown kind of file. Need {KNOWN}; rename it, or convert it.")
    return path


def _named(paths: list[str]) -> list[Place]:
    """Places with names below the common folder, so that made ids differ between files of one name."""
    if not paths:
        return []
    slashed = [path if path.startswith(HUB) else Path(os.path.abspath(path)).as_posix() for path in paths]
    folders = [path.rpartition("/")[0].split("/") for path in slashed]
    # What the first and the last in order share, all between them share.
    pairs = zip(min(folders), max(folders), strict=False)
    depth = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    places = []
    for path, full in zip(paths, slashed, strict=True):
        stem, form, compression = split_suffix(path)
        places.append(Place(path, "/".join(full.split("/")[depth:]), stem, form, compression))
    return places


def _on_hub(source: str) -> list[str]:
    system = _hub_filesystem(source)
    try:
        matches = system.glob(source) if glob.has_magic(source) else [source]
        found = [path for match in matches for path in (system.find(match) if system.isdir(match) else [match])]
        missing = not found or (found == [source] and not system.exists(source))
    except FileNotFoundError:
        missing = True
    except Exception as error:  # each version of the client has its own network errors
        raise FileNotFoundError(
            f"{source}: the hub did not answer ({type(error).__name__}: {error}). "
            "Check the network and the login, or give a local file or folder."
        ) from error
    if missing:
        raise FileNotFoundError(f"{source}: nothing there on the hub. The form is {HUB}datasets/owner/name/path.")
    paths = [path if path.startswith(HUB) else HUB + path for path in found]
    if len(paths) == 1:
        return [_checked(paths[0])]
    kept = sorted(path for path in paths if _has_known_suffix(path) and os.path.basename(path) not in RECORDS)
    if not kept:
        raise ValueError(f"{source} holds {len(paths)} files, none of a known kind; need {KNOWN}.")
    return kept


def _hub_filesystem(source: str) -> object:
    for switch in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(switch, "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise FileNotFoundError(
                f"{source}: this lies on the hub, and the hub is switched off ({switch} is set). "
                f"Unset {switch}, or give a local file or folder."
            )
    from huggingface_hub import HfFileSystem

    return HfFileSystem()
