from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.small import seeded
from vae_core import datasets
from vae_core.bounds import Objective
from vae_core.config import Config, ModelConfig, ObjectiveConfig, ScheduleConfig
from vae_core.datasets import DATASETS, Split
from vae_core.estimators import ESTIMATORS
from vae_core.likelihoods import LIKELIHOODS
from vae_core.optimisers import OPTIMISERS, SCHEDULES
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS
from vae_core.runs import load_tensors, save_tensors
from vae_core.training import Trainer, choose_device, fit, generator_for, load_trainer, new_model

CPU = torch.device("cpu")
SMALL = Config(
    model=ModelConfig(widths=(16,)), schedule=ScheduleConfig(learning_rate=0.01, batch_size=32, epochs=3), device="cpu"
)


def digits(count: int = 100) -> Split:
    return datasets.load("digits", "train").head(count)


def trainer_of(config: Config, count: int = 100) -> Trainer:
    return Trainer(config, digits(count), CPU)


def with_schedule(**changes: object) -> Config:
    return replace(SMALL, schedule=replace(SMALL.schedule, **changes))


def with_objective(**changes: object) -> Config:
    return replace(SMALL, objective=replace(SMALL.objective, **changes))


def run(trainer: Trainer, steps: int | None = None) -> Trainer:
    for _ in islice(fit(trainer), steps):
        pass
    return trainer


def weights(trainer: Trainer) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


def black_and_white(count: int) -> Split:
    split = digits(count)
    return Split((split.x > 127).to(torch.uint8) * 255, split.y)


def test_sixteen_images_are_learned_by_heart() -> None:
    """With a wide latent space and little KL the reconstructions become the images."""
    config = Config(
        model=ModelConfig(widths=(64,), latent=16),
        objective=ObjectiveConfig(beta=0.01),
        schedule=ScheduleConfig(learning_rate=0.01, batch_size=16, epochs=400),
    )
    split = black_and_white(16)
    trainer = run(Trainer(config, split, CPU))
    images = split.x.float() / 255
    with torch.no_grad():
        rebuilt = trainer.model.decode(trainer.model.encode(images).mean)
    assert torch.equal(rebuilt.mean.round(), images)
    assert rebuilt.log_prob(images).min() > -1.0  # nats for 64 pixels; 44 for guessing


def test_training_raises_the_bound() -> None:
    infos = list(fit(trainer_of(with_schedule(epochs=60))))
    first, last = (torch.stack([info.stats[0] for info in part]).mean() for part in (infos[:9], infos[-9:]))
    assert last > first + 10


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_one_step_follows_the_gradient_of_the_mean_bound(optimiser: str) -> None:
    """The update is the optimiser's own for minus the batch mean of the objective, at the scheduled rate."""
    config = with_schedule(optimiser=optimiser)
    trainer, model = trainer_of(config, 32), new_model(config)
    generator = generator_for(CPU, config.seed, 1)
    info = trainer.advance()
    order = torch.randperm(32, generator=generator_for(CPU, config.seed, 2, 0))
    x = LIKELIHOODS["bernoulli"].observe(digits(32).x[order], generator=generator)
    estimate = ESTIMATORS["pathwise_analytic"].estimate(model, x, Objective(config.objective), 1, generator=generator)
    (-estimate.objective.mean()).backward()
    OPTIMISERS[optimiser](model.parameters(), lr=config.schedule.learning_rate * 0.04).step()
    for ours, expected in zip(trainer.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, expected)
    assert info.stats[0].item() == pytest.approx(estimate.objective.mean().item(), rel=1e-5)


def test_the_seed_decides_every_bit() -> None:
    first, again, other = (run(trainer_of(replace(SMALL, seed=seed))) for seed in (5, 5, 6))
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


def test_the_global_seed_has_no_say_and_is_not_touched() -> None:
    torch.manual_seed(1)
    first = weights(run(trainer_of(SMALL)))
    state = torch.manual_seed(2).get_state()
    second = weights(run(trainer_of(SMALL)))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_restored_in_the_middle_of_an_epoch(optimiser: str, tmp_path: Path) -> None:
    """Bit for bit what an uninterrupted run gives, from what the files hold."""
    config = with_schedule(optimiser=optimiser, epochs=4)
    whole = run(trainer_of(config))
    begun = run(trainer_of(config), 5)
    assert begun.step % begun.steps_per_epoch != 0
    save_tensors(tmp_path / "model", begun.model.state_dict())
    save_tensors(tmp_path / "trainer", begun.state())
    resumed = trainer_of(config)
    resumed.restore(load_tensors(tmp_path / "model"), load_tensors(tmp_path / "trainer"))
    assert resumed.step == 5
    run(resumed)
    assert resumed.step == whole.step == 12
    assert torch.equal(weights(resumed), weights(whole))
    assert all(torch.equal(value, resumed.state()[name]) for name, value in whole.state().items())


