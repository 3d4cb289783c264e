"""Parts of the pictures: what is drawn with, and the strip that shows what was left out."""
