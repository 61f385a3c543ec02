// Colours, dashes and markers of series; the theme; the layout that all figures share.
const COLOURS = {
  light: ['#0a72b2', '#d55e00', '#008a63', '#b8478f', '#7a4fc9', '#8a6a00', '#2aa5c9', '#c0392b', '#5c7f1a', '#6b6b70', '#0b3d91', '#e08a9b'],
  dark: ['#5cb3f0', '#ff9a4d', '#3ccf9f', '#f08bc8', '#b79bff', '#e0bd4a', '#6fdcf5', '#ff7b6e', '#a9cf5b', '#b5b5bb', '#8fa8ff', '#ffc0cb'],
};
const DASHES = ['solid', 'dash', 'dot', 'dashdot', 'longdash', 'longdashdot'];
const SVG_DASHES = { solid: '', dash: '6 3', dot: '2 2', dashdot: '6 2 2 2', longdash: '9 3', longdashdot: '9 2 2 2' };
const MARKS = ['circle', 'square', 'diamond', 'triangle-up', 'cross', 'x', 'triangle-down', 'star', 'pentagon', 'hexagon'];
const MARK_PATHS = {
  circle: 'M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0', square: 'M-3,-3h6v6h-6z', diamond: 'M0,-4L4,0L0,4L-4,0z',
  'triangle-up': 'M0,-4L4,3H-4z', 'triangle-down': 'M0,4L4,-3H-4z', cross: 'M-1.5,-4h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5v-3h2.5z',
  x: 'M-3.5,-2L-2,-3.5L0,-1.5L2,-3.5L3.5,-2L1.5,0L3.5,2L2,3.5L0,1.5L-2,3.5L-3.5,2L-1.5,0z', star: 'M0,-4.5L1.2,-1.4L4.4,-1.4L1.8,.6L2.8,3.8L0,1.9L-2.8,3.8L-1.8,.6L-4.4,-1.4L-1.2,-1.4z',
  pentagon: 'M0,-4L4,-1L2.5,3.6H-2.5L-4,-1z', hexagon: 'M-4,0L-2,-3.5H2L4,0L2,3.5H-2z',
};

const wantsDark = matchMedia('(prefers-color-scheme: dark)');
let printing = false;

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return !printing && (theme === 'dark' || (!theme && wantsDark.matches));
}

