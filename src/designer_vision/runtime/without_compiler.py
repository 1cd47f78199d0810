"""torch and torchvision without torch's compiler, which torchvision imports and nothing here uses: 1.4 s of a command's start."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

COMPILER = ("torch._dynamo", "torch._dynamo.utils")


def leave_compiler_out() -> None:
    """Have the compiler imported only once something is asked of it; call it before torch is imported."""
    if "torch" not in sys.modules:
        for name in COMPILER:
            sys.modules[name] = _Later(name)


def _as_it_is(function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
    """What the compiler's `disable` gives where nothing is compiled."""
    return function


class _Later(ModuleType):
    """Stands for one of its modules, and knows what torchvision asks while it is imported; anything else imports the module."""

    disable = staticmethod(_as_it_is)
    is_compile_supported = staticmethod(lambda device: False)

    def __getattr__(self, name: str) -> Any:
        is_asked_for_a_part = (self.__name__, name) == (COMPILER[0], "__path__")
        if name.startswith("__") and not is_asked_for_a_part:
            raise AttributeError(name)
        for stand_in in COMPILER:
            if isinstance(sys.modules.get(stand_in), _Later):
                del sys.modules[stand_in]
        import torch._dynamo.utils  # noqa: F401 (puts the real ones in their place)

        return getattr(sys.modules[self.__name__], name)
