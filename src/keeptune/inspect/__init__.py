"""What people look at before they train: checked data, prompts as they will be asked, and cleaned rows."""
