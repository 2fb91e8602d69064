"""The layers of a decoder as the browser computes them: what is compiled, and that it comes to what PyTorch says."""

import base64
import re

import pytest
import torch
from playwright.sync_api import Page
from wasmtime import wat2wasm

from tests.app.conftest import App
from tests.app.driving import ready
from ui.latent_plane import HERE

SIZES = [(3, 5), (5, 12), (12, 7), (7, 1)]
"""Inputs and outputs that do and do not come out even in fours."""
RUN = """async ({ layers, numbers, inputs, forbidden }) => {
  if (forbidden) WebAssembly.Module = function () { throw new Error("not here"); };
  const script = await (await fetch("/api/latent_plane.js")).text();
  const url = URL.createObjectURL(new Blob([script + "; export { Kernel }"], { type: "text/javascript" }));
  const { Kernel } = await import(url), kernel = new Kernel(layers, Float32Array.from(numbers));
  const outputs = inputs.map((x) => {
    kernel.input.set(x);
    return Array.from(kernel.run((v) => v > 0 ? v : 0));
  });
  return { outputs, compiled: kernel.affine.toString().includes("native code") };
}"""


def test_what_is_compiled_is_the_source_beside_it() -> None:
    script = (HERE / "kernel.js").read_text()
    found = re.search(r"const AFFINE = \[(.*?)\]", script, re.DOTALL)
    assert found
    compiled = base64.b64decode("".join(re.findall('"(.*?)"', found[1])))
    assert compiled == bytes(wat2wasm((HERE / "affine.wat").read_text()))


@pytest.mark.parametrize("forbidden", [False, True], ids=["WebAssembly", "plain JavaScript"])
def test_layers_come_to_what_pytorch_says(page: Page, app: App, forbidden: bool, generator: torch.Generator) -> None:
    ready(page, app.url)
    layers = [(torch.randn(o, i, generator=generator), torch.randn(o, generator=generator)) for i, o in SIZES]
    x = torch.randn(20, SIZES[0][0], generator=generator)
    numbers = torch.cat([part.flatten() for layer in layers for part in layer]).tolist()
    given = {"layers": SIZES, "numbers": numbers, "inputs": x.tolist(), "forbidden": forbidden}
    found = page.evaluate(RUN, given)
    assert found["compiled"] is not forbidden
    for number, (weight, bias) in enumerate(layers):
        x = torch.nn.functional.linear(x, weight, bias)
        x = x if number == len(layers) - 1 else x.relu()
    assert torch.allclose(torch.tensor(found["outputs"]), x, rtol=1e-5, atol=1e-5)
