"""What the web page shows and changes: views that return plain values, and the actions behind its buttons."""
