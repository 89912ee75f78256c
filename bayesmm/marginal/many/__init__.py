"""Many responses of one design: drawn without rows, and evaluated side by side."""
