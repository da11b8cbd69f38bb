"""The look of the page: light and dark, from 320 pixels on."""

from .examples import ring_colours

_CSS = """
:root {
  color-scheme: light dark;
  --ground: #f7f8fa; --card: #ffffff; --ink: #1b2230; --soft: #545f70;
  --rule: #dbe0e8; --accent: #1c5fc4; --bar: #3b78d0; --on: #ffffff;
  --good: #2b7f5f; --jitter: #8a6100; --inversion: #1f6fb0;
  --swap: #98408c; --miss: #b93a1e; --duplicate: #5a5fb0;
  --background: #5f6876; --not-found: #333c4a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12161d; --card: #1a2029; --ink: #e8ecf2; --soft: #a8b2c1;
    --rule: #333c49; --accent: #8db9ff; --bar: #6ea4f2; --on: #10141a;
    --good: #5fc79d; --jitter: #e5b64a; --inversion: #6db9f0;
    --swap: #de93d3; --miss: #f58a6c; --duplicate: #a5aaf0;
    --background: #9aa5b5; --not-found: #d5dbe4;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
    "Noto Sans", sans-serif;
}
main, header, footer { max-width: 1080px; margin: 0 auto; padding: 0 16px; }
h1, h2, h3 { line-height: 1.25; overflow-wrap: anywhere; text-wrap: balance; }
h1 { font-size: 1.7rem; margin: 28px 0 4px; }
h2 { font-size: 1.25rem; margin: 0 0 8px; }
h3 { font-size: 1rem; margin: 20px 0 4px; }
p { margin: 0 0 12px; max-width: 70ch; }
a { color: var(--accent); }
a:focus-visible, summary:focus-visible, .scroll:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 4px;
}
.soft, footer, figcaption, caption, dd { color: var(--soft); }
.path { overflow-wrap: anywhere; }
nav ul {
  list-style: none; display: flex; flex-wrap: wrap; gap: 4px 16px;
  margin: 12px 0 20px; padding: 0;
}
nav a { display: inline-block; padding: 4px 0; }
section {
  background: var(--card); border: 1px solid var(--rule);
  border-radius: 12px; padding: 20px; margin: 0 0 16px;
}
.tiles {
  display: grid; gap: 10px; margin: 0 0 16px; padding: 0;
  grid-template-columns: repeat(auto-fit, minmax(136px, 1fr));
}
.tiles div {
  background: var(--card); border: 1px solid var(--rule);
  border-radius: 12px; padding: 12px 14px; display: flex;
  flex-direction: column;
}
.tiles dt { color: var(--soft); font-size: .85rem; order: 2; }
.tiles dd {
  margin: 0; font-size: 1.65rem; font-weight: 650; color: var(--ink);
  font-variant-numeric: tabular-nums; line-height: 1.2;
}
.note {
  border-left: 4px solid var(--accent); background: var(--card);
  padding: 10px 14px; border-radius: 0 8px 8px 0; margin: 0 0 12px;
}
.two {
  display: grid; gap: 8px 36px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr));
}
.two > * { min-width: 0; }
.two > div > h3:first-child { margin-top: 0; }
.plot { margin: 0 0 12px; max-width: 500px; }
figcaption, caption { font-size: .88rem; text-align: left; }
caption { padding-bottom: 6px; }
.scroll { overflow-x: auto; margin: 0 0 12px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td {
  padding: 5px 6px; border-bottom: 1px solid var(--rule);
  text-align: right; vertical-align: top;
}
th:first-child { text-align: left; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; }
td { font-variant-numeric: tabular-nums; }
.meaning { max-width: 820px; }
.meaning td:last-child, .meaning th:last-child {
  text-align: left; color: var(--soft); padding-left: 14px;
  overflow-wrap: anywhere;
}
.meaning th:first-child { white-space: nowrap; }
.facts tbody th:first-child { white-space: normal; }
.wide table { font-size: .85rem; }
#worst th:first-child { overflow-wrap: anywhere; min-width: 7em; }
details { margin: 0 0 12px; }
summary { cursor: pointer; color: var(--accent); padding: 4px 0; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--ink); }
svg text.small { font-size: 11px; fill: var(--soft); }
svg text.on { fill: var(--on); font-weight: 600; font-size: 11px;
  pointer-events: none; }
.bar { fill: var(--bar); }
[class^="k-"] { stroke: var(--card); }
.grid { stroke: var(--rule); }
.mark { stroke: var(--ink); stroke-dasharray: 4 3; opacity: .7; }
.line { fill: none; stroke: var(--bar); stroke-width: 2; }
.dash-1 { stroke-dasharray: 7 3; }
.dash-2 { stroke-dasharray: 2 3; }
.dot { fill: var(--bar); }
.legend { display: grid; gap: 4px 20px; margin: 0 0 16px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); }
.legend dt { display: inline; font-weight: 600; }
.legend dd { display: inline; margin: 0 0 0 6px; font-size: .9rem; }
.key { display: inline-block; width: .8em; height: .8em; margin-right: .5em;
  border-radius: 3px; }
.pairs { display: grid; gap: 20px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); }
.pair { margin: 0; min-width: 0; }
.pair div { display: grid; grid-template-columns: 1fr 1fr; gap: 4px; }
.pair img { width: 100%; height: auto; max-height: 340px; display: block;
  object-fit: contain; object-position: left top; border-radius: 6px; }
footer { padding: 8px 16px 32px; font-size: .9rem; }
@media (max-width: 480px) {
  section { padding: 16px 12px; border-radius: 10px; }
  main, header, footer { padding-left: 10px; padding-right: 10px; }
  h1 { font-size: 1.4rem; }
  th, td { padding: 5px 3px; }
  table { font-size: .84rem; }
  .wide table { font-size: .73rem; }
  .wide th, .wide td { padding: 5px 2px; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  .pair div { grid-template-columns: 1fr; }
  .pair img { max-height: none; }
}
@media print { section { break-inside: avoid; border: 0; } }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
"""
_KINDS = ('good', 'jitter', 'inversion', 'swap', 'miss', 'duplicate', 'background', 'not-found')


def style() -> str:
    """The style sheet, with the colours of the kinds of errors."""
    rules = [f'.k-{kind} {{ fill: var(--{kind}); background: var(--{kind}); }}' for kind in _KINDS]
    rules += [
        f'.r-{kind} {{ border: 3px solid {colour}; border-radius: 50%; width: 1em; height: 1em; }}'
        for kind, colour in ring_colours().items()
    ]
    return _CSS + '\n'.join(rules)
