"""Carrying out the cells of a grid: the run store, the worker, the local pool and what is said about them."""
