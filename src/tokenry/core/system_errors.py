"""What the system refused, as a sentence: what happened, at which path, what is needed, what became of the output."""

import errno
import os
import shutil
from pathlib import Path

__all__ = ["INTACT", "check_names", "mendable", "refused_write"]

INTACT = "Nothing was changed: an older output there is intact"
_NO_RIGHT = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_ROOM = {
    errno.ENOSPC: ("no room left", "free some space, or write to another disk"),
    errno.EDQUOT: ("your disk quota is used up", "remove something of yours, or write to another disk"),
    errno.EFBIG: ("no file may be this large here", "raise the limit (ulimit -f), or write to another disk"),
}
_WRONG_PATH = {
    errno.EISDIR: "it is a folder; give the name of a file",
    errno.ENOTDIR: "a part of its path is a file, not a folder; give another path",
    errno.ENAMETOOLONG: "a name in it is too long for the file system; give a shorter one (255 bytes a name at most)",
    errno.ELOOP: "its links lead in a circle; give a path without them",
}
# safetensors and torch.save raise their own types: of the system's error only words come through, or not even those.
_WORDS = {"No space left on device": errno.ENOSPC, "Disk quota exceeded": errno.EDQUOT}
_WORDS_WHILE_WRITING = _WORDS | {"File too large": errno.EFBIG, "unexpected pos": errno.ENOSPC}


def mendable(problem: BaseException) -> str | None:
    """A sentence on an error of the system that the user can put right; None for any other error.

    Such are a full disk or quota, a refused read or write, and a path that cannot be: not a disk that is broken. The
    words of an error that is a sentence already are kept. Its cause is looked at too.
    """
    link: BaseException | None = problem
    while link is not None:
        code = _code(link, _WORDS)
        if code in _NO_ROOM or code in _NO_RIGHT or code in _WRONG_PATH:
            # Raised by the system itself it has two arguments; a sentence of ours has one.
            raw = link is problem and (not isinstance(link, OSError) or len(link.args) > 1)
            return _sentence(code, getattr(link, "filename", None)) if raw else str(problem)
        link = link.__cause__
    return None


def refused_write(error: BaseException, out: str | Path, *, under: Path, ours: bool) -> OSError | None:
    """The error to raise instead of one met while `out` was written; None where the system refused nothing.

    Args:
        out: as the user named it.
        under: a folder on the disk that is written to, there or not.
        ours: whether the refusal can be about `out`; a refused read of an input keeps its own words.
    """
    code = _code(error, _WORDS_WHILE_WRITING)
    if code in _NO_ROOM:
        return _os_error(OSError, code, _no_room(code, out, free=_free_bytes(under)))
    if code in _NO_RIGHT and ours:
        sentence = (
            f"may not write {out}: {os.strerror(code)}. {INTACT}. Give a place you may write, or change its mode."
        )
        return _os_error(PermissionError, code, sentence)
    if code in _WRONG_PATH and ours:
        return _os_error(OSError, code, f"cannot write {out}: {_WRONG_PATH[code]}.")
    return None


def check_names(path: str | Path) -> None:
    """Refuse a path the file system cannot take, before the work: else it shows when the finished output gets its name.

    Raises:
        OSError: a name in it, or the whole, is too long.
    """
    path = Path(os.path.abspath(Path(path).expanduser()))
    standing = path
    while not os.path.lexists(standing) and standing != standing.parent:
        standing = standing.parent
    limits = {name: os.pathconf(standing, name) for name in ("PC_NAME_MAX", "PC_PATH_MAX")}
    names, whole = (len(os.fsencode(part)) for part in path.parts), len(os.fsencode(path))
    if max(names, default=0) > limits["PC_NAME_MAX"] or whole >= limits["PC_PATH_MAX"]:
        raise _os_error(OSError, errno.ENAMETOOLONG, _sentence(errno.ENAMETOOLONG, str(path)))


def _code(error: BaseException, words: dict[str, int]) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    return next((code for said, code in words.items() if said in str(error)), None)


def _no_room(code: int, out: object, free: int | None = None) -> str:
    what, need = _NO_ROOM[code]
    left = f": {free:,} bytes are free there" if free is not None and code == errno.ENOSPC else ""
    return f"{what} while writing {out}{left}. {INTACT}; {need}."


def _sentence(code: int, path: object) -> str:
    name = "the output" if path is None else os.fsdecode(path) if isinstance(path, bytes) else str(path)
    if code in _NO_ROOM:
        return _no_room(code, name)
    if code in _NO_RIGHT:
        what = "a file" if path is None else name
        return f"may not use {what}: {os.strerror(code)}. {INTACT}. Change its mode, or give a path you may use."
    shown = "the path" if path is None else name if len(name) <= 100 else f"{name[:60]}... ({len(name)} characters)"
    return f"cannot use {shown}: {_WRONG_PATH[code]}."


def _os_error(kind: type[OSError], code: int, sentence: str) -> OSError:
    subtype = type(OSError(code, ""))  # the system's own: IsADirectoryError, NotADirectoryError
    error = (kind if kind is not OSError else subtype)(sentence)  # one argument: str() is the sentence alone
    error.errno = code
    return error


def _free_bytes(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
