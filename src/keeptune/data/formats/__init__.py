"""What rows of a file mean: which format they have, which column is asked and which answered."""
