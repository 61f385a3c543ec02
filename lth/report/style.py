"""How the page looks: light or dark as the reader's system is, one column, wide things scroll in their own box."""

CSS = """
:root{--ink:#1d1d1f;--soft:#6b6b70;--line:#dcdce0;--paper:#fbfbfc;--card:#fff;--best:#0b6e4f;--warn:#a03800}
@media (prefers-color-scheme:dark){
:root{--ink:#ececee;--soft:#a2a2a8;--line:#3a3a3f;--paper:#141416;--card:#1d1d20;--best:#5fd3a5;--warn:#ffab70}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,"DejaVu Sans",sans-serif}
main{max-width:70rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.7rem;margin:0}h2{font-size:1.25rem;margin:0 0 .8rem}h3{font-size:1rem;margin:1.8rem 0 .4rem}
header p{margin:.2rem 0 1.4rem;color:var(--soft)}
a{color:var(--warn)}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1.2rem;margin:0 0 1.4rem}
.wide{overflow-x:auto}
figure{margin:0 0 1rem}
svg{display:block;width:100%;min-width:min(38rem,var(--wide));max-width:var(--wide);height:auto;margin:0 auto}
figcaption,.note,footer{color:var(--soft);font-size:.85rem;margin:.4rem 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;margin:.4rem 0}
th,td{padding:.35rem .8rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line);vertical-align:top}
thead th{color:var(--soft);font-weight:600}
th:first-child,td:first-child,td.text,td.path{text-align:left}
tbody th{font-weight:500}
th:first-child{position:sticky;left:0;background:var(--card)}
td small{display:block;color:var(--soft);font-size:.75rem;font-weight:400}
td.best{font-weight:700;color:var(--best)}
#unfinished td:first-child{color:var(--warn);font-weight:600}
#unfinished th:nth-child(n){text-align:left}
td.path{font-family:ui-monospace,monospace;font-size:.8rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.82rem;line-height:1.45;margin:0}
.verdict{margin:0 0 .8rem}.verdict summary{margin-top:.2rem}
summary{cursor:pointer;color:var(--soft);margin-top:1rem}
tbody tr:hover td,tbody tr:hover th{background:color-mix(in srgb,var(--line) 35%,var(--card))}
@media (max-width:40rem){main{padding:1rem .5rem}section{padding:.8rem;border-radius:8px}th,td{padding:.3rem .5rem}
th:first-child{max-width:9rem;white-space:normal}}
@media print{section{break-inside:avoid;border:0}}
"""
