"""The vocabulary that every other room may import. Pure Python: no torch, no numpy."""
