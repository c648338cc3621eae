"""Who may read and who may change something through the web page."""
