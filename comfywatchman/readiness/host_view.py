"""What this host has, looked at once: models, packs, a running ComfyUI. Everything a verdict is held against."""
