"""What LoRA does to the layers of a model: which it takes, and how they are computed."""
