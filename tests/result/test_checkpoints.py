"""What counts as a checkpoint is what the frameworks write, and no result that a person looks for first."""

from __future__ import annotations

import pytest

from cvl_ci.result.checkpoints import is_checkpoint


@pytest.mark.parametrize(
    "path",
    [
        "outputs/model.pt",
        "outputs/epoch=3-step=900.ckpt",
        "outputs/checkpoint-500/optimizer.bin",
        "outputs/checkpoints/step_10/rng_state_0.json",
        "model-00001-of-00002.safetensors",
        "outputs/pytorch_model.bin",
        "outputs/Checkpoint_0001.tar",
    ],
)
def test_weights_are(path: str) -> None:
    assert is_checkpoint(path)


@pytest.mark.parametrize(
    "path",
    ["metrics.json", "outputs/samples/0.png", "outputs/predictions.bin", "outputs/script.pth.txt", "ckptless/a.csv"],
)
def test_results_are_not(path: str) -> None:
    assert not is_checkpoint(path)
