"""The agent interface, the registry of installed agents, and what runs their actions with timeouts."""
