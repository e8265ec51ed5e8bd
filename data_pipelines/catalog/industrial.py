"""Cards of the industrial datasets."""

from data_pipelines.catalog.card import Card

MVTEC = Card(
    id="mvtec",
    title="MVTec AD",
    description="Fifteen industrial objects and textures with outlined defects.",
    domain="industrial",
    classes={
        "bottle": "bottle",
        "cable": "cable",
        "capsule": "capsule",
        "carpet": "carpet",
        "grid": "metal grid",
        "hazelnut": "hazelnut",
        "leather": "leather",
        "metal_nut": "metal nut",
        "pill": "pill",
        "screw": "screw",
        "tile": "tile",
        "toothbrush": "toothbrush",
        "transistor": "transistor",
        "wood": "wood",
        "zipper": "zipper",
    },
    has_masks=True,
    split="test",
    counts={
        "bottle": (20, 63),
        "cable": (58, 92),
        "capsule": (23, 109),
        "carpet": (28, 89),
        "grid": (21, 57),
        "hazelnut": (40, 70),
        "leather": (32, 92),
        "metal_nut": (22, 93),
        "pill": (26, 141),
        "screw": (41, 119),
        "tile": (33, 84),
        "toothbrush": (12, 30),
        "transistor": (60, 40),
        "wood": (19, 60),
        "zipper": (32, 119),
    },
    licence="CC BY-NC-SA 4.0",
    citation="Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129, 2021",
    homepage="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    size="4.9 GB",
)

VISA = Card(
    id="visa",
    title="VisA",
    description="Twelve objects: circuit boards, food and capsules, with defects.",
    domain="industrial",
    classes={
        "candle": "candle",
        "capsules": "capsules",
        "cashew": "cashew",
        "chewinggum": "chewing gum",
        "fryum": "fryum",
        "macaroni1": "macaroni",
        "macaroni2": "macaroni",
        "pcb1": "printed circuit board",
        "pcb2": "printed circuit board",
        "pcb3": "printed circuit board",
        "pcb4": "printed circuit board",
        "pipe_fryum": "pipe fryum",
    },
    has_masks=True,
    split="test rows of split_csv/1cls.csv",
    counts={
        "candle": (100, 100),
        "capsules": (60, 100),
        "cashew": (50, 100),
        "chewinggum": (50, 100),
        "fryum": (50, 100),
        "macaroni1": (100, 100),
        "macaroni2": (100, 100),
        "pcb1": (100, 100),
        "pcb2": (100, 100),
        "pcb3": (101, 100),
        "pcb4": (101, 100),
        "pipe_fryum": (50, 100),
    },
    licence="CC BY 4.0",
    citation="Zou et al., SPot-the-Difference Self-supervised Pre-training for Anomaly "
    "Detection and Segmentation, ECCV 2022",
    homepage="https://github.com/amazon-science/spot-diff",
    size="1.9 GB",
)

MPDD = Card(
    id="mpdd",
    title="MPDD",
    description="Six painted and bare metal parts, seen from several angles.",
    domain="industrial",
    classes={
        "bracket_black": "bracket black",
        "bracket_brown": "bracket brown",
        "bracket_white": "bracket white",
        "connector": "connector",
        "metal_plate": "metal plate",
        "tubes": "tubes",
    },
    has_masks=True,
    split="test",
    counts={
        "bracket_black": (32, 47),
        "bracket_brown": (26, 51),
        "bracket_white": (30, 30),
        "connector": (30, 14),
        "metal_plate": (26, 71),
        "tubes": (32, 69),
    },
    licence="CC BY-NC-SA 4.0",
    citation="Jezek et al., Deep Learning-based Defect Detection of Metal Parts: "
    "Evaluating Current Methods in Complex Conditions, ICUMT 2021",
    homepage="https://github.com/stepanje/MPDD",
    size="about 2 GB",
)

BTAD = Card(
    id="btad",
    title="BTAD",
    description="Three industrial products with body and surface defects.",
    domain="industrial",
    classes={"01": "concentric ring part", "02": "striped surface", "03": "oval ring"},
    has_masks=True,
    split="test",
    counts={"01": (21, 49), "02": (30, 200), "03": (400, 41)},
    licence="CC BY-NC-SA 4.0",
    citation="Mishra et al., VT-ADL: A Vision Transformer Network for Image Anomaly "
    "Detection and Localization, ISIE 2021",
    homepage="http://avires.dimi.uniud.it/papers/btad/btad.zip",
    size="about 6 GB unpacked",
)

