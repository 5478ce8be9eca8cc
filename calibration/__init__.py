"""From evidence to settings: limits with their statistical bounds, optics, measuring-system analysis."""
