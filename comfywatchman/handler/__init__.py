"""One request in, one result out: run a workflow on a ComfyUI for a program."""
