"""Tasks in, per-item scores out: what a model answered, how well, and what asking cost."""
