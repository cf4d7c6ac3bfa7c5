"""What steering gives back: forecasts and measurements as frozen types, in words and as files."""
