"""The API server: requests and their errors, who leads, events, and a look at pods."""
