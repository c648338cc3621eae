"""What this machine is: awake, and since when."""
