"""The commands of `comfywatchman handler`."""
