"""Files that MAX imports into its own interpreter, by their plain names."""
