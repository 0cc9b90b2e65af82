"""What `import keeptune` offers to programs and notebooks: one function or class for every command."""
