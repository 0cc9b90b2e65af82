"""Tuned models leave the run folder: merged or as adapters, checked on logits, with a card, to a folder or the hub."""
