"""Remedies against forgetting: one idea per file."""
