"""Running one job on ComfyUI: prompt, uploads, outputs, heartbeat, and the gate before it."""
