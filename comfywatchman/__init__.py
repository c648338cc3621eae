"""comfywatchman keeps a ComfyUI host ready."""

__version__ = "0.1.0"
