"""Every kind of still image comes out as the same upright RGB bytes, and bad ones as clear errors."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from handkit.errors import HandkitError
from handkit.images import image_focal_px, image_size, read_image, write_image

# Red, green / blue, grey in the corners: every turn and mirroring looks different.
PICTURE = np.zeros((40, 60, 3), np.uint8)
PICTURE[:20, :30], PICTURE[:20, 30:], PICTURE[20:, :30], PICTURE[20:, 30:] = (250, 0, 0), (0, 250, 0), (0, 0, 250), 130

# How each EXIF orientation stores that picture: 6 is shown after a quarter turn clockwise, so stored turned back.
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, -1),
}


def _close(image: np.ndarray, wanted: np.ndarray = PICTURE, tolerance: int = 4) -> None:
    assert image.dtype == np.uint8
    assert image.shape == wanted.shape
    inside = np.ones(wanted.shape[:2], bool)
    inside[wanted.shape[0] // 2 - 8 : wanted.shape[0] // 2 + 8] = False
    inside[:, wanted.shape[1] // 2 - 8 : wanted.shape[1] // 2 + 8] = False
    assert np.abs(image.astype(int) - wanted)[inside].max() <= tolerance


def _png(width: int, height: int) -> bytes:
    """A header that promises width x height pixels, and hardly any."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = np.ascontiguousarray(STORED[orientation](PICTURE))
    Image.fromarray(stored).save(path, exif=exif, quality=98, subsampling=0)
    _close(read_image(path))
    assert image_size(path) == (60, 40)


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        *((".png", mode) for mode in ("RGB", "RGBA", "P")),
        *((".jpg", mode) for mode in ("RGB", "CMYK")),
        *((".tif", mode) for mode in ("RGB", "RGBA", "P", "CMYK")),
        *((".webp", mode) for mode in ("RGB", "RGBA")),
        (".gif", "P"),
    ],
)
def test_colour_modes(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"picture{suffix}"
    picture = Image.fromarray(PICTURE)
    (picture.quantize(8) if mode == "P" else picture.convert(mode)).save(path, quality=98)
    _close(read_image(path), tolerance=12)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey(tmp_path: Path, mode: str) -> None:
    picture = np.full((10, 12), 255, np.uint8)
    picture[:5] = 0
    Image.fromarray(picture).convert(mode).save(tmp_path / "grey.png")
    image = read_image(tmp_path / "grey.png")
    np.testing.assert_array_equal(image, np.repeat(picture[..., None], 3, axis=2))


def test_16_bit_grey_keeps_its_high_byte(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    Image.fromarray(values).save(tmp_path / "deep.png")
    image = read_image(tmp_path / "deep.png")
    assert np.abs(image[..., 0].astype(int) - (values >> 8)).max() <= 1
    assert (image[0, 0, 0], image[-1, -1, 0]) == (0, 255)


def test_16_bit_colour(tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "deep.png"), (PICTURE[..., ::-1].astype(np.uint16) * 257))
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png"), PICTURE)


def test_float_tiff(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    Image.fromarray(values).save(tmp_path / "float.tif")
    np.testing.assert_allclose(read_image(tmp_path / "float.tif")[..., 1], values * 255, atol=0.51)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    layer = np.dstack([PICTURE, np.full((40, 60), 255, np.uint8)])
    layer[:20, :, 3] = 0
    Image.fromarray(layer).save(tmp_path / "cut.png")
    image = read_image(tmp_path / "cut.png")
    assert (image[:20] == 255).all()
    np.testing.assert_array_equal(image[20:], PICTURE[20:])


def test_first_picture_of_an_animation(tmp_path: Path) -> None:
    first = Image.fromarray(PICTURE)
    first.save(tmp_path / "moving.gif", save_all=True, append_images=[first.rotate(180)])
    _close(read_image(tmp_path / "moving.gif"))


def test_broken_exif_does_not_spoil_the_picture(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f", quality=98, subsampling=0)
    _close(read_image(tmp_path / "a.jpg"))
    assert image_focal_px(tmp_path / "a.jpg") is None


def test_bad_files(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    Image.fromarray(PICTURE).save(whole)
    content = whole.read_bytes()
    bad = {
        "is damaged": content[: len(content) * 2 // 3],
        r"is empty \(0 bytes\)": b"",
        "is not an image": b"just some text\n" * 20,
    }
    for text, stored in bad.items():
        (tmp_path / "bad.jpg").write_bytes(stored)
        with pytest.raises(HandkitError, match=text) as caught:
            read_image(tmp_path / "bad.jpg")
        assert "bad.jpg" in caught.value.what
    with pytest.raises(HandkitError, match="does not exist"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(HandkitError, match="is a folder"):
        read_image(tmp_path)


def test_huge_image_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(_png(20_000, 20_000))
    with pytest.raises(HandkitError, match="20000 x 20000 pixels, over the limit of 100 megapixels"):
        read_image(path)
    # With the limit raised the reader goes on to the pixels, which are not there.
    with pytest.raises(HandkitError, match="damaged"):
        read_image(path, max_megapixels=1000)
    assert Image.MAX_IMAGE_PIXELS is not None
    write_image(tmp_path / "small.png", PICTURE)
    with pytest.raises(HandkitError, match=r"0\.001 megapixels"):
        read_image(tmp_path / "small.png", max_megapixels=0.001)


def _with_exif(path: Path, size: tuple[int, int], **tags: object) -> Path:
    exif = Image.Exif()
    block = exif.get_ifd(ExifTags.IFD.Exif)
    for name, value in tags.items():
        block[ExifTags.Base[name]] = value
    Image.new("RGB", size).save(path, exif=exif)
    return path


def test_focal_length_from_exif(tmp_path: Path) -> None:
    # 36 x 24 mm and 360 x 240 pixels: ten pixels a millimetre.
    path = _with_exif(tmp_path / "a.jpg", (360, 240), FocalLengthIn35mmFilm=50)
    assert image_focal_px(path) == pytest.approx(500)
    density = {"FocalLength": 20.0, "FocalPlaneXResolution": 508.0, "FocalPlaneResolutionUnit": 2}
    # 508 pixels an inch are 20 a millimetre.
    assert image_focal_px(_with_exif(tmp_path / "b.jpg", (360, 240), **density)) == pytest.approx(400)
    halved = density | {"ExifImageWidth": 720, "ExifImageHeight": 480}
    assert image_focal_px(_with_exif(tmp_path / "c.jpg", (360, 240), **halved)) == pytest.approx(200)
    assert image_focal_px(_with_exif(tmp_path / "d.jpg", (360, 240), FocalLength=20.0)) is None
    assert image_focal_px(_with_exif(tmp_path / "e.jpg", (360, 240), FocalLengthIn35mmFilm=0)) is None


def test_write_and_read(tmp_path: Path) -> None:
    write_image(tmp_path / "out" / "a.png", PICTURE[:, ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "a.png"), PICTURE[:, ::-1])
    write_image(tmp_path / "a.jpg", PICTURE)
    _close(read_image(tmp_path / "a.jpg"), tolerance=12)
    with pytest.raises(HandkitError, match="cannot write"):
        write_image(tmp_path / "a.nothing", PICTURE)
