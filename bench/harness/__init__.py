"""The bench of ecapture: what it captures, what it loses and what it costs."""
