"""What an interrupted training goes on from. Start with `keeper`."""
