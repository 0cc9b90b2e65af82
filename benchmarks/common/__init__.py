"""What the benchmarks share: models, rows, worker processes, figures."""
