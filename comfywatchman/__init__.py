"""comfywatchman keeps a ComfyUI host ready."""

__version__ = "0.2.0"
