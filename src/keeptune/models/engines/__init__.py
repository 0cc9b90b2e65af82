"""How a model runs: the one difference between models that the rest of the package need not know."""
