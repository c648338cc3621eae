"""What `comfywatchman setup` finds on this machine, and the settings that follow from it."""
