"""A room's front functions: loaded when first used, and not hidden by a submodule of the same name."""

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType


class _Room(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # Importing room/audit.py binds the module to `room.audit`; the front function of that name must stay visible.
        if not (isinstance(value, ModuleType) and name in self.__dict__["_FRONT"]):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> object:
        front = self.__dict__["_FRONT"]
        if name not in front:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{self.__name__}.{front[name]}"), name)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *self.__dict__["_FRONT"]})


def open_front(room: str, front: Mapping[str, str]) -> None:
    """Let `room.name` give the function `name` of the submodule `front[name]`, imported on first use.

    Args:
        room: the package, as its `__name__`.
        front: function -> submodule.
    """
    module = sys.modules[room]
    module.__dict__["_FRONT"] = dict(front)
    module.__class__ = _Room
