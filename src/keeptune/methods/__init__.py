"""Which parameters are trained, and what is stored of them: one file per method."""
