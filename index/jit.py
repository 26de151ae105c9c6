"""How every compiled loop of this folder is compiled: one decorator, `kernel`.

1. A kernel is numba `njit` that releases the GIL, does not check bounds, and divides as C does. It compiles on its
   first call for the types it is called with; explicit signatures would compile while importing. A constant is a
   number like any other.
2. Compiled code is kept in the user's cache folder, `vsearch/kernels/<hash>`: below $NUMBA_CACHE_DIR if that is set,
   else below $XDG_CACHE_HOME or ~/.cache. The hash covers every source file of this folder and numba's version:
   numba itself notices a change only in the file of the kernel, not in the kernels that this one calls. numba adds
   the processor's name and features to the key. One process saves at a time.
3. Where no such folder can be written, kernels are compiled anew in every process.
4. With NUMBA_DISABLE_JIT=1 a kernel is the plain Python function.
5. Compiling that takes longer than a second is told (patience.py).

Invariant: numba's own settings are left as they were, so the user's numba functions cache where they always did.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from . import patience

numba = import_module("numba")  # imported so because its type stubs cover only a part of it
types: Any = import_module("numba.core.types")
config: Any = import_module("numba.core.config")

Function = TypeVar("Function", bound=Callable[..., Any])

patience.watch()
_decorating = threading.Lock()  # numba's cache folder is a global setting


@overload
def kernel(function: Function) -> Function: ...


@overload
def kernel(*, fastmath: bool | set[str] = False) -> Callable[[Function], Function]: ...


def kernel(function: Any = None, *, fastmath: bool | set[str] = False) -> Any:
    """Compile a function: arrays and numbers in, numbers out, no Python objects. Used as `@kernel` or with settings.

    `fastmath` lets LLVM reorder float arithmetic and assume that there are no NaN and infinities; or only what a set of
    its flags says. It is stated where it is used, because it is wrong for kernels that compare with +inf.
    """

    def decorate(function: Function) -> Function:
        options = {"nogil": True, "boundscheck": False, "error_model": "numpy", "fastmath": fastmath}
        folder = cache_folder()
        if config.DISABLE_JIT:
            return function
        if folder is None:
            compiled: Function = numba.njit(**options)(function)
        else:
            with _decorating:
                before = config.CACHE_DIR
                config.CACHE_DIR = folder
                try:
                    compiled = numba.njit(cache=True, **options)(function)
                finally:
                    config.CACHE_DIR = before
            _save_safely(compiled, Path(folder) / "lock")
        _forget_literals(compiled)
        return compiled

    return decorate if function is None else decorate(function)


@cache
def cache_folder() -> str | None:
    """The folder of compiled kernels, made and known to be writable; None where there is none."""
    try:
        base = config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "vsearch" / "kernels" / _fingerprint()
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # access rights alone do not tell of a read-only mount
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    return str(folder)


def _fingerprint() -> str:
    """A hash of all that compiled code depends on, but for the processor."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).resolve().parent.glob("*.py")):
        source = path.read_bytes()
        digest.update(f"\0{path.name}\0{len(source)}\0".encode())
        digest.update(source)
    return digest.hexdigest()[:16]


def _save_safely(compiled: Any, lock: Path) -> None:
    """Let one process save at a time, and a search go on when its freshly compiled code cannot be saved.

    numba itself names the file of a new version after those that its index knows, so two processes could give one name
    to the code of two versions."""
    stored = compiled._cache
    save = stored.save_overload

    def save_overload(signature: Any, data: Any) -> None:
        try:
            lock.touch()
            with lock.open() as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                save(signature, data)
        except OSError:
            stored.disable()

    stored.save_overload = save_overload


def _forget_literals(compiled: Any) -> None:
    """Let a call with a constant use the version for any number; numba would compile another one for each constant."""
    template = compiled.get_call_template
    compiled.get_call_template = lambda args, kws: template(tuple(map(types.unliteral, args)), kws)


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A plain read-only view: a kernel is compiled once for arrays that can be written and once for those that cannot,
    and memory-mapped ones cannot."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
