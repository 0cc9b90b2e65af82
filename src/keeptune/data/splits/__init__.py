"""Train, validation and test parts, and rows of one that another knows."""
