"""A transformers model, ready to train and to score: loading, flat attention, log-probabilities, export."""
