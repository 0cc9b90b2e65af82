"""What a training will need, before there is a device to run it on or a weight to read."""
