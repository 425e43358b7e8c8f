"""Teach a small neural network to read handwritten digits, one epoch at a time, and be able to go on where it stopped.

Every epoch shuffles with a seed of its own, so a run that was interrupted and resumed ends with the very same weights
as one that was not.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split

OUTPUTS = Path(__file__).resolve().parent / "outputs"
CHECKPOINT = OUTPUTS / "checkpoint.npz"
HIDDEN, CLASSES, SEED = 48, 10, 20


def main():
    options = parse_options()
    OUTPUTS.mkdir(exist_ok=True)
    started = time.monotonic()
    images, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        images / 16.0, digits, test_size=0.25, random_state=SEED, stratify=digits
    )
    print(f"digits: {len(train_x)} scans to learn from, {len(test_x)} to test on, {train_x.shape[1]} pixels each")

    weights, done = load_checkpoint(train_x.shape[1])
    loss = accuracy = float("nan")
    for epoch in range(done + 1, options.epochs + 1):
        loss = learn(weights, train_x, train_y, rate=options.rate, rng=np.random.default_rng([SEED, epoch]))
        accuracy = score(weights, test_x, test_y)
        print(f"epoch {epoch}/{options.epochs}  train_loss {loss:.4f}  test_accuracy {accuracy:.4f}")
        save_checkpoint(weights, epoch)
        time.sleep(options.pause)
    report(weights, test_x, test_y, epochs=max(done, options.epochs), loss=loss, seconds=time.monotonic() - started)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rate", type=float, default=0.1, help="learning rate")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds to rest after each epoch")
    return parser.parse_args()


def load_checkpoint(inputs):
    """The weights and how many epochs they have seen: fresh ones and 0 where no checkpoint is."""
    if CHECKPOINT.exists():
        with np.load(CHECKPOINT) as saved:
            done = int(saved["epoch"])
            print(f"resumed from {CHECKPOINT.name}: epoch {done} is done")
            return {name: saved[name] for name in ("w1", "b1", "w2", "b2")}, done
    rng = np.random.default_rng(SEED)
    return {
        "w1": rng.normal(0.0, np.sqrt(2.0 / inputs), (inputs, HIDDEN)),
        "b1": np.zeros(HIDDEN),
        "w2": rng.normal(0.0, np.sqrt(1.0 / HIDDEN), (HIDDEN, CLASSES)),
        "b2": np.zeros(CLASSES),
    }, 0


def save_checkpoint(weights, epoch):
    """Whole or not at all: a machine may go away between any two bytes."""
    half = OUTPUTS / "checkpoint.half.npz"
    np.savez(half, epoch=epoch, **weights)
    half.replace(CHECKPOINT)


def learn(weights, images, digits, *, rate, rng, batch=16):
    """One epoch of stochastic gradient descent; the mean loss over it."""
    total = 0.0
    order = rng.permutation(len(images))
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        x, y = images[rows], digits[rows]
        hidden, chances = forward(weights, x)
        total += -np.log(chances[np.arange(len(y)), y]).sum()
        error = (chances - np.eye(CLASSES)[y]) / len(y)
        back = (error @ weights["w2"].T) * (hidden > 0)
        weights["w2"] -= rate * hidden.T @ error
        weights["b2"] -= rate * error.sum(axis=0)
        weights["w1"] -= rate * x.T @ back
        weights["b1"] -= rate * back.sum(axis=0)
    return total / len(images)


def forward(weights, x):
    hidden = np.maximum(x @ weights["w1"] + weights["b1"], 0.0)
    scores = hidden @ weights["w2"] + weights["b2"]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, powers / powers.sum(axis=1, keepdims=True)


def score(weights, images, digits):
    return float((forward(weights, images)[1].argmax(axis=1) == digits).mean())


def report(weights, images, digits, *, epochs, loss, seconds):
    accuracy = score(weights, images, digits)
    metrics = {"test_accuracy": round(accuracy, 4), "epochs": epochs, "train_seconds": round(seconds, 2)}
    if np.isfinite(loss):  # else no epoch was left to do: no loss was measured
        metrics["train_loss"] = round(loss, 4)
    (OUTPUTS / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    table = confusion_matrix(digits, forward(weights, images)[1].argmax(axis=1))
    np.savetxt(OUTPUTS / "confusion.csv", table, fmt="%d", delimiter=",")
    print(f"test accuracy {accuracy:.4f} after {epochs} epochs; outputs/: metrics.json confusion.csv checkpoint.npz")


if __name__ == "__main__":
    main()
