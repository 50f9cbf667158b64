"""What a saved picture says about itself: that it was edited with AI, how, and by which Faceloom."""
