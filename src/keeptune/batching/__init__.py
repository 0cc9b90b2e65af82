"""Integer batches: many sequences in one flat row without padding, and the padded form of the same batch."""
