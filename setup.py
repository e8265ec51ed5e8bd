"""Metadata and extras; tool settings live in pyproject.toml."""

from setuptools import find_packages, setup

# Of pictures: DICOM, HEIC, and compressions of deep TIFFs.
_FORMATS = ["imagecodecs>=2024.9.22", "pillow-heif>=0.18", "pydicom>=3"]
_EXPORT = [
    "flatbuffers",
    "jax2onnx>=0.17,<0.18",
    "onnx>=1.17",
    "onnxruntime>=1.20",
    "openvino>=2025",
]

setup(
    name="kanoclip-jax",
    version="0.1.0",
    description="KAnoCLIP in JAX: zero-shot anomaly detection with a frozen CLIP",
    license="MIT",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["kanoclip_jax*", "data_pipelines*"]),
    package_data={
        "kanoclip_jax.backbones": ["demo/*"],
        "kanoclip_jax.engine.reporting": ["*.json", "page.*"],
        "kanoclip_jax.knowledge": ["data/*"],
    },
    install_requires=[
        "absl-py>=2.1",
        "array_record>=0.8",
        "filelock>=3.13",
        "flax>=0.12",
        "grain>=0.2.12",
        "huggingface_hub<1",
        "jax>=0.10",
        "jaxtyping>=0.3",
        "jinja2>=3.1",
        "matplotlib>=3.9",
        "ml_collections>=1.0",
        "ml_dtypes",
        "numpy>=2",
        "optax>=0.2.5",
        "orbax-checkpoint>=0.11.20",
        "Pillow>=11",
        "safetensors>=0.5",
        "scikit-learn>=1.6",
        "scipy>=1.14",
        "tensorboard>=2.19",
        "tensorflow-datasets>=4.9.8",
        "tifffile>=2024.8.30",
        "tokenizers>=0.21,<0.23",
        "tqdm",
        "transformers>=4.50,<5",
        "watchdog>=4",
    ],
    extras_require={
        "cuda12": ["jax[cuda12]"],
        "export": _EXPORT,
        "formats": _FORMATS,
        "int8": [*_EXPORT, "nncf>=2.14"],
        "knowledge": ["openai>=1.56"],
        "test": [
            *_EXPORT,
            *_FORMATS,
            "beartype",
            "hypothesis",
            "openai>=1.56",
            "pytest",
            "pytest-xdist",
            "ruff>=0.17,<0.18",
            "scikit-image",
        ],
    },
)
