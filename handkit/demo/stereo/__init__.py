"""`handkit demo --stereo`: two calibrated views of the same hands, in pictures or synchronous videos."""
