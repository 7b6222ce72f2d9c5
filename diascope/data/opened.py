"""What an opened image file offers, whatever its format."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray


class OpenedImage(ABC):
    """An image whose header was read; all that can be told by it has been judged.

    Everything may raise `ImageError`, and what hostile bytes make Pillow raise.
    """

    width: int
    height: int
    is_deep: bool  # 16 bits a sample, of which no file says how many are used
    decoded_bytes: int  # memory that decoding takes, at most, with the file

    @abstractmethod
    def rgb(self, background: int) -> NDArray[np.uint8]:
        """Return the pixels of an image of 8 bits over a grey of 0-255: uint8 (H, W, 3)."""

    @abstractmethod
    def values(self) -> NDArray[np.uint16]:
        """Return the samples of an image of 16 bits: uint16 (H, W, C), C from 1 to 4.

        One is grey, three are colours; the last of two or of four is alpha.
        """
