"""From prompts and answers to token ids and a loss mask."""
