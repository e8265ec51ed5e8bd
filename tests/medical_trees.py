"""The medical datasets' original layouts as tiny trees, written from their cards."""

import io
import os

from PIL import Image

from data_pipelines.catalog import CATALOG

# Below ROOT/ID as the archives unpack: images by kind, and masks.
ORIGINAL = {
    "brainmri": (
        "Brain_AD/BraTS2021_slice/test/good/img/00000_{}.png",
        "Brain_AD/BraTS2021_slice/test/Ungood/img/00002_{}.png",
        "Brain_AD/BraTS2021_slice/test/Ungood/label/00002_{}.png",
    ),
    "liverct": (
        "Liver_AD/hist_DIY/test/img/good/2_{}.png",
        "Liver_AD/hist_DIY/test/img/Ungood/4_{}.png",
        "Liver_AD/hist_DIY/test/label/Ungood/4_{}.png",
    ),
    "resc": (
        "Retina_RESC_AD/RESC/Test/test/good/3_{}.png",
        "Retina_RESC_AD/RESC/Test/test/Ungood/9_{}.png",
        "Retina_RESC_AD/RESC/Test/test_label/Ungood/9_{}.png",
    ),
    "br35h": ("no/no{}.jpg", "yes/y{}.jpg", ""),
    "brainmri_kaggle": (
        "brain_tumor_dataset/no/{} no.jpeg",
        "brain_tumor_dataset/yes/Y{}.JPG",
        "",
    ),
    "covid19": (
        "COVID-19 Radiography Database/NORMAL/NORMAL ({}).png",
        "COVID-19 Radiography Database/COVID-19/COVID-19 ({}).png",
        "",
    ),
    "isic": (
        "",
        "ISBI2016_ISIC_Part1_Test_Data/ISIC_000{:04d}.jpg",
        "ISBI2016_ISIC_Part1_Test_GroundTruth/ISIC_000{:04d}_Segmentation.png",
    ),
    "colondb": ("", "CVC-ColonDB/images/{}.png", "CVC-ColonDB/masks/{}.png"),
    "clinicdb": (
        "",
        "CVC-ClinicDB/Original/{}.tif",
        "CVC-ClinicDB/Ground Truth/{}.tif",
    ),
    "tn3k": (
        "",
        "Thyroid Dataset/tn3k/test-image/{:04d}.jpg",
        "Thyroid Dataset/tn3k/test-mask/{:04d}.jpg",
    ),
}
# Of images and masks, where they are not PNG files.
FORMATS = {
    "br35h": ("JPEG", "PNG"),
    "brainmri_kaggle": ("JPEG", "PNG"),
    "isic": ("JPEG", "PNG"),
    "clinicdb": ("TIFF", "TIFF"),
    "tn3k": ("JPEG", "JPEG"),
}
# What lies beside it in the archives and is not read.
BESIDE = {
    "brainmri": (
        "Brain_AD/BraTS2021_slice/train/good/00003_60.png",
        "Brain_AD/BraTS2021_slice/valid/Ungood/img/00124_60.png",
        "Brain_AD/BraTS2021_slice/test/good/label/00000_0.png",
    ),
    "liverct": (
        "Liver_AD/hist_DIY/train/good/1_1.png",
        "Liver_AD/hist_DIY/valid/img/Ungood/1_2.png",
    ),
    "resc": (
        "Retina_RESC_AD/RESC/Train/train/good/1_1.png",
        "Retina_RESC_AD/RESC/Val/val/Ungood/1_2.png",
    ),
    "br35h": ("pred/pred0.jpg", "Br35H-Mask-RCNN/TRAIN/y1.jpg"),
    "brainmri_kaggle": (),
    "headct": (),
    "covid19": (
        "COVID-19 Radiography Database/Viral Pneumonia/Viral Pneumonia (1).png",
        "COVID-19 Radiography Database/NORMAL.metadata.xlsx",
        "COVID-19 Radiography Database/README.md.txt",
    ),
    "isic": (
        "ISBI2016_ISIC_Part1_Training_Data/ISIC_0000000.jpg",
        "ISBI2016_ISIC_Part1_Training_GroundTruth/ISIC_0000000_Segmentation.png",
        "ISBI2016_ISIC_Part3_Test_GroundTruth.csv",
    ),
    "colondb": (),
    "clinicdb": ("CVC-ClinicDB/README.txt",),
    "tn3k": (
        "Thyroid Dataset/tn3k/trainval-image/0000.jpg",
        "Thyroid Dataset/tn3k/trainval-mask/0000.jpg",
        "Thyroid Dataset/tn3k/tn3k-trainval-fold0.json",
        "Thyroid Dataset/tg3k/thyroid-image/0000.jpg",
    ),
}


def write_original(folder, dataset, put, image, mask):
    """Writes a dataset as it is distributed, as large as its card says."""
    ((normal, anomalous),) = CATALOG[dataset].counts.values()
    if dataset == "headct":
        write_headct(folder, put, image, [0] * normal + [1] * anomalous)
        return
    kind, mask_kind = FORMATS.get(dataset, ("PNG", "PNG"))
    data = image(90, kind=kind)
    good, bad, label = ORIGINAL[dataset]
    if good:
        put_many(put, folder, good, normal, data)
    put_many(put, folder, bad, anomalous, data)
    if label:
        put_many(put, folder, label, anomalous, reencode(mask(), mask_kind))
    for path in BESIDE[dataset]:
        put(folder / path, data)


def reencode(data, kind):
    """The same pixels in another format, but for what JPEG makes of them."""
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, kind)
    return file.getvalue()


def put_many(put, folder, name, number, data):
    """Writes equal files, which is fastest with links to the first one."""
    first = put(folder / name.format(0), data)
    for i in range(1, number):
        os.link(first, folder / name.format(i))


def write_headct(folder, put, image, labels):
    rows = [f"{number},{label}" for number, label in enumerate(labels)]
    put(folder / "labels.csv", "\n".join(("id, hemorrhage", *rows)).encode())
    for number in range(len(labels)):
        put(folder / f"head_ct/head_ct/{number:03d}.png", image(number % 256))
