"""What dockd tells people and machines of itself."""
