"""Clusters behind one port: `base` is the port, `local` this machine."""
