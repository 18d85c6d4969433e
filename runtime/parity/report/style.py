"""The page's style: light, dark by the reader's setting, narrow windows, paper."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #ffffff; --ink: #1c2128; --soft: #57606a; --line: #d9dee4;
  --faint: #eef1f4; --link: #0a58ca;
  --pass: #177531; --fail: #c6202c; --unknown: #8a5a00;
  --pass-tint: #e3f5e8; --fail-tint: #fdeaea; --unknown-tint: #fdf3d7;
  --validation: #2f6fde; --unlabelled: #0c8a86; --boundary: #d4690a; --awkward: #8a4fd3;
  --danger: #c6202c14; --esc: #944600;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1116; --card: #161b22; --ink: #e6eaef; --soft: #9aa4af; --line: #313843;
    --faint: #20262e; --link: #6cb0ff;
    --pass: #46c35f; --fail: #ff6b66; --unknown: #e0a83a;
    --pass-tint: #12261a; --fail-tint: #2e1517; --unknown-tint: #2a2210;
    --validation: #6aa3ff; --unlabelled: #35c4bb; --boundary: #f59a4a; --awkward: #bb8cf7;
    --danger: #ff6b661f; --esc: #f59a4a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
.wrap { max-width: 78rem; margin: 0 auto; padding: 1.25rem clamp(.75rem, 3vw, 2rem) 4rem; }
h1, h2, h3, h4 { line-height: 1.25; margin: 0; text-wrap: balance; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .8rem; }
h3 { font-size: 1.05rem; }
h4 { font-size: .95rem; margin: 1.6rem 0 .5rem; }
p { margin: .4rem 0; max-width: 75ch; }
a { color: var(--link); }
small, .muted { color: var(--soft); }
small { font-size: .8rem; }
code { font: .86em/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
bdi, code, dd, h1, h2, h3, li { overflow-wrap: anywhere; }
th, td { overflow-wrap: break-word; }

.verdict {
  border-radius: 16px; padding: clamp(1.1rem, 3vw, 2rem); border: 1px solid var(--tone);
  background: var(--tint); display: grid; grid-template-columns: auto 1fr; gap: .3rem 1.2rem;
}
.verdict.pass { --tone: var(--pass); --tint: var(--pass-tint); }
.verdict.fail { --tone: var(--fail); --tint: var(--fail-tint); }
.verdict.unknown { --tone: var(--unknown); --tint: var(--unknown-tint); }
.seal {
  width: 4rem; height: 4rem; border-radius: 50%; background: var(--tone); color: var(--card);
  display: grid; place-items: center; font: 700 2.1rem/1 system-ui, sans-serif;
}
.verdict .eyebrow { color: var(--tone); font-weight: 700; letter-spacing: .08em; margin: 0;
  text-transform: uppercase; font-size: .8rem; }
.verdict h1 { font-size: clamp(1.35rem, 3.4vw, 2.1rem); }
.verdict .lead { font-size: 1.02rem; }
.facts { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: .4rem 2.2rem; margin: .9rem 0 0;
  padding-top: .9rem; border-top: 1px solid color-mix(in srgb, var(--tone) 30%, transparent); }
.facts div { display: flex; flex-direction: column; }
.facts dt { font-size: .78rem; color: var(--soft); }
.facts dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; }

.columns { display: grid; gap: 1rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); }
.card + .card { margin-top: 1rem; } .columns .card { margin: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1rem 1.2rem; min-width: 0; }
.card ul, .card ol { margin: .5rem 0 0; padding-left: 1.1rem; }
.card li { margin: .3rem 0; }
.card li ul { margin: .1rem 0 0; }
.card h3.pass { color: var(--pass); } .card h3.fail { color: var(--fail); }
.card h3.unknown { color: var(--unknown); }

details.artifact { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  margin: .9rem 0; border-left: 5px solid var(--tone); }
details.artifact.pass { --tone: var(--pass); } details.artifact.fail { --tone: var(--fail); }
details.artifact.unknown { --tone: var(--unknown); }
details.artifact > summary { cursor: pointer; padding: .9rem 1.2rem; display: flex;
  gap: .3rem .8rem;  flex-wrap: wrap; align-items: center; list-style-position: inside; }
details.artifact > summary::before { content: "▸"; color: var(--soft); }
details.artifact[open] > summary::before { content: "▾"; }
details.artifact > summary::-webkit-details-marker { display: none; }
details.artifact > summary small { flex: 1 1 12rem; }
.body { padding: 0 1.2rem 1.3rem; scroll-margin-top: 4rem; }
summary { cursor: pointer; }
summary:focus-visible, a:focus-visible, .scroll:focus-visible {
  outline: 2px solid var(--link); outline-offset: 2px; }
.why { border-radius: 8px; padding: .6rem .9rem; margin: .3rem 0 1rem; list-style: none; }
.why.fail { background: var(--fail-tint); } .why.unknown { background: var(--unknown-tint); }
.why li { margin: .35rem 0; }
.why .next { margin-top: .7rem; font-weight: 600; }
.why ul { padding-left: 1.1rem; font-weight: 400; }

.chip { display: inline-flex; gap: .35em; align-items: center; border-radius: 99px;
  font-weight: 650; padding: .05rem .6rem; font-size: .8rem; white-space: nowrap;
  border: 1px solid currentColor; }
.chip.pass, .mark.pass { color: var(--pass); } .chip.fail, .mark.fail { color: var(--fail); }
.chip.unknown, .mark.unknown { color: var(--unknown); }
.chip.pass { background: var(--pass-tint); } .chip.fail { background: var(--fail-tint); }
.chip.unknown { background: var(--unknown-tint); }
.mark { font-weight: 700; } .fail-text { color: var(--fail); }

.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; font-size: .78rem; white-space: nowrap;
  border-bottom: 2px solid var(--line); }
tbody th { font-weight: 500; }
tbody tr:last-child > * { border-bottom: 0; }
th small, td > small { display: block; font-weight: 400; }
td.n > small, .labels small { display: inline; }
.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
.overview tbody th { min-width: 11rem; } .overview td.n small { display: block; }
.checks tbody th { min-width: 15rem; } .checks td { vertical-align: middle; }
.checks tbody code { margin-right: .6em; } .checks th small { display: inline; }
.checks th small.note { display: block; }
.group th { color: var(--soft); font-size: .78rem; padding-top: 1rem; font-weight: 700; }
tr.fail > * { background: var(--fail-tint); } tr.unknown > * { background: var(--unknown-tint); }
.note { color: var(--unknown); }
.side code { margin-right: .6em; } .side th small { display: inline; }
.side td.n small { margin-left: .4em; } .side .apart > * { background: var(--faint); }
.worst td:first-child { min-width: 16rem; width: 46%; } .worst td { min-width: 7rem; }
.worst td.changed { background: var(--fail-tint); }
.text { white-space: pre-wrap; background: var(--faint); border-radius: 4px;
  padding: .05rem .3rem; }
.esc { color: var(--esc); font: .82em ui-monospace, Menlo, Consolas, monospace; }
.origin { margin-top: .2rem; }
.changes { columns: 18rem; margin: .3rem 0; padding-left: 1.1rem; }

.use { display: inline-flex; align-items: center; gap: .5rem; white-space: nowrap; }
.used { font-size: .78rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.bar { position: relative; display: inline-block; width: 7rem; height: .6rem; border-radius: 99px;
  background: var(--faint); box-shadow: inset 0 0 0 1px var(--line); }
.bar.wide { width: min(16rem, 40vw); min-width: 8rem; }
.bar b, .bar u { position: absolute; inset: 0 auto 0 0; border-radius: 99px; min-width: 2px; }
.bar b { background: var(--pass); } .bar.fail b { background: var(--fail); }
.bar.unknown b { background: var(--unknown); }
.bar u { background: color-mix(in srgb, var(--pass) 35%, transparent); }
.bar.unknown u { background: color-mix(in srgb, var(--unknown) 35%, transparent); }
.bar i { position: absolute; top: -3px; bottom: -3px; width: 2px; margin-left: -1px;
  background: var(--ink); }

.plots { display: grid; gap: 1rem 1.4rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); }
figure { margin: 0; min-width: 0; display: grid; grid-row: span 2; grid-template-rows: subgrid;
  gap: .3rem; align-content: start; }
figcaption { display: flex; flex-direction: column; font-size: .84rem; color: var(--soft);
  }
figcaption b { color: var(--ink); font-size: .92rem; }
svg { width: 100%; height: auto; max-width: 36rem; display: block; }
.grid { stroke: var(--line); stroke-width: .6; } .axis { stroke: var(--soft); fill: none; }
svg text { fill: var(--soft); font: 11.5px system-ui, sans-serif; paint-order: stroke;
  stroke: var(--card); stroke-width: 3px; stroke-linejoin: round; }
svg .name { font-size: 12px; } .mid { text-anchor: middle; } .end { text-anchor: end; }
.dot { fill: none; stroke-width: 3.6; stroke-linecap: round; stroke-opacity: .55; }
.dot.validation { stroke: var(--validation); } .dot.unlabelled { stroke: var(--unlabelled); }
.dot.boundary { stroke: var(--boundary); } .dot.awkward { stroke: var(--awkward); }
.fill.validation { fill: var(--validation); } .fill.unlabelled { fill: var(--unlabelled); }
.fill.boundary { fill: var(--boundary); } .fill.awkward { fill: var(--awkward); }
.ideal { stroke: var(--soft); stroke-dasharray: 4 4; fill: none; }
.danger { fill: var(--danger); } .flip { stroke: var(--fail); stroke-width: 2.2; fill: none; }
.mark, .limit { fill: none; stroke-width: 1.4; }
path.mark { stroke: var(--ink); stroke-dasharray: 2 3; } path.limit { stroke: var(--fail); }
svg .mark-text { fill: var(--ink); } svg .limit-text { fill: var(--fail); }
.strip { fill: var(--line); }
.line { fill: none; stroke-width: 1.4; stroke-opacity: .6; }
.line.reference { stroke: var(--soft); } .line.artifact { stroke: var(--validation); }
.ring { stroke-width: 1.6; fill: var(--card); }
.ring.reference { stroke: var(--soft); }
.ring.artifact { stroke: none; fill: var(--validation); fill-opacity: .75; }
.stem { stroke-width: 2; } .stem.within { stroke: var(--pass); } .stem.over { stroke: var(--fail); }
.bead.within { fill: var(--pass); } .bead.over { fill: var(--fail); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .82rem; color: var(--soft);
  margin: 1rem 0 0; padding: 0; list-style: none; }
.legend li { display: flex; align-items: center; gap: .4rem; }
.legend svg { width: 12px; }

dl.pairs { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .2rem 1rem;
  margin: .4rem 0; font-size: .88rem; }
dl.pairs dt { color: var(--soft); } dl.pairs dd { margin: 0; }
pre { background: var(--faint); border-radius: 8px; padding: .7rem .9rem; overflow-x: auto;
  font: .85rem/1.5 ui-monospace, Menlo, Consolas, monospace; margin: .5rem 0; }
footer { color: var(--soft); font-size: .82rem; margin-top: 2.5rem; }

@media (max-width: 40rem) {
  .seal { width: 2.6rem; height: 2.6rem; font-size: 1.4rem; }
  .verdict .lead { grid-column: 1 / -1; }
  .checks thead { position: absolute; clip-path: inset(50%); }
  .checks tr { display: grid; grid-template-columns: auto auto 1fr auto; align-items: center;
    padding: .4rem 0; border-bottom: 1px solid var(--line); }
  .checks tr > * { border: 0; padding: .1rem .4rem; }
  .checks tbody th { grid-column: 1 / -1; min-width: 0; }
  .checks td:nth-child(4) { display: none; } .checks td:nth-child(5) { justify-self: end; }
  .checks .bar { width: 3.5rem; }
  .checks tr.fail { background: var(--fail-tint); }
  .checks tr.unknown { background: var(--unknown-tint); }
  .card, .body { padding-left: .9rem; padding-right: .9rem; }
}
@media print {
  :root { color-scheme: light; --page: #fff; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  details > summary { list-style: none; }
  .scroll { overflow: visible; }
  figure, tr, .verdict, .columns .card { break-inside: avoid; }
  h2, h3, h4, summary, thead, .group { break-after: avoid; }
  body { font-size: 12px; } h2 { margin-top: 1.5rem; }
  .wrap { padding: 0; max-width: none; }
}
"""
