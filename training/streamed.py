"""Images decoded when a step asks for them, for sets whose pixels would not fit the disk.

B images, H = W pixels.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from redshank.dataset import Manifest

from .images import DECODING_THREADS, Images, decode_file


class StreamedImages:
    """Stands for uint8 [N, size, size, 3]: indexing decodes, the newest pixels stay in memory.

    Args:
        manifest: its items are the N images.
        size: H = W.
        limit_bytes: most bytes of pixels kept; those used longest ago leave first. A request larger
            than that is still served.
    """

    def __init__(self, manifest: Manifest, size: int, limit_bytes: int) -> None:
        self._manifest, self._size = manifest, size
        self._limit = limit_bytes // (3 * size * size)
        self._kept: OrderedDict[int, Images] = OrderedDict()
        self._lock = threading.Lock()  # training and its prefetch thread
        self._pool = ThreadPoolExecutor(DECODING_THREADS, thread_name_prefix="decode")

    def __len__(self) -> int:
        return len(self._manifest.items)

    @property
    def kept(self) -> int:
        """How many images are in memory."""
        return len(self._kept)

    def __getitem__(self, index_B: Tensor) -> Tensor:
        """uint8 [B, size, size, 3] of the images of these numbers.

        Raises:
            InputError: an image is missing or broken; names it.
        """
        numbers = index_B.tolist()
        if not numbers:
            return torch.zeros((0, self._size, self._size, 3), dtype=torch.uint8)
        with self._lock:
            missing = list(dict.fromkeys(n for n in numbers if n not in self._kept))
            found = dict(zip(missing, self._pool.map(self._decode, missing), strict=True))
            for number in numbers:
                if number in self._kept:
                    self._kept.move_to_end(number)
                    found[number] = self._kept[number]
            self._keep({number: found[number] for number in missing})
        return torch.from_numpy(np.stack([found[number] for number in numbers]))

    def _decode(self, number: int) -> Images:
        return decode_file(self._manifest.image_location(self._manifest.items[number]), self._size)

    def _keep(self, new: dict[int, Images]) -> None:
        self._kept |= new
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