DAGM = Card(
    id="dagm",
    title="DAGM 2007",
    description="Ten synthetic textures with one kind of defect each.",
    domain="industrial",
    classes={f"Class{number}": "textured surface" for number in range(1, 11)},
    has_masks=True,
    split="Test",
    # The defective ones are those that Levigty/DAGM2007-to-VOC checks Test against.
    counts={
        "Class1": (504, 71),
        "Class2": (491, 84),
        "Class3": (491, 84),
        "Class4": (507, 68),
        "Class5": (495, 80),
        "Class6": (508, 67),
        "Class7": (1000, 150),
        "Class8": (1000, 150),
        "Class9": (1000, 150),
        "Class10": (1000, 150),
    },
    licence="none stated: see its page",
    citation="Wieler and Hahn, Weakly Supervised Learning for Industrial Optical "
    "Inspection, DAGM symposium 2007",
    homepage="https://www.kaggle.com/datasets/mhskjelvareid/"
    "dagm-2007-competition-dataset-optical-inspection",
    size="about 3 GB",
)


def _sdd_card(
    dataset: str,
    title: str,
    split: str,
    counts: tuple[int, int],
    homepage: str = "https://www.vicos.si/resources/kolektorsdd/",
) -> Card:
    return Card(
        id=dataset,
        title=title,
        description="Plastic surfaces of electrical commutators with cracks.",
        domain="industrial",
        classes={"electrical_commutator": "electrical commutator"},
        has_masks=True,
        split=split,
        counts={"electrical_commutator": counts},
        licence="CC BY-NC-SA 4.0",
        citation="Tabernik et al., Segmentation-Based Deep-Learning Approach for "
        "Surface-Defect Detection, Journal of Intelligent Manufacturing 31, 2020",
        homepage=homepage,
        size="about 300 MB unpacked",
    )


SDD = _sdd_card("sdd", "KolektorSDD", "all, as whole strips", (347, 52))
SDD_THIRDS = _sdd_card(
    "sdd_thirds",
    "KolektorSDD in thirds",
    "defective thirds of the strips and a quarter of the others, as DRA and AdaCLIP",
    (286, 54),
)
SDD_ANOMALYCLIP = _sdd_card(
    "sdd_anomalyclip",
    "KolektorSDD of AnomalyCLIP",
    "test of AnomalyCLIP's own copy",
    (181, 74),
    "https://github.com/zqhang/AnomalyCLIP/issues/19",
)

DTD_SYNTHETIC = Card(
    id="dtd_synthetic",
    title="DTD-Synthetic",
    description="Photographs of twelve textures with painted defects.",
    domain="industrial",
    classes={
        "Blotchy_099": "blotchy texture",
        "Fibrous_183": "fibrous texture",
        "Marbled_078": "marbled texture",
        "Matted_069": "matted texture",
        "Mesh_114": "mesh texture",
        "Perforated_037": "perforated texture",
        "Stratified_154": "stratified texture",
        "Woven_001": "woven texture",
        "Woven_068": "woven texture",
        "Woven_104": "woven texture",
        "Woven_125": "woven texture",
        "Woven_127": "woven texture",
    },
    has_masks=True,
    split="test",
    counts={},
    licence="none stated; the photographs of DTD are for research",
    citation="Aota et al., Zero-Shot Versus Many-Shot: Unsupervised Texture Anomaly "
    "Detection, WACV 2023; Cimpoi et al., Describing Textures in the Wild, CVPR 2014",
    homepage="https://drive.google.com/drive/folders/10OyPzvI3H6llCZBxKxFlKWt1Pw1tkMK1",
    size="2504 PNG files, 1304 of them in the test split",
    # AnomalyCLIP's table of datasets; class by class nobody says.
    total=(357, 947),
)

CARDS = (
    MVTEC,
    VISA,
    MPDD,
    BTAD,
    SDD,
    SDD_THIRDS,
    SDD_ANOMALYCLIP,
    DAGM,
    DTD_SYNTHETIC,
)
