"""Where drivers report: the HTTPS endpoint, who may speak, its certificates, and the way into status."""
