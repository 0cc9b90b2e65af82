"""The pieces of work of a study."""