function ink(name) {
  if (printing) return { ink: '#000', soft: '#444', grid: '#ddd', card: '#fff', line: '#bbb' }[name];
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Names of what series differ in, `method` first, then those with more values. */
function traitsOf(series) {
  const values = new Map();
  for (const one of series) {
    for (const [key, value] of Object.entries(one.traits)) {
      if (!values.has(key)) values.set(key, new Set());
      values.get(key).add(value);
    }
  }
  const differing = [...values].filter(([key, found]) => found.size > 1 || series.some((one) => !(key in one.traits)));
  const rank = ([key]) => (key === 'method' ? 0 : key === 'stage' ? 2 : 1);
  return differing.sort((a, b) => rank(a) - rank(b) || b[1].size - a[1].size).map(([key]) => key);
}

const inOrder = (a, b) => (isNaN(a) || isNaN(b) ? String(a).localeCompare(String(b)) : a - b);

/** Index of each value of a trait, numbers by size; series without it are the first. */
function places(series, key) {
  const values = [...new Set(series.map((one) => one.traits[key] ?? ''))].sort(inOrder);
  return new Map(values.map((value, index) => [value, index]));
}

/** Colour, dash and marker of each series: the first trait is the colour, the second the dash, the third the marker. */
function looks(series, first) {
  const all = traitsOf(series);
  const keys = first && all.includes(first) ? [first, ...all.filter((key) => key !== first)] : all;
  const palette = COLOURS[isDark() ? 'dark' : 'light'];
  const [colour, dash, mark] = [0, 1, 2].map((index) => keys[index] && places(series, keys[index]));
  const used = new Map();
  return series.map((one, index) => {
    const at = (table, key) => (table ? table.get(one.traits[key] ?? '') : 0);
    const hue = colour ? at(colour, keys[0]) : index;
    const look = {
      colour: palette[hue % palette.length],
      dash: DASHES[at(dash, keys[1]) % DASHES.length],
      mark: MARKS[(mark ? at(mark, keys[2]) : hue + Math.floor(hue / palette.length)) % MARKS.length],
    };
    const taken = used.get(JSON.stringify(look)) || 0; // of the same look: another marker
    used.set(JSON.stringify(look), taken + 1);
    return taken ? { ...look, mark: MARKS[(MARKS.indexOf(look.mark) + taken) % MARKS.length] } : look;
  });
}

function swatch(look) {
  const picture = svg('svg', { width: 34, height: 12, viewBox: '-17 -6 34 12', 'aria-hidden': 'true' });
  picture.append(svg('line', { x1: -17, x2: 17, y1: 0, y2: 0, stroke: look.colour, 'stroke-width': 2, 'stroke-dasharray': SVG_DASHES[look.dash] }));
  picture.append(svg('path', { d: MARK_PATHS[look.mark], fill: look.colour }));
  return picture;
}

/** Layout of a figure in the page's colours. */
function layout(node, xaxis, yaxis, more = {}) {
  const narrow = node.clientWidth < 560;
  const axis = { gridcolor: ink('grid'), linecolor: ink('line'), zerolinecolor: ink('line'), automargin: true, tickfont: { size: narrow ? 11 : 12 } };
  return {
    font: { family: 'system-ui, "DejaVu Sans", sans-serif', size: 12, color: ink('ink') },
    paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
    margin: { l: narrow ? 44 : 62, r: 12, t: 24, b: 46 }, showlegend: false, modebar: { bgcolor: 'rgba(0,0,0,0)', color: ink('soft'), activecolor: ink('ink') }, hovermode: 'closest', dragmode: 'zoom',
    hoverlabel: { bgcolor: ink('card'), bordercolor: ink('line'), font: { color: ink('ink'), size: 12 }, align: 'left' },
    xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...more,
  };
}

const CONFIG = {
  responsive: true, displaylogo: false, toImageButtonOptions: { format: 'svg' },
  modeBarButtons: [['toImage'], ['zoom2d', 'pan2d'], ['zoomIn2d', 'zoomOut2d', 'resetScale2d']],
};

/** Ticks 1, 0.5, 0.2, ... of a log axis of densities. */
function densityTicks(lowest) {
  const ticks = [];
  for (let power = 0; power < 7; power++) for (const digit of [1, 0.5, 0.2]) ticks.push(digit * 10 ** -power);
  const shown = ticks.filter((tick) => tick >= lowest * 0.99);
  return { tickvals: shown, ticktext: shown.map((tick) => density(tick)) };
}

/** Figures are drawn when they come into view, and again when the theme changes. */
const figures = new Map();
const inView = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
}, { rootMargin: '300px' });

function draw(node) {
  const figure = figures.get(node);
  if (!figure || figure.drawn || !node.clientWidth) return;
  figure.drawn = true;
  figure.make();
}

/** Let `make` draw into `node`, now or when it comes into view. */
function figure(node, make) {
  const known = figures.get(node);
  figures.set(node, { make, drawn: false });
  if (known && known.drawn) draw(node);
  else inView.observe(node);
}

function drawAllAgain() {
  for (const [node, one] of figures) {
    if (!node.isConnected) figures.delete(node);
    else if (one.drawn || printing) {
      one.drawn = false;
      draw(node);
    }
  }
}

function themes() {
  const menu = document.getElementById('theme');
  const choices = choicesOf('theme', { theme: 'auto' });
  const legends = () => document.dispatchEvent(new Event('theme'));
  const apply = () => {
    if (choices.theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choices.theme;
    legends();
    drawAllAgain();
  };
  menu.value = choices.theme;
  menu.addEventListener('change', () => {
    choices.theme = menu.value;
    remember();
    apply();
  });
  wantsDark.addEventListener('change', apply);
  for (const [event, on] of [['beforeprint', true], ['afterprint', false]]) {
    addEventListener(event, () => {
      printing = on;
      legends();
      drawAllAgain();
    });
  }
  apply();
}
