"""One training job of the demo: a small neural network that learns to read the digits that scikit-learn carries.

This is what a user's program looks like; the lines that have to do with logferry are those with `logferry` or `run`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import logferry

CLASSES, HIDDEN = 10, 48


class Network:
    """Two layers, ReLU in between, softmax and cross-entropy at the end; plain stochastic gradient descent."""

    def __init__(self, inputs: int, rng: np.random.Generator) -> None:
        self.first = rng.normal(0, (2 / inputs) ** 0.5, (inputs, HIDDEN))
        self.second = rng.normal(0, (2 / HIDDEN) ** 0.5, (HIDDEN, CLASSES))

    def probabilities(self, images: Any) -> tuple[Any, Any]:
        hidden = np.maximum(images @ self.first, 0)
        scores = hidden @ self.second
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return hidden, powers / powers.sum(axis=1, keepdims=True)

    def step(self, images: Any, labels: Any, learning_rate: float) -> float:
        """Learn from one batch; return its mean loss."""
        hidden, probabilities = self.probabilities(images)
        rows = np.arange(len(labels))
        loss = float(-np.log(probabilities[rows, labels] + 1e-12).mean())
        probabilities[rows, labels] -= 1
        back = (probabilities @ self.second.T) * (hidden > 0)
        self.second -= learning_rate * hidden.T @ probabilities / len(labels)
        self.first -= learning_rate * images.T @ back / len(labels)
        return loss

    def accuracy(self, images: Any, labels: Any) -> float:
        return float((self.probabilities(images)[1].argmax(axis=1) == labels).mean())


def train(options: argparse.Namespace) -> None:
    with np.load(options.data) as file:
        data = {name: file[name] for name in file}
    rng = np.random.default_rng(options.seed)
    network = Network(data["train_images"].shape[1], rng)
    config = {
        "learning_rate": options.learning_rate,
        "batch_size": options.batch_size,
        "epochs": options.epochs,
        "seed": options.seed,
    }
    with logferry.init("digits", model="MLP-48", dataset="sklearn-digits", config=config, run_id=options.run_id) as run:
        for epoch in range(1, options.epochs + 1):
            order = rng.permutation(len(data["train_labels"]))
            losses = []
            for batch, start in enumerate(range(0, len(order), options.batch_size)):
                chosen = order[start : start + options.batch_size]
                loss = network.step(data["train_images"][chosen], data["train_labels"][chosen], options.learning_rate)
                run.debug("BatchProcessed", epoch=epoch, batch=batch, loss=loss)
                losses.append(loss)
            accuracy = network.accuracy(data["test_images"], data["test_labels"])
            run.info("EpochEnd", epoch=epoch, train_loss=float(np.mean(losses)), test_accuracy=accuracy)
            if epoch == options.fail_at_epoch:
                raise OSError(28, "No space left on device", f"checkpoint-{epoch}.npz")
        run.result({"test_accuracy": accuracy, "final_loss": float(np.mean(losses))})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run-id")
    parser.add_argument("--fail-at-epoch", type=int, default=0, help="raise an error after this epoch")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
