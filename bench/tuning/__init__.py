"""Tuning with Optuna: the same chance for every row of a grid, and a grid of what came out.

`space` (what is searched) -> `rows` (whose it is, and the cells of its trials) -> `study` (Optuna's side of it) ->
`trials` (a pool's feed, which hands trials out) -> `ledgers` (the tuned grid), `show`; `orders` carries all of it out.
Optuna is imported once one of these is used.
"""
