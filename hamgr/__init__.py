"""hamgr: a high-availability cluster manager with Pacemaker's judgement and Kubernetes as its resource layer."""

__version__ = "0.1.0"
