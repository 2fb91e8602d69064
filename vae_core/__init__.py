"""Variational inference with latent variables: densities, bounds, estimators, models, training.

Everything variational is cut at three tensors of shape [K, B] (K draws, B examples), in nats:
log p(x|h), log p(h) and log q(h|x). See `bounds.Terms`.
"""
