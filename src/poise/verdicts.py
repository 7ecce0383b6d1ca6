"""Say what a study allows to conclude, and nothing more."""