def test_one_generator_state_is_enough_for_noise_to_go_on(tmp_path: Path) -> None:
    """Without the generator the resumed steps would draw other noise: the parameters must then differ."""
    whole, begun, resumed = run(trainer_of(SMALL)), run(trainer_of(SMALL), 5), trainer_of(SMALL)
    state = begun.state() | {"generator": seeded(77).get_state()}
    resumed.restore(begun.model.state_dict(), state)
    assert not torch.equal(weights(run(resumed)), weights(whole))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_learning_rates_of_a_run(schedule: str) -> None:
    infos = list(fit(trainer_of(with_schedule(schedule=schedule))))
    expected = [0.01 * SCHEDULES[schedule](step / 9) for step in range(9)]
    assert [info.learning_rate for info in infos] == pytest.approx(expected)
    assert [info.step for info in infos] == list(range(1, 10))
    assert [info.epoch for info in infos] == pytest.approx([step / 3 for step in range(1, 10)])


def test_beta_rises_to_its_value_over_the_warm_up() -> None:
    infos = list(fit(trainer_of(with_objective(beta=0.6, warmup_epochs=2))))
    assert [info.beta for info in infos] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6, 0.6, 0.6])
    assert {info.beta for info in fit(trainer_of(with_objective(beta=0.6)))} == {0.6}


def test_beta_weights_the_kl_in_the_objective() -> None:
    info = trainer_of(with_objective(beta=3.0)).advance()
    objective, reconstruction, kl = info.stats.tolist()
    assert objective == pytest.approx(reconstruction - 3 * kl, rel=1e-5)
    assert kl > 0


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Tensor]]:
    """The batches of grey levels that training looks at."""
    batches: list[Tensor] = []
    entry = LIKELIHOODS["bernoulli"]

    def observe(x: Tensor, *, generator: torch.Generator) -> Tensor:
        batches.append(x)
        return entry.observe(x, generator=generator)

    monkeypatch.setitem(LIKELIHOODS, "bernoulli", replace(entry, observe=observe))
    return batches


def test_every_epoch_visits_each_example_once(seen: list[Tensor]) -> None:
    split = Split(
        torch.arange(96, dtype=torch.uint8)[:, None].expand(-1, 64).clone(), torch.zeros(96, dtype=torch.uint8)
    )
    run(Trainer(SMALL, split, CPU))
    visits = torch.cat(seen)[:, 0].reshape(3, 96)
    for order in visits:
        assert sorted(order.tolist()) == list(range(96))
    assert not torch.equal(visits[0], visits[1])
    assert not torch.equal(visits[1], visits[2])


def test_what_does_not_fill_a_batch_waits_for_the_next_epoch(seen: list[Tensor]) -> None:
    split = Split(
        torch.arange(100, dtype=torch.uint8)[:, None].expand(-1, 64).clone(), torch.zeros(100, dtype=torch.uint8)
    )
    trainer = run(Trainer(SMALL, split, CPU))
    assert trainer.total_steps == len(seen) == 9
    visits = torch.cat(seen)[:, 0].reshape(3, 96)
    assert all(len(set(order.tolist())) == 96 for order in visits)


PARTNER = {"bernoulli": "bernoulli", "none": "deterministic", "deterministic": "none"}
"""The posterior of a prior, and the other way round, where the Gaussian ones do not do."""


def assert_every_parameter_moves(model: ModelConfig) -> None:
    estimator = "score_function_loo" if model.posterior == "bernoulli" else "pathwise"
    config = replace(SMALL, model=model, objective=ObjectiveConfig("elbo", estimator, draws=2))
    trainer, start = trainer_of(config), new_model(config).state_dict()
    assert all(info.stats.isfinite().all() for info in (trainer.advance(), trainer.advance()))
    assert weights(trainer).isfinite().all()
    for name, value in trainer.model.state_dict().items():
        assert not torch.equal(value, start[name]), name


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_parameter_of_a_likelihood_is_trained(likelihood: str, network: str) -> None:
    assert_every_parameter_moves(ModelConfig(network, (8,), "silu", 3, likelihood))


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_parameter_of_a_posterior_is_trained(posterior: str, network: str) -> None:
    prior = PARTNER.get(posterior, "standard_normal")
    assert_every_parameter_moves(ModelConfig(network, (8,), latent=3, posterior=posterior, prior=prior))


