"""One file per section of the page: what it shows, taken from the summary. Without data it is None or empty."""
