"""Limits: from the environment, and in words."""

import os

import pytest

from vae_core.limits import MEGABYTE, LimitReached, Limits


def test_without_settings_every_core_is_a_place_and_nothing_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ELBO_ROOM_")]:
        monkeypatch.delenv(name)
    limits = Limits.from_environment()
    assert limits == Limits()
    assert limits.workers == len(os.sched_getaffinity(0))
    assert limits.retention_days == 0


def test_the_environment_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORKERS", "3"), ("MAX_RUNNING", " 2 "), ("MAX_QUEUED", "5"), ("MAX_DISK", "")):
        monkeypatch.setenv(f"ELBO_ROOM_{name}", value)
    monkeypatch.setenv("ELBO_ROOM_RETENTION_DAYS", "30")
    assert Limits.from_environment() == Limits(workers=3, running=2, queued=5, retention_days=30)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", "1e3", "²", "9" * 5_000, "1000001"])
def test_what_is_no_number_of_places_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ELBO_ROOM_WORKERS", text)
    with pytest.raises(ValueError, match=r"ELBO_ROOM_WORKERS is .*, but must be a whole number from 1 to 1,000,000\."):
        Limits.from_environment()


def test_refusals_say_the_limit_the_use_and_what_to_do() -> None:
    limits = Limits(queued=20, disk=1_000)
    limits.admit(1, 19, 999 * MEGABYTE)
    limits.admit(20, 0, 0)
    with pytest.raises(LimitReached, match=r"^20 of your runs wait in the queue, but at most 20 may wait\. Wait until"):
        limits.admit(1, 20, 0)
    with pytest.raises(LimitReached, match=r"^3 of your runs wait in the queue, and these are 18 more, but at most 20"):
        limits.admit(18, 3, 0)
    with pytest.raises(LimitReached, match=r"^Your runs take 1,234 MB of disk, but may take at most 1,000 MB\. Delete"):
        limits.admit(1, 0, 1_234 * MEGABYTE)
