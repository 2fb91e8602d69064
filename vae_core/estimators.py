"""How gradients reach the parameters, and nothing else.

An estimator draws from q, and returns the terms together with `objective` [B]: its value is the bound's, and its
gradient is the ascent direction. Gradients are stopped in two places only: at draws or networks that must not learn
from a term (`detach`, `frozen`), and by a factor on what flows back through a draw.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vae_core.bounds import BOUNDS, Objective, Terms
from vae_core.gaussians import kl
from vae_core.model import HelmholtzMachine, Inference, total_log_prob


@dataclass(frozen=True)
class Estimate:
    terms: Terms
    objective: Float[Tensor, "B"]


def _require_reparameterised(inference: Inference) -> None:
    for layer, q in enumerate(inference.q, start=1):
        if not q.reparameterised:
            raise ValueError(
                f"a pathwise estimator needs reparameterised layers, but layer {layer} is {type(q).__name__}; use "
                "'score_function_loo', 'wake_sleep' or 'reweighted_wake_sleep'"
            )


def _require_several(draws: int, estimator: str) -> None:
    if draws < 2:
        raise ValueError(f"{estimator} needs at least 2 draws an example to compare with each other; got {draws}")


def _ascend(value: Tensor, direction: Tensor) -> Tensor:
    """The value of the first with the gradient of the second."""
    return value.detach() + direction - direction.detach()


def pathwise(
    model: HelmholtzMachine, x: Float[Tensor, "B D"], objective: Objective, draws: int, *, generator: torch.Generator
) -> Estimate:
    """Reparameterised gradients, every term by Monte Carlo (SGVB estimator A, Kingma & Welling 2014, eq. 6)."""
    inference = model.infer(x, draws, generator=generator)
    _require_reparameterised(inference)
    terms = model.terms(x, inference)
    return Estimate(terms, objective(terms))


def pathwise_analytic(
    model: HelmholtzMachine, x: Float[Tensor, "B D"], objective: Objective, draws: int, *, generator: torch.Generator
) -> Estimate:
    """Reparameterised gradients with the KL in closed form (SGVB estimator B, Kingma & Welling 2014, eq. 7).

    Raises ValueError for a machine of several layers or where no closed form is known; `pathwise` serves there.
    """
    inference = model.infer(x, draws, generator=generator)
    _require_reparameterised(inference)
    if len(inference.q) != 1:
        raise ValueError("the analytic KL needs one stochastic layer; use the estimator 'pathwise' for several")
    (posterior,) = inference.q
    log_lik = model.log_lik(x, inference.h)
    minus_kl = -kl(posterior, model.prior()).expand_as(log_lik)
    terms = Terms(log_lik, minus_kl, log_lik.new_zeros(()).expand_as(log_lik))
    return Estimate(terms, objective(terms))


def doubly_reparameterised(
    model: HelmholtzMachine, x: Float[Tensor, "B D"], objective: Objective, draws: int, *, generator: torch.Generator
) -> Estimate:
    """Pathwise gradients without the score of q: "sticking the landing" for the ELBO (Roeder et al. 2017, eq. 8),
    DReG for IWAE (Tucker et al. 2019, eq. 8), and in between for Renyi-alpha.

    With c = softmax((1 - alpha) log w) the decoder's gradient is the bound's own, sum of c d log w; the encoder's is
    the sum of c (alpha + (1 - alpha) c) d log w through the draws alone. Raises ValueError for bounds without an alpha.
    """
    if objective.bound.alpha is None:
        raise ValueError(
            f"doubly reparameterised gradients are not defined for {objective.bound.label}; use 'pathwise'"
        )
    inference = model.infer(x, draws, generator=generator)
    _require_reparameterised(inference)
    # copies, so that the factor acts on what the terms send back, once, and not on the path from layer to layer
    h = tuple(layer.view_as(layer) for layer in inference.h)
    log_q = total_log_prob(model.recognise(x, h, frozen=True), h)
    terms = Terms(model.log_lik(x, h), model.log_prior(h), log_q)
    alpha = objective.bound.alpha(objective.settings)
    share = ((1 - alpha) * terms.log_weights.detach()).softmax(0)
    factor = (alpha + (1 - alpha) * share).unsqueeze(-1)
    for layer in h:
        if layer.requires_grad:
            layer.register_hook(lambda gradient: gradient * factor)
    return Estimate(terms, objective(terms))


def _scored(
    model: HelmholtzMachine,
    x: Tensor,
    objective: Objective,
    draws: int,
    generator: torch.Generator,
    signal: Callable[[Terms, Tensor], Tensor],
) -> Estimate:
    terms = model.terms(x, model.infer(x, draws, generator=generator, through=False))
    value = objective(terms)
    with torch.no_grad():
        learned = signal(terms, value)
    scores = (learned * terms.log_q).sum(0)
    return Estimate(terms, _ascend(value, value + scores))


def score_function(
    model: HelmholtzMachine, x: Float[Tensor, "B D"], objective: Objective, draws: int, *, generator: torch.Generator
) -> Estimate:
    """Score-function gradients, bound times grad log q (REINFORCE; black-box VI, Ranganath et al. 2014, eq. 2)."""
    return _scored(model, x, objective, draws, generator, lambda terms, value: value.expand_as(terms.log_q))


def _without(terms: Terms, k: int) -> Terms:
    """The terms with draw k replaced by the mean of the others."""

    def replaced(term: Tensor) -> Tensor:
        others = (term.sum(0) - term[k]) / (len(term) - 1)
        return torch.cat([term[:k], others[None], term[k + 1 :]])

    return Terms(replaced(terms.log_lik), replaced(terms.log_prior), replaced(terms.log_q))


def score_function_loo(
    model: HelmholtzMachine, x: Float[Tensor, "B D"], objective: Objective, draws: int, *, generator: torch.Generator
) -> Estimate:
    """Score-function gradients with a leave-one-out baseline: the bound with that draw's terms replaced by the mean of
    the others' (VIMCO, Mnih & Rezende 2016, eq. 8-10; for the ELBO it is the multi-sample baseline of Kool et al.
    2019). Raises ValueError for fewer than two draws.
    """
    _require_several(draws, "the leave-one-out baseline")
    return _scored(
        model,
        x,
        objective,
        draws,
        generator,
        lambda terms, value: torch.stack([value - objective(_without(terms, k)) for k in range(draws)]),
    )


def wake_sleep(
    model: HelmholtzMachine, x: Float[Tensor, "B D"], objective: Objective, draws: int, *, generator: torch.Generator
) -> Estimate:
    """Wake: the generative networks learn log p(x, h) at draws of q. Sleep: the recognition networks learn log q(h|x)
    at as many dreams (x, h) of the model (Hinton et al. 1995). No gradient of any one bound."""
    terms = model.terms(x, model.infer(x, draws, generator=generator, through=False))
    wake = (terms.log_lik + terms.log_prior).mean(0)
    dream, h = model.dream(len(x), generator=generator)
    inner = tuple(layer.unsqueeze(0) for layer in h)
    sleep = total_log_prob(model.recognise(dream, inner), inner).squeeze(0)
    return Estimate(terms, _ascend(objective(terms), wake + sleep))


def reweighted_wake_sleep(
    model: HelmholtzMachine, x: Float[Tensor, "B D"], objective: Objective, draws: int, *, generator: torch.Generator
) -> Estimate:
    """Both kinds of networks learn at draws of q weighted by their normalised importance weights: log p(x, h) and
    log q(h|x) (Bornschein & Bengio 2015, eq. 6 and 11, wake phase of q). For the generative networks that is the
    gradient of IWAE-K; for the recognition networks it lowers KL(p(h|x) || q), the more exactly the more draws.
    Raises ValueError for fewer than two draws."""
    _require_several(draws, "reweighted wake-sleep")
    terms = model.terms(x, model.infer(x, draws, generator=generator, through=False))
    weights = terms.log_weights.detach().softmax(0)
    learned = (weights * (terms.log_lik + terms.log_prior + terms.log_q)).sum(0)
    return Estimate(terms, _ascend(objective(terms), learned))


@dataclass(frozen=True)
class Estimator:
    """One entry. `bounds` names the bounds it serves; `unbiased` says that its gradient's mean is the gradient of the
    bound's mean for all parameters; `reparameterised` and `analytic_kl` what it asks of the posterior; `draws` how many
    it needs at least."""

    label: str
    help: str
    estimate: Callable[..., Estimate]
    bounds: Sequence[str]
    unbiased: bool = True
    reparameterised: bool = False
    analytic_kl: bool = False
    draws: int = 1


ESTIMATORS = {
    "pathwise_analytic": Estimator(
        "Pathwise, analytic KL (SGVB-B)",
        "Noise enters through z = μ + σε; the KL term is exact. Lowest variance where it applies.",
        pathwise_analytic,
        bounds=[name for name, bound in BOUNDS.items() if bound.analytic],
        reparameterised=True,
        analytic_kl=True,
    ),
    "pathwise": Estimator(
        "Pathwise, Monte Carlo KL (SGVB-A)",
        "Noise enters through z = μ + σε; the KL term is estimated from the same draws.",
        pathwise,
        bounds=list(BOUNDS),
        reparameterised=True,
    ),
    "doubly_reparameterised": Estimator(
        "Doubly reparameterised (STL, DReG)",
        "Pathwise without the score of q: its noise vanishes as q comes near the posterior, and with more draws.",
        doubly_reparameterised,
        bounds=[name for name, bound in BOUNDS.items() if bound.alpha],
        reparameterised=True,
    ),
    "score_function": Estimator(
        "Score function (black-box VI)",
        "Bound times ∇ log q: works for any layer, binary ones too, but is noisy.",
        score_function,
        bounds=list(BOUNDS),
    ),
    "score_function_loo": Estimator(
        "Score function, leave-one-out (VIMCO)",
        "Each draw is judged against the others: far less noise. At least 2 draws.",
        score_function_loo,
        bounds=list(BOUNDS),
        draws=2,
    ),
    "wake_sleep": Estimator(
        "Wake-sleep",
        "The decoder learns from inferred codes, the encoder from the model's own dreams. Not one objective.",
        wake_sleep,
        bounds=["elbo"],
        unbiased=False,
    ),
    "reweighted_wake_sleep": Estimator(
        "Reweighted wake-sleep",
        "Encoder and decoder learn from the same draws, weighted by importance. At least 2 draws.",
        reweighted_wake_sleep,
        bounds=["iwae"],
        unbiased=False,
        draws=2,
    ),
}
