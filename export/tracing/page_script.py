"""What the page of a trace has beside the house style: its own rules, and one small script.

The script draws the attention of a chosen layer and head, and shades the tokens by what a chosen
one looks at. Without it the page still says everything else.
"""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root { --amber: 230, 140, 20; --cool: 47, 111, 222; --most: .75; }
@media (prefers-color-scheme: dark) {
  :root { --amber: 245, 165, 60; --cool: 106, 163, 255; --most: .5; }
}
.head { padding: 1.4rem 0 .4rem; border-bottom: 1px solid var(--line); }
.head h1 { font-size: clamp(1.3rem, 3.2vw, 1.9rem); }
.head .lead { font-size: 1.1rem; margin: .7rem 0; }
.answer { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: .6rem 0; }
.answer b { background: var(--pass-tint); color: var(--pass); border: 1px solid currentColor;
  border-radius: 99px; padding: .1rem .8rem; }
.tokens { display: flex; flex-wrap: wrap; gap: .35rem; margin: .7rem 0; padding: 0;
  list-style: none; max-height: 26rem; overflow-y: auto; }
.tok { display: inline-flex; flex-direction: column; align-items: center; min-width: 2rem;
  border: 1px solid var(--line); border-radius: 7px; padding: .15rem .5rem; font: inherit;
  background: rgba(var(--amber), calc(var(--w, 0) * var(--most)));
  color: var(--ink); line-height: 1.3; }
.tok small { color: inherit; opacity: .75; font-size: .7rem; font-variant-numeric: tabular-nums; }
.tok.special { border-style: dashed; } .tok.special > span { color: var(--soft); }
.tok.unknown { border-color: var(--fail); }
button.tok { cursor: pointer; }
.tok[aria-pressed="true"] { outline: 2px solid var(--link); outline-offset: 1px; }
button.tok:focus-visible, select:focus-visible { outline: 2px solid var(--link); }
.shaded { font-size: 1.15rem; line-height: 2; overflow-wrap: anywhere; max-width: none; }
.shaded span { background: rgba(var(--amber), calc(var(--w, 0) * var(--most))); border-radius: 4px;
  padding: .15em .06em; }
.controls { display: flex; flex-wrap: wrap; gap: .6rem 1.4rem; align-items: center;
  margin: .6rem 0; }
.controls select { font: inherit; padding: .2rem .5rem; border-radius: 6px; color: var(--ink);
  border: 1px solid var(--line); background: var(--card); margin-left: .4rem; }
.map { overflow: auto; max-height: 44rem; margin-top: .6rem; }
.map canvas { display: block; }
#said { min-height: 1.5em; font-variant-numeric: tabular-nums; }
.stages td, .stages th { padding: .25rem .6rem; } .stages .inner th { padding-left: 1.8rem;
  font-weight: 400; } .stages td.n, .stages th.n { text-align: right; }
.stages tbody th { min-width: 8rem; } .stages code { white-space: nowrap; }
.stages .inner { display: none; }
.more:checked ~ .scroll .inner { display: table-row; }
.strip-box svg { max-width: none; width: 100%; height: 2.6rem; }
.pos { fill: rgb(var(--amber)); } .neg { fill: rgb(var(--cool)); }
.meter { display: inline-block; width: min(16rem, 40vw); height: .7rem; border-radius: 99px;
  background: var(--faint); box-shadow: inset 0 0 0 1px var(--line); position: relative;
  vertical-align: middle; overflow: hidden; }
