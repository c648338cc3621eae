"""The command `web`: the web page."""