@pytest.mark.parametrize("prior", PRIORS)
def test_every_parameter_of_a_prior_is_trained(prior: str) -> None:
    posterior = PARTNER.get(prior, "diagonal_gaussian")
    assert_every_parameter_moves(ModelConfig("mlp", (8,), latent=3, posterior=posterior, prior=prior, components=4))


@pytest.mark.parametrize("posterior", ["diagonal_gaussian", "full_gaussian", "flow", "bernoulli"])
def test_every_parameter_of_three_stochastic_layers_is_trained(posterior: str) -> None:
    prior = PARTNER.get(posterior, "learned_gaussian")
    model = ModelConfig("mlp", (8,), latent=2, posterior=posterior, prior=prior, below=(5, 3), inner_widths=(6,))
    assert_every_parameter_moves(model)


def test_a_plain_autoencoder_trains_on_its_reconstruction_alone() -> None:
    config = replace(
        with_schedule(epochs=40),
        model=ModelConfig(widths=(16,), posterior="deterministic", prior="none"),
        objective=ObjectiveConfig(estimator="pathwise"),
    )
    infos = torch.stack([info.stats for info in fit(trainer_of(config))])
    assert torch.equal(infos[:, 0], infos[:, 1])
    assert (infos[:, 2] == 0).all()
    assert infos[-9:, 0].mean() > infos[:9, 0].mean() + 10


@pytest.mark.parametrize("name", DATASETS)
def test_new_model_fits_the_data_set(name: str) -> None:
    shape = DATASETS[name].shape
    model = new_model(replace(SMALL, dataset=name))
    assert model.decode(torch.zeros(1, 2)).mean.shape == (1, shape[0] * shape[1] * shape[2])


def test_impossible_settings_are_refused_before_training() -> None:
    with pytest.raises(ValueError, match="Batch size is 5000"):
        trainer_of(with_schedule(batch_size=5000))


def test_load_trainer_reads_the_training_part() -> None:
    trainer = load_trainer(SMALL)
    assert torch.equal(trainer.train.x, datasets.load("digits", "train").x)
    assert trainer.total_steps == 3 * (1285 // 32)


def test_devices() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match=r"device is 'cuda:99', but \d+ CUDA devices are here; use 'cpu'"):
        choose_device("cuda:99")


def test_streams_of_different_words_differ() -> None:
    def different(words: list[tuple[int, ...]]) -> bool:
        first = {torch.randint(2**62, (1,), generator=generator_for(CPU, *word)).item() for word in words}
        return len(first) == len(words)

    assert different([(seed, purpose) for seed in range(40) for purpose in range(5)])
    assert different([(seed, 2, epoch) for seed in range(40) for epoch in range(40)])
    for seed in range(40):
        assert different([(seed, 0), (seed, 1), (0, 3), (0, 4), *((seed, 2, epoch) for epoch in range(40))])


def test_streams_of_neighbouring_words_are_unrelated() -> None:
    draws = torch.stack([torch.rand(50, generator=generator_for(CPU, seed, 1)) for seed in range(200)])
    correlation = torch.corrcoef(draws.T).fill_diagonal_(0)
    assert correlation.abs().max() < 5 / 200**0.5
    assert (draws.flatten().mean() - 0.5).abs() < 4.5 / (12 * 10_000) ** 0.5


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_cuda_trains_as_the_cpu_does(optimiser: str) -> None:
    """Same initial parameters and batches, other noise: the CPU's own mean objective varies by 0.4 nats with it."""
    config = with_schedule(optimiser=optimiser, epochs=20, batch_size=50)
    cuda = choose_device("cuda")
    on_cpu, on_cuda = trainer_of(config), Trainer(config, digits(), cuda)
    assert {parameter.device.type for parameter in on_cuda.model.parameters()} == {"cuda"}
    ours = torch.stack([info.stats for info in fit(on_cuda)])
    assert ours.device.type == "cuda"
    difference = ours.cpu() - torch.stack([info.stats for info in fit(on_cpu)])
    assert ours.shape == (40, 3)
    assert difference.mean(0).abs().max() < 1.0
    resumed = Trainer(config, digits(), cuda)
    resumed.restore(on_cuda.model.state_dict(), on_cuda.state())
    assert torch.equal(weights(resumed), weights(on_cuda))
