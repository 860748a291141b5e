"""Hyper-parameter search over a recipe with Optuna, scored on validation patients."""
