"""Judge models: where they are asked, and how far to trust them."""
