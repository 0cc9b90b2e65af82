"""One prompt, answered side by side by a base, its best prompting and every tuned arm, on a page in the browser."""
