"""Learn on several machines at once: each one from its share of the data, gradients averaged after every step.

Who is who comes from torchrun's variables. Rank 0 listens on MASTER_PORT and adds up; all others send their gradient
and get the average back. So every rank makes the same step, and ends with the same weights: that is checked.
"""

import argparse
import hashlib
import json
import os
import socket
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
OUTPUTS = HERE / "outputs"
CLASSES, SEED, PATIENCE_SECONDS = 3, 20, 120


def main():
    options = parse_options()
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if options.fail_rank >= world:
        sys.exit(f"there is no rank {options.fail_rank} to fail among {world}: start it with more nodes")
    OUTPUTS.mkdir(exist_ok=True)
    say(rank, world, f"on {socket.gethostname()}")
    train, test = load_iris()
    share = train[rank::world]
    with Peers(rank, world) as peers:
        started = time.monotonic()
        weights = learn(share, peers, options, rank, world)
        digest = hashlib.sha256(weights.tobytes()).hexdigest()[:12]
        same = peers.same(digest)
    (OUTPUTS / f"rank-{rank}.txt").write_text(f"rank {rank} of {world} ended with weights {digest}\n")
    say(rank, world, f"ended with weights {digest}")
    if rank == 0:
        report(weights, test, world=world, seconds=time.monotonic() - started, same=same)
    return 0 if same else 1


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=0.3, help="learning rate")
    parser.add_argument("--fail-rank", type=int, default=-1, help="this rank exits 7 half-way")
    return parser.parse_args()


def load_iris():
    """(features and a 1, species) as rows, shuffled; 120 to learn from and 30 to test on."""
    rows = np.loadtxt(HERE / "iris.csv", delimiter=",", skiprows=1)
    features = rows[:, :4]
    rows[:, :4] = (features - features.mean(axis=0)) / features.std(axis=0)
    np.random.default_rng(SEED).shuffle(rows)
    return rows[:120], rows[120:]


def learn(share, peers, options, rank, world):
    weights = np.zeros((5, CLASSES))
    for step in range(1, options.steps + 1):
        if rank == options.fail_rank and step > options.steps // 2:
            say(rank, world, "fails on purpose")
            sys.exit(7)
        loss, gradient = loss_and_gradient(weights, share)
        weights -= options.rate * peers.average(gradient)
        if step % 50 == 0:
            say(rank, world, f"step {step}/{options.steps}  loss on its share {loss:.4f}")
    return weights


def loss_and_gradient(weights, rows):
    x, species = with_one(rows), rows[:, 4].astype(int)
    chances = softmax(x @ weights)
    loss = -np.log(chances[np.arange(len(species)), species]).mean()
    return loss, x.T @ (chances - np.eye(CLASSES)[species]) / len(rows)


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def with_one(rows):
    return np.hstack([rows[:, :4], np.ones((len(rows), 1))])


class Peers:
    """The connections between rank 0 and every other rank. A rank that goes away ends all others."""

    def __init__(self, rank, world):
        self.rank, self.world = rank, world
        address = (os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", "29500")))
        if world == 1:
            self.connections = []
        elif rank == 0:
            self.connections = accept_all(address[1], world - 1)
        else:
            self.connections = [connect(address)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for peer in self.connections:
            peer.close()

    def average(self, array):
        """The mean of every rank's array, on every rank."""
        if self.rank == 0:
            mean = (array + sum(receive(peer, array) for peer in self.connections)) / self.world
            for peer in self.connections:
                peer.sendall(mean.tobytes())
            return mean
        self.connections[0].sendall(array.tobytes())
        return receive(self.connections[0], array)

    def same(self, digest):
        """Whether every rank holds this digest."""
        mine = np.array([float(int(digest, 16))])
        return bool((self.average(mine) == mine).all())


def accept_all(port, count):
    with socket.create_server(("", port), backlog=count) as server:
        server.settimeout(PATIENCE_SECONDS)
        peers = [server.accept()[0] for _ in range(count)]
    for peer in peers:
        peer.settimeout(PATIENCE_SECONDS)
    return peers


def connect(address):
    """Rank 0 may start later than we do: ask until it listens."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return socket.create_connection(address, timeout=PATIENCE_SECONDS)
        except OSError as error:
            if time.monotonic() > give_up:
                sys.exit(f"rank 0 does not answer at {address[0]}:{address[1]}: {error}")
            time.sleep(0.5)


def receive(peer, like):
    """As many bytes as `like` has, as an array of its shape."""
    data = b""
    while len(data) < like.nbytes:
        more = peer.recv(like.nbytes - len(data))
        if not more:
            sys.exit("another rank went away: nothing to average with")
        data += more
    return np.frombuffer(data, dtype=like.dtype).reshape(like.shape)


def report(weights, test, *, world, seconds, same):
    accuracy = float((softmax(with_one(test) @ weights).argmax(axis=1) == test[:, 4]).mean())
    metrics = {
        "test_accuracy": round(accuracy, 4),
        "world_size": world,
        "train_seconds": round(seconds, 2),
        "same_weights_on_every_rank": same,
    }
    (OUTPUTS / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(f"test accuracy {accuracy:.4f} from {world} rank(s); outputs/metrics.json written")


def say(rank, world, text):
    print(f"[rank {rank} of {world}] {text}\n", end="", flush=True)  # one write: lines of two ranks do not mix


if __name__ == "__main__":
    sys.exit(main())
