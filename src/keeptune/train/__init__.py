"""The training loop: global batches in, a trained model and its records out."""
