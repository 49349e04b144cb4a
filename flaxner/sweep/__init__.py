"""Sweeps: which settings train best, looked for by Optuna."""
