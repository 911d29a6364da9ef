"""The densities themselves, and all that is special to each."""
