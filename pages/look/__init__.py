"""The run at a glance: welcome, overview, images with their captions, bias."""
