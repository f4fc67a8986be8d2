"""Settings of the documentation site (``make site``): Sphinx builds it from these pages and the README."""

from importlib import metadata

project = "hpcdeploy"
release = version = metadata.version("hpcdeploy")
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"hpcdeploy {release}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
exclude_patterns = ["_build"]

# Links between pages name headings as GitHub does (https://myst-parser.readthedocs.io/en/latest/syntax/optional.html).
myst_heading_anchors = 4
# A link to a missing page or heading is a warning, and ``make site`` turns warnings into errors.
nitpicky = True
# Code blocks without a language are shell sessions, settings and output, mixed.
highlight_language = "none"
