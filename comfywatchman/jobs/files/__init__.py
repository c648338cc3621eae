"""Job files: their names and schema, the folders that hold them, workflow templates, and finding new files."""
