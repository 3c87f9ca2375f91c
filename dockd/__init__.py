"""Takes evidence off body-worn cameras into a store, proves that it is there, and only then empties them."""
