"""The figures of the page, drawn with matplotlib as SVG that follows the page's colours."""
