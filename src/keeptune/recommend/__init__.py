"""Which rate, which arm, and in which words. Records in, records out; no torch."""
