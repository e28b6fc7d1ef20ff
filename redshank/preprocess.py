"""Image bytes from anybody to uint8 [H, W, 3]: the one copy, for training, gates and serving.

Rules, in this order:

1. JPEG (also the multi-picture files of phones), PNG, WEBP and BMP are read; the bytes decide, not
   a file name. Anything else is refused.
2. The size is read from the header and checked before any pixel is decoded.
3. A JPEG far larger than needed is decoded at 1/2, 1/4 or 1/8 (in the DCT domain), never below
   twice the wanted size.
4. Of an animation or a multi-picture file the first picture counts.
5. Transparent pixels are laid over white. Samples of 16 bits keep their high 8 bits. Grey,
   palette and CMYK become RGB; colour profiles are ignored.
6. The picture is turned as its EXIF orientation says and stretched to H x W with Pillow's
   antialiased bilinear filter. Equal bytes give equal pixels.
"""

from __future__ import annotations

import io
import math
import time
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from redshank.errors import InputError

ImageArray: TypeAlias = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
MAX_PIXELS = 50_000_000
MAX_JPEG_SCANS = 100
"""A progressive JPEG has about ten; each further one costs a pass over all pixels."""
_ONE_BLOCK = 64 * 1024
"""Files so small are decoded in one step, which nothing interrupts."""

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OTHER_SIGNATURES = (  # offset, bytes, name: real images that we do not read
    (0, b"GIF8", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"8BPS", "PSD"),
    (0, b"%PDF", "PDF"),
    (0, b"\0\0\0\x0cjP", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "SVG"),
    (4, b"ftyp", "HEIC or AVIF"),
)
_SWAP_SIDES = (5, 6, 7, 8)
_EIGHT_BIT_MODES = frozenset({"L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})


class ImageError(InputError):
    """Bytes that give no picture; `code` is one of `redshank.http_api.ERRORS`."""

    code = "invalid_image"


class InvalidImageError(ImageError):
    """The bytes are not a whole image."""


class UnsupportedFormatError(ImageError):
    """An image, but of a format that is not read."""

    code = "unsupported_format"


class ImageTooLargeError(ImageError):
    """The header promises more pixels than allowed."""

    code = "image_too_large"


def decode_image(
    data: bytes,
    height: int,
    width: int,
    *,
    max_pixels: int = MAX_PIXELS,
    max_s: float = math.inf,
) -> ImageArray:
    """Decode and resize one image by the rules of this module.

    Memory is bounded by about 8 bytes a pixel of `max_pixels`, and far less for JPEG.

    Args:
        data: the file's bytes, from anybody.
        height: wanted rows, at least 1.
        width: wanted columns, at least 1.
        max_pixels: largest number of pixels that the header may promise.
        max_s: longest time of decoding, in seconds; looked at between 64 KiB blocks of the file,
            so a WEBP, which is decoded in one piece, is bounded by `max_pixels` alone.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        UnsupportedFormatError: an image of another format.
        ImageTooLargeError: more than `max_pixels`, or it takes longer than `max_s`.
        InvalidImageError: not an image, or damaged.
    """
    return np.array(_decode(data, height, width, max_pixels, max_s), dtype=np.uint8)


def _decode(data: bytes, height: int, width: int, max_pixels: int, max_s: float) -> Image.Image:
    """The RGB picture of height x width; errors as in `decode_image`."""
    image = _open(data, max_pixels, max_s)
    try:
        image.draft(None, (2 * max(height, width),) * 2)
        image.load()
        turn = _orientation(image)
        size = (height, width) if turn in _SWAP_SIDES else (width, height)
        image = _resized_rgb(image, size)
        return image.transpose(_TURNS[turn]) if turn in _TURNS else image
    except ImageTooLargeError:
        raise
    except MemoryError as error:
        raise ImageTooLargeError(f"no memory for an image of {image.size}") from error
    except Exception as error:  # Pillow meets hostile bytes with many types
        raise InvalidImageError(
            f"the {image.format} image is damaged: {error}", hint="Send the whole file again."
        ) from error


class _TimedFile(io.BytesIO):
    """A file that ends the decoding of who reads it for longer than `max_s`."""

    def __init__(self, data: bytes, max_s: float) -> None:
        super().__init__(data)
        self._max_s, self._end_s = max_s, time.monotonic() + max_s

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes.

        Raises:
            ImageTooLargeError: the time is over.
        """
        if time.monotonic() > self._end_s:
            raise ImageTooLargeError(
                f"decoding the image takes longer than {self._max_s:g} s",
                hint="Send a smaller picture; the model sees a small one anyway.",
            )
        return super().read(size)


def _open(data: bytes, max_pixels: int, max_s: float) -> Image.Image:
    """Read the header only; refuse what is no image, of another format, or too large."""
    file = io.BytesIO(data) if len(data) <= _ONE_BLOCK else _TimedFile(data, max_s)
    try:
        image = Image.open(file, formats=FORMATS)
    except ImageTooLargeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(f"{error}", hint=f"The limit is {max_pixels} pixels.") from error
    except Exception as error:
        raise _not_an_image(data) from error
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"the image has {width} x {height} = {width * height} pixels, allowed are {max_pixels}",
            hint="Send a smaller picture; the model sees a small one anyway.",
        )
    if image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise InvalidImageError(
            f"the JPEG has more than {MAX_JPEG_SCANS} scans", hint="Save it as a plain JPEG."
        )
    return image


def _not_an_image(data: bytes) -> ImageError:
    hint = f"Send one of {', '.join(FORMATS)}."
    for offset, signature, name in _OTHER_SIGNATURES:
        if data[offset : offset + len(signature)] == signature:
            return UnsupportedFormatError(f"the file is of format {name}", hint=hint)
    return InvalidImageError(f"the {len(data)} bytes are not an image", hint=hint)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 when there is none or the EXIF is broken."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # broken metadata do not make the pixels wrong
        return 1


def _resized_rgb(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """RGB of (width, height): shrunk first where that keeps the meaning of the samples."""
    if image.mode not in _EIGHT_BIT_MODES or "transparency" in image.info:
        image = _eight_bit(image)
    image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    if image.mode in ("RGBA", "LA"):
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Palettes, bit maps, transparent colours and wide samples to 8 bits a channel."""
    if image.mode.startswith("I"):
        wide = np.asarray(image)
        return Image.fromarray((wide.clip(0, 0xFFFF) >> 8).astype(np.uint8))
    transparent = "transparency" in image.info or image.mode in ("PA", "La", "RGBa")
    return image.convert("RGBA" if transparent else "RGB")
