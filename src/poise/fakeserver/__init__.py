"""A public fake server: any law, any lie, any fault."""
