"""Raw rows in, encoded examples out: readers, templates, splits, leak checks, token ids."""
