"""Sweeps: search for the settings that train best, with Optuna."""
