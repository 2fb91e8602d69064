"""What pages say about a recipe."""

import pytest

from ui.words import objective_note
from vae_core.config import Config, ObjectiveConfig


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (ObjectiveConfig(), ""),
        (ObjectiveConfig(beta=4.0), "reconstruction − β·KL with β = 4; "),
        (ObjectiveConfig(warmup_epochs=5), "reconstruction − β·KL with β = 1 after 5 epochs of warm-up; "),
        (ObjectiveConfig("free_bits", free_nats=2.0), "reconstruction − max(KL, 2 nats); "),
        (ObjectiveConfig("free_bits", free_nats=2.0, beta=4.0), "reconstruction − β·max(KL, 2 nats) with β = 4; "),
        (ObjectiveConfig("iwae", draws=5), "the IWAE-5; "),
    ],
    ids=str,
)
def test_what_a_run_maximises(objective: ObjectiveConfig, words: str) -> None:
    said = objective_note(Config(objective=objective))
    assert said.startswith(f"This run maximises {words}" if words else "")
    assert bool(said) == bool(words)
