"""What may be done against forgetting, one remedy per file."""
