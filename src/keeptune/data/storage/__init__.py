"""Sequences that are made when they are looked at, and rows that lie on disk."""
