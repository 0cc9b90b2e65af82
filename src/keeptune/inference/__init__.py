"""Tokens in, log-probabilities or tokens out: the two request kinds of evaluation."""
