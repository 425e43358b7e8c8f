"""Recognize a model's weights among the files of a job: they are large, and few people need them.

The name alone decides, by what the frameworks write: PyTorch (.pt, .pth, torch.distributed's .distcp), Lightning
(.ckpt), Hugging Face (.safetensors, pytorch_model*.bin, checkpoint-500/), Keras (.h5, .keras), ONNX, llama.cpp (.gguf).
"""

from __future__ import annotations

from fnmatch import fnmatchcase

_FILES = (
    "*.pt", "*.pth", "*.ckpt", "*.distcp", "*.safetensors", "pytorch_model*.bin", "*.h5", "*.keras", "*.onnx", "*.gguf",
    "checkpoint*",
)  # fmt: skip
_FOLDERS = ("checkpoint", "checkpoints", "checkpoint[-_]*", "ckpt", "ckpts")


def is_checkpoint(path: str) -> bool:
    """Return whether the file is a checkpoint. `path`: posix, relative to the folder of the fetched files."""
    *folders, name = path.lower().split("/")
    return any(fnmatchcase(name, pattern) for pattern in _FILES) or any(
        fnmatchcase(folder, pattern) for folder in folders for pattern in _FOLDERS
    )
