"""Settings carried between engines: written as each takes them, and read back."""
