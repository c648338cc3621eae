"""Commands that set this program up: configuration, service, shell completion."""
