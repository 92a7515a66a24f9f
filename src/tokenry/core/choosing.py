"""Turn a name into a method: one of ours, `pkg.module:function`, or `./file.py:function`; and say what is missing."""

import difflib
import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType


def resolve(name: object, methods: Mapping[str, str], *, kind: str) -> object:
    """Find the method a user named.

    Args:
        name: a key of `methods`, `"pkg.module:function"`, `"./file.py:function"`, or the callable itself
            (returned as it is). A file is run: name only files you trust.
        methods: the room's own methods, `{"name": "module:function"}`.
        kind: what is being chosen, for the error sentence, as in `"transplant method"`.

    Raises:
        ValueError: the name is unknown (the nearest known one is suggested), or the module, file or function
            behind it does not exist.
        ImportError: the module exists and one of its own imports failed.
    """
    if not isinstance(name, str):
        if callable(name):
            return name
        raise ValueError(
            f"{kind} is a {type(name).__name__}; need a name or a function. Known names: {_listed(methods)}."
        )
    if name in methods:
        return _attribute(methods[name], kind=kind)
    if ":" in name:
        return _attribute(name, kind=kind)
    raise ValueError(
        f"{kind} {name!r} is not known.{suggest(name, methods)} Known: {_listed(methods)}. "
        "Your own is named as pkg.module:function or ./file.py:function."
    )


def suggest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` with the nearest known name, or an empty string when none is near."""
    by_folded = {key.casefold(): key for key in known}
    nearest = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return f" Did you mean {by_folded[nearest[0]]!r}?" if nearest else ""


def needs(extra: str, *modules: str) -> None:
    """Check that the modules of an optional extra are installed, without importing them.

    Raises:
        ImportError: naming what is missing and the line that installs it.
    """
    missing = [module for module in modules if not _is_installed(module)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ImportError(
            f"{' and '.join(missing)} {verb} not installed; this needs the extra {extra!r}. "
            f"Install it: pip install 'tokenry[{extra}]'"
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _listed(methods: Mapping[str, str]) -> str:
    return ", ".join(sorted(methods)) or "none"


def _attribute(target: str, *, kind: str) -> object:
    """The object behind `module:attribute`; the attribute may be dotted (`module:Class.method`)."""
    where, _, attribute = target.rpartition(":")
    if not where or not attribute:
        raise ValueError(f"{kind} {target!r} is half a name; need pkg.module:function or ./file.py:function.")
    module = _file_module(where, kind=kind) if where.endswith(".py") else _named_module(where, kind=kind)
    try:
        return functools.reduce(getattr, attribute.split("."), module)
    except AttributeError:
        public = [key for key in vars(module) if not key.startswith("_")]
        raise ValueError(
            f"{kind} {target!r}: {where} holds no {attribute!r}.{suggest(attribute, public)} "
            "Check the spelling after the colon."
        ) from None


def _named_module(name: str, *, kind: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        raise ValueError(
            f"{kind}: there is no module {name!r} to import. Install it, put its folder on PYTHONPATH, "
            "or name the file itself: ./file.py:function."
        ) from None


def _file_module(file: str, *, kind: str) -> ModuleType:
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise ValueError(f"{kind}: there is no file {file}. Check the path before the colon.")
    name = f"tokenry_user_{path.stem}_{hashlib.blake2b(bytes(path), digest_size=8).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs: dataclasses and pickling look the module up by its name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
