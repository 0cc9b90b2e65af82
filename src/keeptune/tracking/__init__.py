"""What may watch a training or a study, one tracker per file. Start with `base`."""
