"""The spool: where recordings lie on the dock between the camera and the store."""
