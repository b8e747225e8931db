"""The app: a script for each page, the parts of a page beside it, and in kit what several pages share."""
