"""Wordings: how a row becomes a prompt and an answer."""
