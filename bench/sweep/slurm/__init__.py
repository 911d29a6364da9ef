"""Sweeps carried out by SLURM jobs: all that says SLURM."""
