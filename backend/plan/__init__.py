"""What is decided once for a module: how its entry is called."""
