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

ISIC = Card(
    id="isic",
    title="ISIC 2016",
    description="Dermoscopic images of skin lesions, all of them outlined (task 1).",
    domain="medical",
    classes={"skin": "skin"},
    has_masks=True,
    split="test of task 1",
    counts={"skin": (0, 379)},
    licence="CC0",
    citation="Gutman et al., Skin Lesion Analysis toward Melanoma Detection: A Challenge "
    "at ISBI 2016, hosted by ISIC, arXiv:1605.01397, 2016",
    homepage="https://challenge.isic-archive.com/data/#2016",
    size="379 JPEG files of up to 12 megapixels",
)

COLONDB = Card(
    id="colondb",
    title="CVC-ColonDB",
    description="Frames of colonoscopies with one outlined polyp each.",
    domain="medical",
    classes={"colon": "colon"},
    has_masks=True,
    split="all",
    counts={"colon": (0, 380)},
    licence="none stated: see its page",
    citation="Bernal et al., Towards Automatic Polyp Detection with a Polyp Appearance "
    "Model, Pattern Recognition 45, 2012; Tajbakhsh et al., Automated Polyp Detection "
    "in Colonoscopy Videos Using Shape and Context Information, IEEE TMI 35, 2016",
    homepage="http://mv.cvc.uab.es/projects/colon-qa/cvccolondb; all 380 frames: the "
    "test sets of https://github.com/DengPingFan/PraNet",
    size="380 PNG files of 574x500 px",
)

CLINICDB = Card(
    id="clinicdb",
    title="CVC-ClinicDB",
    description="Frames of colonoscopies with outlined polyps (MICCAI 2015).",
    domain="medical",
    classes={"colon": "colon"},
    has_masks=True,
    split="all",
    counts={"colon": (0, 612)},
    licence="none stated: see its page",
    citation="Bernal et al., WM-DOVA Maps for Accurate Polyp Highlighting in "
    "Colonoscopy: Validation vs. Saliency Maps from Physicians, Computerized Medical "
    "Imaging and Graphics 43, 2015",
    homepage="https://polyp.grand-challenge.org/CVCClinicDB/",
    size="612 TIFF files of 384x288 px",
)

TN3K = Card(
    id="tn3k",
    title="TN3K",
    description="Ultrasound images of thyroids with outlined nodules.",
    domain="medical",
    classes={"thyroid": "thyroid"},
    has_masks=True,
    split="test",
    counts={"thyroid": (0, 614)},
    licence="none stated: see its page",
    citation="Gong et al., Multi-Task Learning for Thyroid Nodule Segmentation with "
    "Thyroid Region Prior, ISBI 2021",
    homepage="https://github.com/haifangong/TRFE-Net-for-thyroid-nodule-segmentation",
    size="614 JPEG files in the test split",
)

CARDS = (
    BRAINMRI,
    LIVERCT,
    RESC,
    BR35H,
    BRAINMRI_KAGGLE,
    HEADCT,
    COVID19,
    ISIC,
    COLONDB,
    CLINICDB,
    TN3K,
)
