"""Real clients against real servers, on each road, compared with what they say directly."""
