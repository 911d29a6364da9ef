"""bench: a benchmark of ways to train the prior of a variational autoencoder."""

__version__ = "0.1.0"
