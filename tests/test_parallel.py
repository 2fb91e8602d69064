import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vae_core import command, datasets, runs
from vae_core.bounds import BOUNDS
from vae_core.config import Config, ModelConfig, ObjectiveConfig, ScheduleConfig
from vae_core.datasets import Split
from vae_core.estimators import ESTIMATORS
from vae_core.likelihoods import LIKELIHOODS
from vae_core.parallel import assembled
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS
from vae_core.rules import problems
from vae_core.steering import Change
from vae_core.team import ALONE, Team
from vae_core.training import Trainer
from vae_core.worker import train

CPU = torch.device("cpu")
PATIENCE = 120
FOLLOWER = """
import torch
from vae_core.parallel import assembled, follow
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
with assembled() as team:
    raise SystemExit(follow(team))
"""
SMALL = Config(
    model=ModelConfig(widths=(12,), latent=3, components=4),
    objective=ObjectiveConfig(draws=3),
    schedule=ScheduleConfig(learning_rate=0.01, batch_size=14, epochs=3),
    device="cpu",
)


def environment(rank: int, port: int) -> dict[str, str]:
    """What torchrun sets for one of two processes of a machine."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    """This process leads; another one follows, in double precision."""
    port = free_port()
    follower = subprocess.Popen([sys.executable, "-c", FOLLOWER], env=os.environ | environment(1, port))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(0, port).items():
            patch.setenv(name, value)
        with assembled() as joined:
            assert (joined.rank, joined.size, joined.leads) == (0, 2, True)
            yield joined
    assert follower.wait(PATIENCE) == 0


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def digits() -> Split:
    return datasets.load("digits", "train")


def with_parts(model: dict[str, object], objective: dict[str, object]) -> Config:
    return replace(SMALL, model=replace(SMALL.model, **model), objective=replace(SMALL.objective, **objective))


def every_gradient() -> Iterator[Config]:
    """Every estimator with every bound that it serves, over layers that it can pass."""
    for estimator, entry in ESTIMATORS.items():
        for bound in entry.bounds:
            gradient = {"bound": bound, "estimator": estimator}
            binary = {"posterior": "bernoulli", "prior": "bernoulli"}
            for model in ({}, binary, {"below": (5,)}, binary | {"below": (5,)}):
                config = with_parts(model, gradient)
                if not problems(config):
                    yield config


def every_part() -> Iterator[Config]:
    """Every likelihood, posterior and prior, with gradients through draws and through dreams."""
    parts = [("likelihood", name) for name in LIKELIHOODS]
    parts += [("posterior", name) for name in POSTERIORS] + [("prior", name) for name in PRIORS]
    for kind, name in parts:
        for estimator in ("pathwise", "wake_sleep"):
            forced = {"bernoulli": "bernoulli", "deterministic": "none", "none": "deterministic"}.get(name)
            other = {"posterior": "prior", "prior": "posterior"}.get(kind)
            config = with_parts({kind: name} | ({other: forced} if other and forced else {}), {"estimator": estimator})
            if not problems(config):
                yield config


def name_of(config: Config) -> str:
    model, objective = config.model, config.objective
    parts = (objective.estimator, objective.bound, model.likelihood, model.posterior, model.prior, *model.below)
    return "-".join(map(str, parts))


CASES = {name_of(config): config for config in (*every_gradient(), *every_part())}


def test_every_entry_is_walked() -> None:
    walked = CASES.values()
    assert {c.objective.estimator for c in walked} == set(ESTIMATORS)
    assert {c.objective.bound for c in walked} == set(BOUNDS)
    assert {c.model.likelihood for c in walked} == set(LIKELIHOODS)
    assert {c.model.posterior for c in walked} == set(POSTERIORS)
    assert {c.model.prior for c in walked} == set(PRIORS)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
def test_two_processes_have_the_gradients_of_one(config: Config, team: Team, digits: Split) -> None:
    together, alone = (Trainer(config, digits, CPU, each) for each in (team, ALONE))
    info, expected = together.advance(), alone.advance()
    for (name, ours), theirs in zip(together.model.named_parameters(), alone.model.parameters(), strict=True):
        assert ours.grad is not None, name
        assert theirs.grad is not None, name
        assert (ours.grad - theirs.grad).norm() <= 1e-6 * theirs.grad.norm(), name
    torch.testing.assert_close(info.stats, expected.stats, rtol=1e-9, atol=0)
    assert torch.equal(together.generator.get_state(), alone.generator.get_state())


def weights(trainer: Trainer) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


@pytest.mark.usefixtures("double")
def test_many_steps_of_two_processes_are_those_of_one(team: Team, digits: Split) -> None:
    """With settings that change on the way, which the other process must hear of."""
    together, alone = (Trainer(SMALL, digits, CPU, each) for each in (team, ALONE))
    for trainer in (together, alone):
        trainer.steer(Change(5, {"learning_rate": 0.02, "draws": 2}))
        for _ in range(95):  # into the second epoch
            trainer.advance()
    assert together.config.objective.draws == 2
    torch.testing.assert_close(weights(together), weights(alone), rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("double")
def test_a_resumed_team_goes_on_bit_for_bit_and_so_does_one_process(team: Team, digits: Split) -> None:
    begun = Trainer(SMALL, digits, CPU, team)
    for _ in range(3):
        begun.advance()
    kept = deepcopy((begun.model.state_dict(), begun.state()))
    for _ in range(3):
        begun.advance()
    resumed, alone = Trainer(SMALL, digits, CPU, team), Trainer(SMALL, digits, CPU)
    for trainer in (resumed, alone):  # one after the other: a process follows one trainer at a time
        trainer.restore(*deepcopy(kept))
        for _ in range(3):
            trainer.advance()
    assert torch.equal(weights(resumed), weights(begun))
    assert torch.equal(alone.generator.get_state(), begun.generator.get_state())
    torch.testing.assert_close(weights(alone), weights(begun), rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("double")
def test_a_run_of_two_processes_has_the_curve_of_one(team: Team) -> None:
    config = replace(SMALL, schedule=replace(SMALL.schedule, batch_size=64, epochs=8))
    together, alone = runs.create(config), runs.create(config)
    assert train(together, team=team).state == train(alone).state == "finished"
    ours, theirs = (run.rows()[-1] for run in (together, alone))
    for name in ("held_out_elbo", "held_out_reconstruction", "held_out_kl"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-5)
    assert ours["active_units"] == theirs["active_units"]
    assert ours["gradient_norms"] == pytest.approx(theirs["gradient_norms"], rel=1e-3)


def test_a_batch_that_cannot_be_shared_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command.parser().parse_args(["--batch-size", "64"])
    assert command.lead(arguments, Team(0, 3)) == 2
    assert capsys.readouterr().err == (
        "Batch size is 64, but 3 processes train together and each takes the same share; choose a multiple of 3, such "
        "as 63.\n"
    )
    assert runs.listed() == []


@pytest.mark.parametrize("size", [2, 5, 300])
def test_the_batch_size_that_is_proposed_can_be_shared(size: int) -> None:
    with pytest.raises(ValueError, match="such as") as caught:
        Team(0, size).share(128 if 128 % size else 129)
    proposed = int(str(caught.value).rstrip(".").split()[-1])
    assert Team(0, size).share(proposed) == proposed / size


def test_a_device_for_all_is_refused() -> None:
    with pytest.raises(ValueError, match="each process that torchrun starts takes a GPU of its own"):
        Team(0, 2, 0, joined=True).device("cuda:1")
    assert Team(1, 2, 1, joined=True).device("cuda") == "cuda:1"
    assert Team(1, 2, 1, joined=True).device("cpu") == "cpu"
    assert ALONE.device("cuda:1") == "cuda:1"


@contextmanager
def torchrun(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Two processes that train together, as a user starts them."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [*launcher, "-m", "vae_core.training", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def member(process: subprocess.Popen[str], rank: int) -> int:
    """The process id of one that torchrun started."""
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return int(pid)
    raise AssertionError(f"no process has rank {rank}")


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_whoever_is_killed_the_others_end_and_the_run_goes_on() -> None:
    """Paused, for the checkpoint; then the follower is killed, later the leader; at last one process takes over."""
    run = runs.create(replace(SMALL, schedule=replace(SMALL.schedule, epochs=10_000)))
    with torchrun("--resume", str(run.folder)) as process:
        until(lambda: run.status().state == "running")
        run.request("pause")
        until(lambda: run.status().state == "paused" and len(run.checkpoints()) > 0)
        paused = int(run.checkpoints()[-1].name)
        time.sleep(0.5)
        assert run.status().step == paused
        run.request("resume")
        until(lambda: run.status().step > paused)
        os.kill(member(process, 1), signal.SIGKILL)
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode != 0
    sentence = "Another of the 2 processes that train this run together is gone; go on from the last checkpoint"
    assert sentence in run.status().reason
    assert f"failed: {sentence}" in output
    with torchrun("--resume", str(run.folder)) as process:
        until(lambda: run.status().state == "running")
        assert run.status().step >= paused
        os.kill(member(process, 0), signal.SIGKILL)
        output, _ = process.communicate(timeout=PATIENCE)
    assert f"Process 1: {sentence}" in output
    assert run.status().state == "failed"
    run.request("stop")
    status = train(run)
    assert (status.state, status.step) == ("stopped", paused + 1)


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="two CUDA devices are not here")
def test_two_gpus_train_one_model() -> None:
    run = runs.create(replace(SMALL, device="cuda"))
    with torchrun("--resume", str(run.folder)) as process:
        process.communicate(timeout=PATIENCE)
    alone = runs.create(replace(SMALL, device="cuda"))
    train(alone)
    assert run.status().state == "finished"
    assert run.rows()[-1]["held_out_elbo"] == pytest.approx(alone.rows()[-1]["held_out_elbo"], abs=0.1)
