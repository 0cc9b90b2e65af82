"""Formats whose rows are more than columns of text, one family per file; `base` shows how to add one."""
