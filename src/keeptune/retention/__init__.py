"""Statistics on paired scores: what was lost, what was kept, what the numbers can't tell. NumPy and SciPy only."""
