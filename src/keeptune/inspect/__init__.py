"""What people look at before they train: data checked, prompts as they will be asked, rows cleaned."""
