"""How one scan is read: headers, rules of a series, pixels, image files, and the fence around all of it."""
