"""An anomaly map at an image's own size, for predictions and full-size metrics."""

import numpy as np
from jaxtyping import Float
from PIL import Image


def resize_map(
    anomaly_map: Float[np.ndarray, "h w"], height: int, width: int
) -> Float[np.ndarray, "height width"]:
    """Resize a map of the model's size by PIL's bilinear filter, on the host.

    A mean of the scores around: it never leaves their range.

    Args:
        anomaly_map: `[h, w]`, already smoothed.
        height: of the image, in pixels.
        width: likewise.
    """
    image = Image.fromarray(anomaly_map)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
