"""Iterative magnitude pruning in a hand-written loop, without Lightning: `python examples/plain_pytorch.py`."""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import lth


def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of scikit-learn's digits."""
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)


def train(net: nn.Module, masks: lth.Masks, x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    """SGD with momentum; pruned weights are zero after every step."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
        for batch in order.split(60):
            optimizer.zero_grad()
            cross_entropy(net(x[batch]), y[batch]).backward()
            masks.apply_to_gradients_(net)  # before the step, so that momentum holds kept weights only
            optimizer.step()
            masks.apply_(net)


def main(folder: str = "runs/plain_pytorch", epochs: int = 10) -> list[float]:
    """Prune to 5 %, rewinding to the initial weights, and save the last level's ticket; returns the accuracies."""
    torch.manual_seed(0)
    x, y = data()
    net = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    initial = {name: value.clone() for name, value in net.state_dict().items()}
    masks, accuracies = lth.Masks.ones(net), []
    for density in lth.geometric(0.05, rate=0.5):
        masks.copy_(lth.prune(net, masks, density, lth.criteria.magnitude, lth.allocation.global_))
        net.load_state_dict(initial)
        masks.apply_(net)
        train(net, masks, x[:1497], y[:1497], epochs)
        accuracies.append(float((net(x[1497:]).argmax(1) == y[1497:]).float().mean()))
        print(f"density {masks.density:.3f}  accuracy {accuracies[-1]:.3f}")
    lth.Ticket(masks.bools(), initial, {"accuracy": accuracies[-1]}).save(f"{folder}/ticket.safetensors")
    return accuracies


if __name__ == "__main__":
    main(*sys.argv[1:])
