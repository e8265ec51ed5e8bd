"""Cards of the medical datasets."""

from data_pipelines.catalog.card import Card

_BMAD = "Bao et al., BMAD: Benchmarks for Medical Anomaly Detection, CVPRW 2024"

BRAINMRI = Card(
    id="brainmri",
    title="BMAD Brain MRI",
    description="Axial FLAIR slices of brains with and without tumours (BraTS 2021).",
    domain="medical",
    classes={"brain": "brain MRI scan"},
    has_masks=True,
    split="test",
    counts={"brain": (640, 3075)},
    licence="CC BY-NC-SA 4.0",
    citation=f"{_BMAD}; Baid et al., The RSNA-ASNR-MICCAI BraTS 2021 Benchmark on Brain "
    "Tumor Segmentation and Radiogenomic Classification, arXiv:2107.02314, 2021",
    homepage="https://github.com/DorisBao/BMAD (Brain_AD)",
    size="3715 slices of 240x240 px in the test split",
)

LIVERCT = Card(
    id="liverct",
    title="BMAD Liver CT",
    description="CT slices cropped to the liver, with and without tumours (BTCV, LiTS).",
    domain="medical",
    classes={"liver": "liver CT scan"},
    has_masks=True,
    split="test",
    counts={"liver": (833, 660)},
    licence="CC BY-NC-SA 4.0",
    citation=f"{_BMAD}; Bilic et al., The Liver Tumor Segmentation Benchmark (LiTS), "
    "Medical Image Analysis 84, 2023",
    homepage="https://github.com/DorisBao/BMAD (Liver_AD)",
    size="1493 slices of 512x512 px in the test split",
)

RESC = Card(
    id="resc",
    title="BMAD RESC",
    description="Retinal OCT slices with and without macular edema.",
    domain="medical",
    classes={"retina": "retinal OCT scan"},
    has_masks=True,
    split="test",
    counts={"retina": (1041, 764)},
    licence="CC BY-NC-SA 4.0",
    citation=f"{_BMAD}; Hu et al., Automated Segmentation of Macular Edema in OCT Using "
    "Deep Neural Networks, Medical Image Analysis 55, 2019",
    homepage="https://github.com/DorisBao/BMAD (Retina_RESC_AD)",
    size="1805 slices of 512x1024 px in the test split",
)

BR35H = Card(
    id="br35h",
    title="Br35H",
    description="Brain MRI slices with and without tumours.",
    domain="medical",
    classes={"brain": "brain MRI scan"},
    has_masks=False,
    split="all",
    counts={"brain": (1500, 1500)},
    licence="unclear",
    citation="Hamada, Br35H :: Brain Tumor Detection 2020, Kaggle, 2020",
    homepage="https://www.kaggle.com/datasets/ahmedhamada0/brain-tumor-detection",
    size="3000 JPEG files",
)

BRAINMRI_KAGGLE = Card(
    id="brainmri_kaggle",
    title="Brain MRI (Kaggle)",
    description="Brain MRI slices with and without tumours, of all sizes and origins.",
    domain="medical",
    classes={"brain": "brain MRI scan"},
    has_masks=False,
    split="all",
    counts={"brain": (98, 155)},
    licence="unclear",
    citation="Chakrabarty, Brain MRI Images for Brain Tumor Detection, Kaggle, 2019",
    homepage="https://www.kaggle.com/datasets/navoneel/"
    "brain-mri-images-for-brain-tumor-detection",
    size="9 MB",
)

HEADCT = Card(
    id="headct",
    title="Head CT",
    description="Head CT slices with and without hemorrhage.",
    domain="medical",
    classes={"head": "head CT scan"},
    has_masks=False,
    split="all",
    counts={"head": (100, 100)},
    licence="unclear",
    citation="Kitamura, Head CT - hemorrhage, Kaggle, 2018",
    homepage="https://www.kaggle.com/datasets/felipekitamura/head-ct-hemorrhage",
    size="200 PNG files",
)

COVID19 = Card(
    id="covid19",
    title="COVID-19",
    description="Chest X-rays of healthy and of COVID-19 patients (COVID-19 Radiography "
    "Database, first release).",
    domain="medical",
    classes={"chest": "chest X-ray"},
    has_masks=False,
    split="all of NORMAL and COVID-19 in the first release",
    counts={"chest": (1341, 219)},
    licence="unclear",
    citation="Chowdhury et al., Can AI Help in Screening Viral and COVID-19 Pneumonia?, "
    "IEEE Access 8, 2020; Rahman et al., Exploring the Effect of Image Enhancement "
    "Techniques on COVID-19 Detection Using Chest X-ray Images, Computers in Biology "
    "and Medicine 132, 2021",
    homepage="https://www.kaggle.com/datasets/tawsifurrahman/"
    "covid19-radiography-database",
    size="about 1 GB",
)

CARDS = (BRAINMRI, LIVERCT, RESC, BR35H, BRAINMRI_KAGGLE, HEADCT, COVID19)
