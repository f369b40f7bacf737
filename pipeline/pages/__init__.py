"""Small pages that need nothing else: escaped by jinja2, without scripts, light and dark by one style sheet."""
