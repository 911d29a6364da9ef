"""Contenders: pythae, which an environment of its own holds, with networks of the same widths on as many pixels."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import contender
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAMP, VAEConfig, VAMPConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import nn

BATCH, PIXELS, LATENT, WIDTH, ITEMS = 64, 784, 64, 256, 20_000
IMAGES = 2  # whose likelihood is estimated at a turn


class Encoder(BaseEncoder):  # type: ignore[misc]
    """As in `bench`'s grid `mnist`."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Flatten(), nn.Linear(PIXELS, WIDTH), nn.ELU(), nn.Linear(WIDTH, WIDTH), nn.ELU()),
            nn.Linear(WIDTH, 2 * LATENT),
        )

    def forward(self, x: Any) -> ModelOutput:
        mean, log_var = self.net(x).chunk(2, -1)
        return ModelOutput(embedding=mean, log_covariance=log_var)


class Decoder(BaseDecoder):  # type: ignore[misc]
    """As in `bench`'s grid `mnist`, and a sigmoid, which pythae's cross-entropy asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Linear(LATENT, WIDTH), nn.ELU(), nn.Linear(WIDTH, WIDTH), nn.ELU(), nn.Linear(WIDTH, PIXELS)),
            nn.Sigmoid(),
        )

    def forward(self, z: Any) -> ModelOutput:
        return ModelOutput(reconstruction=self.net(z).reshape(-1, 1, 28, 28))


def _model(components: int) -> Any:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"input_dim": (1, 28, 28), "latent_dim": LATENT, "reconstruction_loss": "bce"}
    if components:
        config = VAMPConfig(**settings, number_components=components)
        return VAMP(config, encoder=Encoder(), decoder=Decoder())
    return VAE(VAEConfig(**settings), encoder=Encoder(), decoder=Decoder())


class _Turn(TrainingCallback):  # type: ignore[misc]
    def on_train_step_end(self, training_config: Any, **_: Any) -> None:
        if contender.turn():
            raise SystemExit


def _trained(components: int) -> None:
    x = torch.bernoulli(torch.rand(ITEMS, 1, 28, 28))
    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(
            output_dir=folder, num_epochs=1000, per_device_train_batch_size=BATCH, learning_rate=1e-3, no_cuda=True
        )
        BaseTrainer(
            _model(components),
            train_dataset=BaseDataset(x, torch.zeros(ITEMS)),
            training_config=settings,
            callbacks=[_Turn()],
        ).train()


def vae() -> None:
    """A step of a VAE by its own trainer."""
    _trained(0)


def vampprior_16() -> None:
    """The same with VampPrior, 16 components."""
    _trained(16)


def vampprior_500() -> None:
    """The same with VampPrior, 500 components."""
    _trained(500)


def _likelihood(components: int) -> Callable[[], None]:
    model, x = _model(components).eval(), torch.bernoulli(torch.rand(IMAGES, 1, 28, 28))

    def turn() -> None:
        with torch.no_grad():
            model.get_nll(x, n_samples=1000, batch_size=100)

    return turn


def nll() -> Callable[[], None]:
    """`get_nll` of two images, S = 1,000."""
    return _likelihood(0)


def nll_vampprior_500() -> Callable[[], None]:
    """The same with VampPrior, 500 components."""
    return _likelihood(500)
