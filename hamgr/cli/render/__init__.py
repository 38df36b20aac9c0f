"""What the commands print. Pure: values in, lines out."""
