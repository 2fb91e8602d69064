"""Maps of the held-out sample that the page has made in processes of their own."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page
from streamlit.testing.v1 import AppTest

from tests.app.conftest import App
from ui import embeddings


@pytest.mark.parametrize("kind", ["tsne", "umap"])
def test_an_embedding_of_other_points_is_never_started(
    explore: Callable[..., AppTest], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "EmbeddingProcess", lambda *_: pytest.fail("a map of other points was started"))
    (error,) = explore(model="digits-2d", kind=kind, data="test").error
    assert "held-out sample only" in error.value


def test_a_map_that_is_being_made_can_be_given_up(page: Page, app: App) -> None:
    """The click reruns only the part of the page that waits."""
    page.goto(f"{app.url}/explore?model=mnist-2d&kind=tsne")
    page.get_by_text("Making the t-SNE map").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.locator(".plane[data-url]").wait_for()
    assert page.get_by_test_id("stException").count() == 0
    assert "kind" not in page.url
