"""What is recognised in images before they are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore import arrays


def flag_constant(images: Any) -> NDArray[np.bool_]:
    """(N, H, W, C) uint8, NumPy or torch -> (N,) bool: images whose pixels are all the same.

    A safety checker answers with black frames; 500 of them would be a perfect clique of no meaning. Exact: one pixel that
    is one level off makes an image that is compared. The answer is NumPy, wherever the images stand.

    >>> import numpy as np
    >>> flag_constant(np.zeros((2, 4, 4, 3), dtype=np.uint8))
    array([ True,  True])
    """
    if not len(images):
        return np.empty(0, dtype=np.bool_)
    first = images[:, :1, :1, :]
    same = (images == first).reshape(len(images), -1).all(1)
    return np.asarray(same.cpu() if arrays.is_torch(same) else same, dtype=np.bool_)
