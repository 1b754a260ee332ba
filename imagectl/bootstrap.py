"""The composition root: settings become wired services. Nothing else knows every adapter."""
