"""Token after token: the generation that engines offer, flat over a cache of our own or padded by transformers."""
