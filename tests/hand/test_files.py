"""Hand files: the released layout is read exactly, everything else is refused with a clear error and nothing runs."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from handkit.errors import HandkitError
from handkit.hand import files
from handkit.hand.files import read_hand_file
from handkit.hand.unpickle import _ADMITTED, unpickle

FIELDS = {
    "v_template": "v_template",
    "shapedirs": "shapedirs",
    "posedirs": "posedirs",
    "J_regressor": "J_regressor",
    "weights": "lbs_weights",
    "f": "faces",
    "hands_mean": "hands_mean",
    "hands_components": "hands_components",
}
ARRAYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f", "hands_mean")


class Runs:
    """Pickles to a call: loading it with pickle would make the call."""

    def __init__(self, call: Callable[..., object], *args: object) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.args


def test_chumpy_file_equals_what_chumpy_evaluates(reference: Path) -> None:
    read = read_hand_file(reference / "mano_format_chumpy.pkl")
    arrays = np.load(reference / "mano_format_arrays.npz")
    for key, field in FIELDS.items():
        np.testing.assert_array_equal(read[field], arrays[key])
        assert read[field].dtype == (np.int64 if key == "f" else np.float64)
    assert read["parents"].tolist() == [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("sparse", [scipy.sparse.csc_matrix, scipy.sparse.csr_matrix, np.asarray])
def test_resaved_pickles(mano_dict: dict, write_pickle: Callable, protocol: int, sparse: Callable) -> None:
    dense = mano_dict["J_regressor"].toarray()
    mano_dict["J_regressor"] = sparse(dense)
    mano_dict["posedirs"] = np.asfortranarray(mano_dict["posedirs"])
    mano_dict["v_template"] = mano_dict["v_template"].astype(">f8")
    read = read_hand_file(write_pickle(mano_dict, protocol=protocol))
    for key, field in FIELDS.items():
        expected = dense if key == "J_regressor" else mano_dict[key]
        np.testing.assert_array_equal(read[field], expected)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"numpy._core.multiarray", b"numpy.core.multiarray"),
        (b"numpy.core.multiarray", b"numpy._core.multiarray"),
        (b"scipy.sparse._csc", b"scipy.sparse.csc"),
    ],
)
def test_old_and_new_module_names(mano_dict: dict, write_pickle: Callable, old: bytes, new: bytes) -> None:
    path = write_pickle(mano_dict)
    path.write_bytes(path.read_bytes().replace(b"c" + old + b"\n", b"c" + new + b"\n"))
    np.testing.assert_array_equal(read_hand_file(path)["lbs_weights"], mano_dict["weights"])


def test_npz(mano_dict: dict, tmp_path: Path) -> None:
    mano_dict["J_regressor"] = mano_dict["J_regressor"].toarray()
    np.savez_compressed(tmp_path / "MANO_RIGHT.npz", **mano_dict)
    read = read_hand_file(tmp_path / "MANO_RIGHT.npz")
    np.testing.assert_array_equal(read["shapedirs"], mano_dict["shapedirs"])


@pytest.mark.parametrize("key", ARRAYS)
@pytest.mark.parametrize("suffix", ["pkl", "npz"])
def test_bad_keys_are_named(mano_dict: dict, tmp_path: Path, key: str, suffix: str) -> None:
    mano_dict["J_regressor"] = mano_dict["J_regressor"].toarray()
    wrong_shape = mano_dict[key][..., :-1]
    words = np.full(mano_dict[key].shape, "x")
    not_finite = mano_dict[key].astype(np.float64)
    not_finite.flat[3] = np.nan
    infinite = mano_dict[key].astype(np.float64)
    infinite.flat[3] = np.inf
    for bad, said in (
        (None, "missing"),
        (wrong_shape, "shape"),
        (words, "no array of numbers"),
        (not_finite, "not finite"),
        (infinite, "not finite"),
    ):
        held = {**mano_dict, key: bad}
        if bad is None:
            del held[key]
        path = tmp_path / f"MANO_RIGHT.{suffix}"
        if suffix == "npz":
            np.savez(path, **held)
        else:
            path.write_bytes(pickle.dumps(held, protocol=2))
        with pytest.raises(HandkitError) as caught:
            read_hand_file(path)
        assert str(path) in caught.value.what
        assert repr(key) in caught.value.what
        assert said in caught.value.what


def test_faces_and_tree_are_checked(mano_dict: dict, write_pickle: Callable) -> None:
    faces = mano_dict["f"].copy()
    faces[5, 1] = 778
    with pytest.raises(HandkitError, match="'f'"):
        read_hand_file(write_pickle({**mano_dict, "f": faces}))
    tree = mano_dict["kintree_table"].copy()
    tree[0, 4] = 3
    with pytest.raises(HandkitError, match="joint tree"):
        read_hand_file(write_pickle({**mano_dict, "kintree_table": tree}))


def _os_system(target: Path) -> object:
    import os

    return Runs(os.system, f"touch {target}")


def _open(target: Path) -> object:
    return Runs(open, str(target), "w")


def _eval(target: Path) -> object:
    return Runs(eval, f"open({str(target)!r}, 'w')")


def _import(target: Path) -> object:
    return Runs(__import__, "os")


def _getattr(target: Path) -> object:
    return Runs(getattr, set, "__init__")


@pytest.mark.parametrize("build", [_os_system, _open, _eval, _import, _getattr])
@pytest.mark.parametrize("place", ["alone", "value", "inside", "array"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_and_never_run(
    mano_dict: dict, write_pickle: Callable, tmp_path: Path, build: Callable, place: str, protocol: int
) -> None:
    target = tmp_path / "made-by-the-pickle"
    evil = build(target)
    objects = np.empty(2, dtype=object)
    objects[:] = [evil, 1]
    held = {
        "alone": evil,
        "value": {"v_template": evil},
        "inside": {**({} if protocol == 0 else mano_dict), "extra": [{"deep": (1, {"er": evil})}]},
        "array": {"weights": objects},
    }[place]
    path = write_pickle(held, protocol=protocol)
    with pytest.raises(HandkitError) as caught:
        read_hand_file(path)
    assert str(path) in caught.value.what
    assert "refused" in caught.value.what
    assert not target.exists()


def global_(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


@pytest.mark.parametrize(
    "name",
    [
        ("builtins", "set.__init__"),
        ("builtins", "set.__class__"),
        ("builtins", "eval"),
        ("__builtin__", "eval"),
        ("__builtin__", "getattr"),
        ("builtins", "SET"),
        ("builtins ", "set"),
        ("numpy", "ndarray.tofile"),
        ("numpy", "load"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("_codecs", "lookup"),
        ("scipy.sparse", "load_npz"),
        ("chumpy.ch", "Ch.__init__"),
        ("chumpy.utils", "row"),
        ("os", "system"),
    ],
)
def test_names_beside_the_admitted_ones(tmp_path: Path, name: tuple[str, str]) -> None:
    module, attribute = name
    for content in (
        b"\x80\x02" + global_(module, attribute) + b".",
        pickle.dumps(module, 4)[:-1] + pickle.dumps(attribute, 4)[2:-1] + b"\x93.",
    ):
        with pytest.raises(HandkitError) as caught:
            unpickle(tmp_path / "f.pkl", content)
        assert f"{module}.{attribute}" in caught.value.what


ADMITTED = [
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("scipy.sparse.csc", "csc_matrix"),
    ("scipy.sparse._csr", "csr_matrix"),
    ("builtins", "set"),
    ("__builtin__", "set"),
    ("chumpy.ch", "Ch"),
    ("chumpy.reordering", "Select"),
]


@pytest.mark.parametrize("name", ADMITTED)
def test_build_cannot_change_what_stands_in(name: tuple[str, str]) -> None:
    """BUILD on a class, by attributes or by slots, leaves no trace for the next file."""
    before = {stand_in: dict(vars(stand_in)) for stand_in in _ADMITTED.values()}
    change = b"}X\x07\x00\x00\x00__new__" + global_("builtins", "set") + b"s"
    for state in (change, b"N" + change + b"\x86", change + b"N\x86", b"}X\x04\x00\x00\x00argsK\x01s"):
        with pytest.raises(HandkitError, match="no readable pickle"):
            unpickle(Path("f.pkl"), b"\x80\x02" + global_(*name) + state + b"b.")
    assert {stand_in: dict(vars(stand_in)) for stand_in in _ADMITTED.values()} == before


def test_stand_ins_hold_what_they_are_given_and_call_nothing() -> None:
    content = (
        b"\x80\x02}X\x01\x00\x00\x00a" + global_("chumpy.ch", "Ch") + b")\x81}X\x09\x00\x00\x00__class__"
        b"X\x01\x00\x00\x00xsbs."
    )
    held = unpickle(Path("f.pkl"), content)
    assert type(held["a"]).__name__ == "_Ch"
    assert held["a"].state == {"__class__": "x"}


def array_pickle(shape: tuple[int, ...], dtype: str = "f8", raw: bytes = b"") -> bytes:
    """A pickle {"v_template": array} whose header can lie."""
    state = io.BytesIO()
    pickler = pickle.Pickler(state, protocol=2)
    pickler.dump((1, shape, None, False, raw.decode("latin1")))
    body = state.getvalue()[2:-1]
    kind = global_("numpy", "dtype") + pickle.dumps((dtype, False, True), 2)[2:-1] + b"R"
    body = body.replace(b"N\x89", kind + b"\x89", 1)
    make = global_("numpy.core.multiarray", "_reconstruct") + b"(" + global_("numpy", "ndarray") + b"K\x00\x85U\x01btR"
    return b"\x80\x02}" + pickle.dumps("v_template", 2)[2:-1] + make + body + b"bs."


@pytest.mark.parametrize(
    ("shape", "dtype", "raw"),
    [
        ((778, 3), "f8", b"short"),
        ((10**6, 10**6), "f8", b""),
        ((778, 3), "O8", b"\x00" * 8 * 778 * 3),
        ((778, 3), "V8", b"\x00" * 8 * 778 * 3),
        ((-778, -3), "f8", b"\x00" * 8 * 778 * 3),
    ],
)
def test_arrays_that_lie(tmp_path: Path, shape: tuple[int, ...], dtype: str, raw: bytes) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(array_pickle(shape, dtype, raw))
    with pytest.raises(HandkitError, match="'v_template' is no array of numbers"):
        read_hand_file(path)


def test_array_pickle_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(array_pickle((778, 3), "f8", b"\x00" * 8 * 778 * 3))
    with pytest.raises(HandkitError, match="'shapedirs' is missing"):
        read_hand_file(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle at all",
        b"\x80\x02",
        b"PK\x03\x04 but no archive",
        b"\x80\x02N.",
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02}r\xff\xff\xff\xff.",  # a memo of 2^32 entries
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x00.",  # 2^56 bytes
        b"\x80\x02" + b"(" * 300_000 + b".",
        b"\x80\x02X\x01\x00\x00\x00aQ.",  # a persistent id
        b"\x80\x02\x82\x01.",  # an extension
    ],
)
def test_no_hand_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(content)
    with pytest.raises(HandkitError) as caught:
        read_hand_file(path)
    assert str(path) in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize("suffix", ["pkl", "npz"])
def test_truncated_files(mano_dict: dict, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"MANO_RIGHT.{suffix}"
    if suffix == "npz":
        np.savez(path, **{**mano_dict, "J_regressor": mano_dict["J_regressor"].toarray()})
    else:
        path.write_bytes(pickle.dumps(mano_dict, protocol=2))
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(HandkitError, match=str(path)):
            read_hand_file(path)


def test_damaged_npz_member_and_pickled_member(mano_dict: dict, tmp_path: Path) -> None:
    path = tmp_path / "MANO_RIGHT.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("v_template.npy", b"\x93NUMPY nonsense")
    with pytest.raises(HandkitError, match="'v_template' cannot be read"):
        read_hand_file(path)
    np.savez(path, v_template=np.array([Runs(eval, "1/0")], dtype=object))
    with pytest.raises(HandkitError, match="'v_template' cannot be read"):
        read_hand_file(path)


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "MANO_RIGHT.npz"
    np.savez_compressed(path, v_template=np.zeros(100_000))
    monkeypatch.setattr(files, "MAX_BYTES", 100_000)
    with pytest.raises(HandkitError, match="unpacks to more than"):
        read_hand_file(path)
    monkeypatch.setattr(files, "MAX_BYTES", 100)
    with pytest.raises(HandkitError, match="too many for a hand"):
        read_hand_file(path)


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.pkl", Path("/dev/null")):
        with pytest.raises(HandkitError, match=str(path)):
            read_hand_file(path)


def test_cyclic_and_hostile_chumpy(write_pickle: Callable, tmp_path: Path) -> None:
    """A Ch that contains itself, and a Select of Selects, end in an error instead of an endless walk."""
    path = tmp_path / "MANO_RIGHT.pkl"
    key = pickle.dumps("v_template", 2)[2:-1]
    path.write_bytes(b"\x80\x02}" + key + global_("chumpy.ch", "Ch") + b")\x81q\x00}X\x01\x00\x00\x00xh\x00sbs.")
    with pytest.raises(HandkitError, match="'v_template' is no array of numbers"):
        read_hand_file(path)
    select = global_("chumpy.reordering", "Select") + b")\x81q\x00}X\x04\x00\x00\x00idxsh\x00sb"
    path.write_bytes(b"\x80\x02}" + key + select + b"s.")
    with pytest.raises(HandkitError, match="Select without indices"):
        read_hand_file(path)


def test_numbers_in_place_of_arrays(mano_dict: dict, write_pickle: Callable) -> None:
    for number in (np.float64(1.5), 1.5):
        with pytest.raises(HandkitError, match=r"'hands_mean' has shape \(\)"):
            read_hand_file(write_pickle({**mano_dict, "hands_mean": number}))


def test_sparse_that_does_not_add_up(mano_dict: dict, write_pickle: Callable) -> None:
    sparse: Any = mano_dict["J_regressor"]
    sparse.indptr = sparse.indptr.astype(np.int64)
    sparse.indptr[5:] += 10**12
    with pytest.raises(HandkitError, match="does not add up"):
        read_hand_file(write_pickle(mano_dict))
