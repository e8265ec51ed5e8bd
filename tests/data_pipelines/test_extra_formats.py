"""DICOM and HEIC, where pydicom and pillow-heif are installed."""

import io

import numpy as np
import pytest
from encoded import colours, deep, eight, shades
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.pictures import Reading, decode_picture, read_size

G = shades()
UNITS = np.round(G * 2000 - 1000)


def dicom(values: np.ndarray, bits: int, kind: str = "MONOCHROME2", **more) -> bytes:
    pydicom = pytest.importorskip("pydicom")
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data.SOPInstanceUID = "1.2.3"
    data.Rows, data.Columns = G.shape
    data.SamplesPerPixel = 3 if kind == "RGB" else 1
    data.PhotometricInterpretation = kind
    data.BitsAllocated = 8 * values.dtype.itemsize
    data.BitsStored, data.HighBit = bits, bits - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    data.PlanarConfiguration = 0
    for name, value in more.items():
        setattr(data, name, value)
    data.PixelData = values.tobytes()
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def apart(data: bytes, value_range: str = "auto", picture: np.ndarray = G) -> int:
    found = np.asarray(decode_picture(data, "x", Reading(value_range)).image)
    picture = picture if picture.ndim == 3 else np.dstack([picture] * 3)
    return int(np.abs(found.astype(int) - eight(picture)).max())


def test_a_dicoms_depth_and_its_inversion_are_used():
    assert apart(dicom(deep(G, 12), 12)) <= 1
    assert apart(dicom(4095 - deep(G, 12), 12, "MONOCHROME1")) <= 1
    assert apart(dicom(eight(G), 8)) == 0
    colour = colours(G)
    assert apart(dicom(eight(colour), 8, "RGB"), picture=colour) == 0


def test_hounsfield_units_have_the_range_of_their_window_or_of_the_setting():
    stored = (UNITS + 1024).astype(np.uint16)
    rescale = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
    plain = dicom(stored, 12, **rescale)
    with pytest.raises(DataError, match=r"from -1000 to 1000.*data\.value_range"):
        apart(plain)
    assert apart(plain, "-1000,1000") <= 1
    wide = {"WindowCenter": ["0", "40"], "WindowWidth": ["2000", "400"]}
    assert apart(dicom(stored, 12, **rescale, **wide)) <= 1
    narrow = dicom(stored, 12, **rescale, WindowCenter="40", WindowWidth="400")
    # C.11.2.1.2.1: below 40 - 0.5 - 399 / 2 is black.
    window = ((UNITS - (39.5 - 199.5)) / 399).clip(0, 1)
    assert apart(narrow, picture=window) <= 1
    assert apart(narrow, "-1000,1000") <= 1
    assert apart(dicom(UNITS.astype(np.int16), 16), "-1000,1000") <= 1
    with pytest.raises(DataError, match="data.value_range"):
        apart(dicom(UNITS.astype(np.int16), 16))


def test_a_dicom_series_a_large_one_and_a_damaged_one_are_refused():
    whole = dicom(eight(G), 8)
    with pytest.raises(DataError, match="holds 3 pictures"):
        apart(dicom(np.stack([eight(G)] * 3), 8, NumberOfFrames="3"))
    with pytest.raises(DataError, match="allowed are 9"):
        decode_picture(whole, "x", Reading(max_pixels=9))
    with pytest.raises(DataError, match=r"x cannot be decoded|without a picture"):
        decode_picture(whole[:-100], "x")
    assert read_size(whole) == G.shape[::-1]


def test_heic_is_read_and_several_are_refused():
    heif = pytest.importorskip("pillow_heif")

    def encode(*pictures: np.ndarray) -> bytes:
        first, *others = (Image.fromarray(p) for p in pictures)
        made = heif.from_pillow(first)
        for other in others:
            made.add_from_pillow(other)
        file = io.BytesIO()
        made.save(file, quality=100, chroma=444)
        return file.getvalue()

    smooth = np.dstack([np.add.outer(np.arange(64), np.arange(80)) + 40] * 3)
    smooth = smooth.astype(np.uint8)
    found = decode_picture(encode(smooth), "x").image
    assert np.abs(np.asarray(found).astype(int) - smooth).max() <= 3
    with pytest.raises(DataError, match="holds 2 pictures"):
        decode_picture(encode(smooth, 255 - smooth), "x")
    with pytest.raises(DataError, match="allowed are 9"):
        decode_picture(encode(smooth), "x", Reading(max_pixels=9))
