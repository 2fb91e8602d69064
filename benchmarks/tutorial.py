"""The usual tutorial way to train a VAE, as the baseline: DataLoader over torchvision's MNIST, ToTensor, nn.Linear."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from vae_core.datasets import data_root


class TutorialVAE(nn.Module):
    def __init__(self, latent: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(784, 400)
        self.mean, self.log_variance = nn.Linear(400, latent), nn.Linear(400, latent)
        self.up, self.out = nn.Linear(latent, 400), nn.Linear(400, 784)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.hidden(x))
        return self.mean(h), self.log_variance(h)

    def decode(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.out(F.relu(self.up(z))))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encode(x)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return self.decode(z), mean, log_variance


def negative_elbo(rebuilt: Tensor, x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Summed over the batch, as tutorials do."""
    cross_entropy = F.binary_cross_entropy(rebuilt, x, reduction="sum")
    return cross_entropy - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())


def loader(batch_size: int) -> DataLoader:
    images = datasets.MNIST(data_root(), train=True, download=True, transform=transforms.ToTensor())
    return DataLoader(images, batch_size=batch_size, shuffle=True)


def steps(model: TutorialVAE, batches: DataLoader, *, binarise: bool) -> Iterator[float]:
    """One epoch; yields the loss of each step. `binarise` draws binary images, so that ELBOs can be compared."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    while True:
        for x, _ in batches:
            x = x.view(-1, 784)
            if binarise:
                x = torch.bernoulli(x)
            optimiser.zero_grad()
            rebuilt, mean, log_variance = model(x)
            loss = negative_elbo(rebuilt, x, mean, log_variance)
            loss.backward()
            optimiser.step()
            yield loss.item()
