"""hamgrd: wiring, configuration, signals, systemd, node membership."""
