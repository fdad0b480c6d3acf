"""Unpickling a hand's file without chumpy and without running anything in it.

Only inert stand-ins are made: even numpy's and scipy's classes are replaced, and arrays come afterwards from the raw
bytes. A global outside `_ADMITTED` is refused by name.
"""

import io
import math
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from handkit.errors import HandkitError

RESAVE: Final = "use MANO_RIGHT.pkl or MANO_LEFT.pkl as released, or re-save its arrays with numpy.savez"
_MAX_OPCODES: Final = 200_000  # the released files have some hundreds


def unpickle(path: Path, content: bytes) -> dict[str, Any]:
    """The dictionary in a hand's pickle file, its arrays as stand-ins for `to_array`.

    Raises HandkitError for a global that is not admitted, and for anything that is no whole pickle of a dictionary.
    """
    try:
        _check_opcodes(content)
        held = SafeUnpickler(path, content).load()
    except HandkitError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise HandkitError(f"{path} is no readable pickle file ({error})", RESAVE) from error
    if not isinstance(held, dict):
        raise HandkitError(f"{path} holds a {type(held).__name__} instead of a dictionary", RESAVE)
    return held


def _check_opcodes(content: bytes) -> None:
    """Walk the pickle without loading it: it must be whole, and name no memo entry that would make the memo huge."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if count > _MAX_OPCODES or ("PUT" in opcode.name and int(argument or 0) > _MAX_OPCODES):
            raise ValueError("more parts than a hand has")


class _Inert:
    """Stands in for a class or function of the file: keeps what it is given and does nothing with it."""

    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: object) -> Any:
        made = super().__new__(cls)
        made.args = args
        made.state = None
        return made

    def __init__(self, *args: object) -> None:
        pass

    # Defined, so that BUILD never falls back to setting attributes, not even those of the stand-in itself.
    def __setstate__(self, state: object) -> None:
        self.state = state

    @property
    def parts(self) -> dict[str, Any]:
        if not isinstance(self.state, dict):
            raise ValueError(f"a {type(self).__name__[1:]} without content")
        return self.state


class _Array(_Inert):
    """numpy.ndarray; its state is (version, shape, dtype, fortran, bytes)."""


class _Buffer(_Inert):
    """numpy's _frombuffer, which protocol 5 uses for arrays: called with (bytes, dtype, shape, order)."""


class _Dtype(_Inert):
    pass


class _Scalar(_Inert):
    pass


class _Ch(_Inert):
    pass


class _Select(_Inert):
    pass


class _Csc(_Inert):
    pass


class _Csr(_Inert):
    pass


class _Encode(_Inert):
    """_codecs.encode, which old pickles use for bytes."""

    def __new__(cls, *args: object) -> Any:
        text, encoding = args
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise ValueError("bytes that are not encoded as latin1")
        return text.encode("latin1")


_ADMITTED: Final[dict[tuple[str, str], type]] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Buffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Encode,
    **{(f"scipy.sparse.{name}", "csc_matrix"): _Csc for name in ("csc", "_csc")},
    **{(f"scipy.sparse.{name}", "csr_matrix"): _Csr for name in ("csr", "_csr")},
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("chumpy.ch", "Ch"): _Ch,
    ("chumpy.reordering", "Select"): _Select,
}


class SafeUnpickler(pickle.Unpickler):
    """Admits the globals above and nothing else; arrays come as stand-ins for `to_array`, and nothing is called."""

    def __init__(self, path: Path, content: bytes) -> None:
        super().__init__(io.BytesIO(content), fix_imports=False, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str, /) -> type:
        if (module, name) not in _ADMITTED:
            raise HandkitError(
                f"{self._path} refers to {module}.{name}, which no hand needs: refused, nothing was run",
                f"do not trust this file; {RESAVE}",
            )
        return _ADMITTED[module, name]

    def persistent_load(self, pid: object, /) -> NoReturn:
        raise pickle.UnpicklingError("it refers to objects outside itself")


def to_array(value: object) -> np.ndarray:
    """A stand-in, or a plain value, as a numeric array; ValueError, TypeError or IndexError where it is none."""
    if isinstance(value, (_Array, _Buffer)):
        return _array(value)
    if isinstance(value, _Scalar):
        dtype, raw = value.args
        return np.frombuffer(_bytes(raw), _dtype(dtype)).reshape(())
    if isinstance(value, _Ch):
        return to_array(value.parts.get("x"))
    if isinstance(value, _Select):
        return _selected(value)
    if isinstance(value, (_Csc, _Csr)):
        return _dense(value)
    if isinstance(value, _Inert):
        raise ValueError(f"a {type(value).__name__[1:]}")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"dtype {array.dtype}")
    return array


def _array(value: _Array | _Buffer) -> np.ndarray:
    if isinstance(value, _Buffer):
        raw, dtype, shape, order = value.args
    elif isinstance(value.state, tuple):
        _, shape, dtype, fortran, raw = value.state
        order = "F" if fortran else "C"
    else:
        raise ValueError("an array without content")
    content, kind = _bytes(raw), _dtype(dtype)
    if math.prod(shape) * kind.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes for shape {shape} of {kind}")
    return np.frombuffer(content, kind).reshape(shape, order=order)


def _dtype(value: object) -> np.dtype:
    if not isinstance(value, _Dtype) or not re.fullmatch("f[248]|[iu][1248]|b1", str(value.args[0])):
        raise ValueError(f"dtype {value.args if isinstance(value, _Dtype) else value!r}")
    state = value.state
    big = isinstance(state, tuple) and state[1] == ">"
    return np.dtype(value.args[0]).newbyteorder(">" if big else "<")


def _bytes(raw: object) -> bytes:
    if isinstance(raw, str):  # a Python 2 string
        return raw.encode("latin1")
    if isinstance(raw, (bytes, bytearray)):
        return bytes(raw)
    raise ValueError(f"a {type(raw).__name__} in place of bytes")


def _selected(value: _Select) -> np.ndarray:
    """chumpy's Select: entries of the flattened array, in a shape of their own."""
    parts = value.parts
    indices, shape = parts.get("idxs"), parts.get("preferred_shape")
    if not isinstance(indices, (_Array, _Buffer)):
        raise ValueError("a Select without indices")
    chosen = to_array(parts.get("a")).ravel()[_array(indices)]
    return chosen if shape is None else chosen.reshape(shape)


def _dense(value: _Csc | _Csr) -> np.ndarray:
    parts = value.parts
    shape = parts.get("_shape", parts.get("shape"))
    if shape not in ((16, 778), [16, 778]):
        raise ValueError(f"a sparse matrix of shape {shape}")
    entries, minor, ends = (to_array(parts.get(key)) for key in ("data", "indices", "indptr"))
    counts = np.diff(ends)
    if counts.min() < 0 or not counts.sum() == len(entries) == len(minor):
        raise ValueError("a sparse matrix that does not add up")
    rows, columns = np.repeat(np.arange(len(counts)), counts), minor
    if isinstance(value, _Csc):
        rows, columns = columns, rows
    dense = np.zeros((16, 778))
    np.add.at(dense, (rows, columns), entries)
    return dense
