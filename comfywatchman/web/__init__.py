"""The web page and the JSON API: they parse requests, call `app`, and render. They hold no rules of the domain."""