.meter b { position: absolute; inset: 0 auto 0 0; background: rgb(var(--amber)); }
.meter i { position: absolute; inset: 0 auto 0 0; width: 2px; background: var(--ink); }
.given th { font-weight: 700; }
"""

SCRIPT = """/*<![CDATA[*/
(() => {
  const box = document.getElementById("explorer");
  const [layers, heads, n] = ["layers", "heads", "n"].map(k => Number(box.dataset[k]));
  const raw = atob(document.getElementById("cells").textContent);
  const buttons = [...box.querySelectorAll("button.tok")];
  const names = buttons.map(b => b.firstElementChild.textContent);
  const [layer, head] = ["layer", "head"].map(id => document.getElementById(id));
  const canvas = document.getElementById("heat"), said = document.getElementById("said");
  const pen = canvas.getContext("2d");
  let source = Number(box.dataset.source);

  const cell = (l, h, i, j) => raw.charCodeAt(((l * heads + h) * n + i) * n + j) / 255;
  const weight = (i, j) => {
    const l = Number(layer.value), h = Number(head.value);
    if (h >= 0) return cell(l, h, i, j);
    let sum = 0;
    for (let k = 0; k < heads; k++) sum += cell(l, k, i, j);
    return sum / heads;
  };
  // Isolated, so that a word written from the right turns nothing around it.
  const quoted = k => "\u2068" + names[k] + "\u2069";
  const percent = w => (100 * w).toFixed(w > 0.0995 ? 0 : 1) + "%";

  const size = Math.max(5, Math.min(26, Math.floor(700 / n))), words = size >= 13;
  const edge = words ? 92 : 4;
  const cut = name => name.length > 11 ? name.slice(0, 10) + "\u2026" : name;

  function draw() {
    const style = getComputedStyle(document.documentElement);
    const ratio = window.devicePixelRatio || 1, full = edge + n * size;
    canvas.width = canvas.height = Math.ceil(full * ratio);
    canvas.style.width = canvas.style.height = full + "px";
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, full, full);
    pen.fillStyle = style.getPropertyValue("--faint");
    pen.fillRect(edge, edge, n * size, n * size);
    const amber = style.getPropertyValue("--amber");
    const gap = size > 8 ? 1 : 0;
    const all = names.map((_, i) => names.map((_, j) => weight(i, j)));
    const top = Math.max(1e-6, ...all.map(row => Math.max(...row)));
    all.forEach((row, i) => row.forEach((w, j) => {
      pen.fillStyle = `rgba(${amber}, ${Math.pow(w / top, 0.7)})`;
      pen.fillRect(edge + j * size, edge + i * size, size - gap, size - gap);
    }));
    pen.strokeStyle = style.getPropertyValue("--link");
    pen.lineWidth = 1.5;
    pen.strokeRect(edge, edge + source * size, n * size, size - gap);
    if (words) {
      pen.fillStyle = style.getPropertyValue("--ink");
      pen.font = "12px system-ui, sans-serif";
      pen.textBaseline = "middle";
      names.forEach((name, k) => {
        const middle = edge + (k + 0.5) * size;
        pen.textAlign = "right";
        pen.fillText(cut(name), edge - 6, middle);
        pen.save();
        pen.translate(middle, edge - 6);
        pen.rotate(-Math.PI / 2);
        pen.textAlign = "left";
        pen.fillText(cut(name), 0, 0);
        pen.restore();
      });
    }
  }

  function shade() {
    const row = names.map((_, j) => weight(source, j));
    const plain = row.filter((_, j) => !buttons[j].classList.contains("special"));
    const top = Math.max(...plain, 1e-6);
    buttons.forEach((button, j) => {
      button.style.setProperty("--w", Math.min(1, row[j] / top));
      button.lastElementChild.textContent = percent(row[j]);
      button.setAttribute("aria-pressed", String(j === source));
    });
    const best = row.map((w, j) => [w, j]).sort((a, b) => b[0] - a[0]).slice(0, 3);
    said.textContent = `${quoted(source)} looks at ` +
      best.map(([w, j]) => `${quoted(j)} ${percent(w)}`).join(", ");
  }

  function place(event) {
    const frame = canvas.getBoundingClientRect();
    const at = v => Math.floor((v - edge) / size);
    const i = at(event.clientY - frame.top), j = at(event.clientX - frame.left);
    return i >= 0 && j >= 0 && i < n && j < n ? [i, j] : null;
  }

  const show = () => { draw(); shade(); };
  buttons.forEach((b, k) => b.addEventListener("click", () => { source = k; show(); }));
  layer.addEventListener("change", show);
  head.addEventListener("change", show);
  canvas.addEventListener("mousemove", event => {
    const found = place(event);
    if (found) said.textContent =
      `${quoted(found[0])} looks at ${quoted(found[1])}: ${percent(weight(...found))}`;
  });
  canvas.addEventListener("click", event => {
    const found = place(event);
    if (found) { source = found[0]; show(); }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  box.hidden = false;
  show();
})();
/*]]>*/"""

# Should escaping ever fail: only this very script runs, and nothing is fetched.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-"
    + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    + "'"
)
