"""Metrics, one per file: what a recipe calls ``metric:``. Start with `base`."""
