"""The torch modules that networks are made of."""
