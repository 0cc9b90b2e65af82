"""The two sides of each comparison, one module per process: keeptune and its peer."""
