"""DICOM: rescaled values, the window and the photometric interpretation (pydicom)."""

from typing import Any, BinaryIO

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.pictures.formats import EXTRA
from data_pipelines.pictures.limits import check_pixels, refuse_several
from data_pipelines.pictures.reading import Reading
from data_pipelines.pictures.values import Stored

# Inflated whole, however much that is.
_DEFLATED = b"1.2.840.10008.1.2.1.99"


def read_dicom(file: BinaryIO, name: str, reading: Reading) -> Stored | np.ndarray:
    """Reads the one picture of a DICOM file.

    The rescale slope and intercept are applied; the first window is the range, where
    there is one, and MONOCHROME1 is turned to black on white's contrary.

    Args:
      file: The file.
      name: What it is, for messages.
      reading: How large it may be.

    Returns:
      Grey values, or the uint8 pixels `[h, w, 3]` of a coloured picture.

    Raises:
      DataError: pydicom is not installed, or it holds several pictures, too large a
        one or none.
    """
    data, apply_rescale, to_array = _open_dicom(file, name)
    if "PixelData" not in data:
        raise DataError(f"{name} is a DICOM file without a picture")
    refuse_several(int(data.get("NumberOfFrames") or 1), name)
    check_pixels(int(data.Columns), int(data.Rows), name, reading)
    pixels = to_array(data)
    kind = str(data.PhotometricInterpretation)
    if pixels.ndim == 3 or kind == "PALETTE COLOR":
        if pixels.dtype != np.uint8 or pixels.shape[-1] != 3:
            raise DataError(
                f"{name} is a DICOM picture in {kind} of {data.BitsStored} bits; "
                "allowed are grey ones, and colours of 8 bits: convert it"
            )
        return pixels
    stored_bits = int(data.BitsStored)
    rescaled = apply_rescale(pixels, data)
    window = limits = _window(data)
    if limits is None and not int(data.PixelRepresentation):
        slope = float(data.get("RescaleSlope", 1) or 1)
        shift = float(data.get("RescaleIntercept", 0) or 0)
        # Negative values are Hounsfield units or the like, of which a part is looked at.
        if slope > 0 and shift >= 0:
            limits = shift, slope * (2**stored_bits - 1) + shift
    return Stored(
        rescaled,
        limits,
        inverted=kind == "MONOCHROME1",
        window=window is not None,
    )


def _window(data: Any) -> tuple[float, float] | None:
    """The values that are black and white by the first linear window (C.11.2.1.2)."""
    centre, width = _first(data.get("WindowCenter")), _first(data.get("WindowWidth"))
    function = str(data.get("VOILUTFunction", "LINEAR"))
    if centre is None or width is None or function not in ("LINEAR", "LINEAR_EXACT"):
        return None
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return (centre - width / 2, centre + width / 2) if width > 0 else None


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, (str, float, int)) else value[0])


def _open_dicom(file: BinaryIO, name: str) -> tuple[Any, Any, Any]:
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut, pixel_array
    except ImportError:
        raise DataError(f"{name} is DICOM, which needs pydicom: {EXTRA}") from None
    file.seek(0)
    if _DEFLATED in file.read(2**12):
        raise DataError(f"{name} is a deflated DICOM file; save it uncompressed")
    file.seek(0)
    return pydicom.dcmread(file), apply_modality_lut, pixel_array
