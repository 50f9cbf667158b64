"""The studio: Faceloom as a web page on the loopback, for one person on their own machine."""
