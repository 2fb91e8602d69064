from dataclasses import replace

import pytest

from vae_core.cards import card, result_rows
from vae_core.config import Config, ModelConfig, ObjectiveConfig

VAE = Config(objective=ObjectiveConfig(beta=4.0))
PLAIN = replace(
    VAE, model=ModelConfig(posterior="deterministic", prior="none"), objective=ObjectiveConfig(estimator="pathwise")
)
NUMBERS = {"elbo": -20.0, "elbo_se": 0.5, "rate": 3.0, "distortion": 17.0, "active_units": 2}


def card_of(config: Config) -> str:
    return card("name", config, result_rows(config, "test", NUMBERS, "256 of them"), "The end.")


def test_a_card_says_what_the_elbo_bounds() -> None:
    text = card_of(VAE)
    assert "tags: [variational-autoencoder]" in text
    assert "\nA variational autoencoder of Digits 8×8 with 2 latent dimensions.\n" in text
    assert "| bound; gradients | ELBO, β = 4; " in text
    assert "| test ELBO | **-20.00 ± 0.50 nats per image** (lower bound on log p of the binarised image;" in text


@pytest.mark.parametrize("numbers", [NUMBERS, {**NUMBERS, "elbo": None, "elbo_se": None, "rate": None}])
def test_the_card_of_a_plain_autoencoder_speaks_of_its_reconstruction(numbers: dict[str, float | None]) -> None:
    text = card("name", PLAIN, result_rows(PLAIN, "test", numbers, "256 of them"), "The end.")
    assert "| test reconstruction | **-17.00 nats per image** (E log p(x|z), no bound; 256 of them) |" in text
    assert "tags: [autoencoder]" in text
    assert "\nAn autoencoder of Digits 8×8 with 2 latent dimensions.\n" in text
    for word in ("ELBO", "variational", "lower bound", "rate (KL)"):
        assert word not in text
