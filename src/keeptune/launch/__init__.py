"""Which processes train one model together."""
