"""A whole dock in a folder, with sample cameras and a real broker: for a first look."""
