"""What is done with a recording, in order: detect, inventory, offload, upload, verify, publish."""
