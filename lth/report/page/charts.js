// The figure of a section: the measured column against density or cost, one line a series, with toggles.
const ASIDE = 0.06; // largest shift to a side, as a fraction of the density
const BANDS = 6; // of so many visible series intervals are bands, of more bars
const AXES = {
  density: { title: 'density (fraction of prunable weights kept)', of: (point) => point.density },
  epochs: { title: 'cumulative epochs', of: (point) => point.epochs },
  multiply_adds: { title: 'cumulative multiply-adds', of: (point) => point.multiply_adds },
  seconds: { title: 'cumulative seconds', of: (point) => point.seconds },
};
const ERRORS = [1, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001];

const isDense = (one) => one.points.length === 1 && one.points[0].density === 1;

/** Draws the figure, its controls and its legend into `parent`; returns {showOnly(labels)}. */
function makeFigure(parent, section, choices, openPoint) {
  const { series } = section;
  const chart = el('div', { class: 'chart', role: 'img', 'aria-label': `${DATA.column} of ${section.title}; the table below has its numbers` });
  const legend = el('div', { class: 'legend', role: 'group', 'aria-label': 'series' });
  choices.shown ||= section.readable;
  const visible = (one) => choices.shown.includes(one.label);
  const set = (labels) => {
    choices.shown = labels;
    remember();
    update();
  };

  function toggles() {
    const look = looks(series, choices.colour);
    const buttons = series.map((one, index) => {
      const flip = () => set(visible(one) ? choices.shown.filter((label) => label !== one.label) : [...choices.shown, one.label]);
      const counts = [...new Set(one.points.map((point) => point.n))].sort((a, b) => a - b);
      const n = counts.length > 1 ? `${counts[0]}–${counts.at(-1)}` : counts[0];
      const button = el('button', { type: 'button', 'aria-pressed': String(visible(one)), onclick: flip, ondblclick: () => set([one.label]), title: 'click: show or hide; double click: this one alone' });
      button.append(swatch(look[index]), el('span', {}, `${one.label} (n=${n})`));
      return button;
    });
    legend.replaceChildren(...buttons);
  }

  const note = el('p', { class: 'note' });

  function update() {
    toggles();
    note.textContent = `${DATA.intervals} Click a point for the runs behind it; drag to zoom, double click to zoom out. Of more than ${BANDS} series, points are moved sideways by up to ${100 * ASIDE} % of their density, so that their bars do not hide one another.${explained(section, choices)}`;
    figure(chart, () => drawSeries(chart, section, choices, openPoint));
  }

  const first = series.some((one) => one.points.some((point) => point.multiply_adds != null));
  const axes = Object.keys(AXES).filter((key) => key !== 'multiply_adds' || first);
  const traits = traitsOf(series);
  const bar = el('div', { class: 'bar' },
    select('against', choices, 'x', axes.map((key) => [key, key.replace('_', '-')]), update),
    select('x axis', choices, 'xscale', [['log', 'log'], ['linear', 'linear']], update),
    select('y axis', choices, 'yscale', DATA.percent ? [['linear', 'linear'], ['error', 'log of the error']] : [['linear', 'linear'], ['log', 'log']], update),
    select('spread', choices, 'spread', [['interval', '95 % interval'], ['seeds', 'each seed'], ['none', 'none']], update),
    traits.length > 1 && select('colour', choices, 'colour', traits.map((key) => [key, key]), update));
  const buttons = el('div', { class: 'bar' },
    `${series.length} series:`,
    el('button', { type: 'button', onclick: () => set(series.map((one) => one.label)) }, 'show all'),
    el('button', { type: 'button', onclick: () => set([]) }, 'none'),
    series.length > section.readable.length && el('button', { type: 'button', onclick: () => set(section.readable) }, `best ${section.readable.length}`));
  parent.append(bar, chart, buttons, legend, note);
  document.addEventListener('theme', toggles);
  update();
  return { showOnly: set };
}

function explained(section, choices) {
  const traits = traitsOf(section.series);
  if (traits.length < 2) return '';
  const order = [choices.colour, ...traits.filter((key) => key !== choices.colour)].filter((key) => traits.includes(key));
  const names = ['Colour', 'dash', 'marker'].slice(0, order.length).map((name, index) => `${name}: ${order[index]}`);
  return ` ${names.join(', ')}.`;
}

function drawSeries(chart, section, choices, openPoint) {
  const axis = AXES[choices.x];
  const shown = section.series.map((one, index) => [one, index]).filter(([one]) => choices.shown.includes(one.label));
  const look = looks(section.series, choices.colour);
  const error = choices.yscale === 'error';
  const height = (value) => (error ? Math.max(1e-4, 1 - value) : value);
  const points = shown.flatMap(([one]) => one.points.filter((point) => axis.of(point) > 0));
  const xs = points.map(axis.of);
  const range = xs.length ? [Math.min(...xs), Math.max(...xs)] : [0.01, 1];
  const traces = shown.flatMap(([one, index]) => tracesOf(one, index, look[index], { axis, height, range, choices, banded: shown.length <= BANDS, aside: aside(index, shown, choices) }));
  const xaxis = { title: { text: chart.clientWidth < 560 ? axis.title.replace(/ [(o].*/, '') : axis.title }, type: choices.xscale };
  if (choices.x === 'density') {
    const [low, high] = [range[0] / 1.15, Math.min(range[1] * 1.15, 1.15)];
    if (choices.xscale === 'log') Object.assign(xaxis, { range: [Math.log10(high), Math.log10(low)] }, densityTicks(low));
    else Object.assign(xaxis, { range: [range[1] + 0.03 * (range[1] - range[0]), range[0] - 0.03 * (range[1] - range[0])] });
  }
  Plotly.react(chart, traces, layout(chart, xaxis, yAxis(points, choices), { uirevision: JSON.stringify([choices.x, choices.xscale, choices.yscale]) }), CONFIG);
  chart.removeAllListeners('plotly_click');
  chart.on('plotly_click', (event) => {
    const found = event.points.find((point) => point.data.meta);
    if (found) openPoint(section.series[found.data.meta.index], found.data.meta.points[found.pointNumber]);
  });
}

/** Factor of a series' x values, so that bars at one density stand side by side. */
function aside(index, shown, choices) {
  if (choices.spread === 'none' || choices.x !== 'density' || choices.xscale !== 'log' || shown.length <= BANDS) return 1;
  const place = shown.findIndex((item) => item[1] === index);
  return 1 + ASIDE * ((2 * place) / (shown.length - 1) - 1);
}

/** Ticks for errors, 0..1: round numbers of a log axis, or evenly spaced ones where the errors are close together. */
function errorTicks(errors) {
  const [least, most] = [Math.min(...errors), Math.max(...errors)];
  if (!(most > least) || most > 3 * least) return ERRORS;
  const unit = 10 ** Math.floor(Math.log10(most - least) - 1);
  const step = unit * [1, 2, 5, 10, 20].find((factor) => (most - least) / (factor * unit) <= 6);
  const first = Math.max(1, Math.floor(least / step));
  return Array.from({ length: Math.ceil(most / step) - first + 1 }, (_, index) => (first + index) * step);
}

function yAxis(points, choices) {
  const title = { text: DATA.column + (choices.yscale === 'error' ? ' (error on a log axis)' : ''), standoff: 10 };
  if (choices.yscale === 'error') {
    const ticks = errorTicks(points.map((point) => 1 - point.mean).filter((error) => error > 0));
    return { title, type: 'log', autorange: 'reversed', tickvals: ticks, ticktext: ticks.map((value) => `${Number((100 * (1 - value)).toFixed(2))} %`) };
  }
  if (!DATA.percent) return { title, type: choices.yscale };
  const means = points.map((point) => point.mean);
  if (!means.length) return { title, tickformat: '.0%' };
  const [low, high] = [Math.min(...means), Math.max(...means)];
  const margin = Math.max(0.06 * (high - low), 0.004);
  const lows = points.map((point) => Math.max(point.low ?? low, point.mean - 0.5 * (high - low)));
  const highs = points.map((point) => Math.min(point.high ?? high, point.mean + 0.25 * (high - low)));
  const ends = [Math.max(0, Math.min(low, ...lows) - margin), Math.min(1.003, Math.max(high, ...highs) + margin)];
  return { title, range: ends, tickformat: ends[1] - ends[0] < 0.04 ? '.1%' : '.0%' };
}

/** The traces of a series: band, line, and the seeds where no interval is known or the reader asked for them. */
function tracesOf(one, index, look, { axis, height, range, choices, banded, aside }) {
  const points = one.points.filter((point) => axis.of(point) > 0);
  const meta = { index, points };
  const line = { color: look.colour, dash: look.dash, width: 2 };
  const text = points.map((point) => hoverText(one, point));
  const common = { hovertemplate: '%{text}<extra></extra>', hoverinfo: 'text' };
  if (isDense(one) && choices.x === 'density' && points.length) {
    const y = height(points[0].mean);
    const meta = { index, points: [points[0], points[0], points[0]] };
    const x = [range[1], Math.sqrt(range[0] * range[1]), range[0]];
    return [{ x, y: [y, y, y], mode: 'lines', line: { ...line, dash: 'dash', width: 1.5 }, text: [text[0], text[0], text[0]], meta, ...common }];
  }
  const traces = [];
  const known = points.filter((point) => point.low != null);
  const spread = choices.spread;
  if (spread === 'interval' && banded && known.length > 1) {
    const x = [...known, ...[...known].reverse()].map(axis.of);
    const y = [...known.map((point) => height(point.high)), ...[...known].reverse().map((point) => height(point.low))];
    traces.push({ x, y, fill: 'toself', fillcolor: look.colour + '26', line: { width: 0 }, mode: 'lines', hoverinfo: 'skip' });
  }
  const main = { x: points.map((point) => axis.of(point) * aside), y: points.map((point) => height(point.mean)), mode: points.length > 1 ? 'lines+markers' : 'markers', line, marker: { color: look.colour, symbol: look.mark, size: 7 }, text, meta, ...common };
  if (spread === 'interval' && !(banded && known.length > 1)) {
    const away = (point, end) => (point[end] == null ? 0 : Math.abs(height(point[end]) - height(point.mean)));
    const [up, down] = choices.yscale === 'error' ? ['low', 'high'] : ['high', 'low'];
    main.error_y = { type: 'data', symmetric: false, array: points.map((p) => away(p, up)), arrayminus: points.map((p) => away(p, down)), color: look.colour, thickness: 1, width: 3 };
  }
  traces.push(main);
  const alone = points.filter((point) => spread === 'seeds' || (spread === 'interval' && point.low == null && point.n > 1));
  if (alone.length && spread !== 'none') {
    const each = alone.flatMap((point) => point.seeds.map(([seed, value]) => ({ point, seed, value })));
    traces.push({ x: each.map((item) => axis.of(item.point) * aside), y: each.map((item) => height(item.value)), mode: 'markers', marker: { color: look.colour, symbol: `${look.mark}-open`, size: 6 }, text: each.map((item) => `${plain(one.label)}<br>seed ${item.seed}: ${measured(item.value, true)}`), meta: { index, points: each.map((item) => item.point) }, ...common });
  }
  return traces;
}

function hoverText(one, point) {
  const known = point.low == null ? `${point.n} seed${point.n > 1 ? 's' : ''}: no interval` : `95 %: ${interval(point)}, n = ${point.n}`;
  const cost = `${amount(point.epochs)} epochs, ${seconds(point.seconds)}${point.multiply_adds == null ? '' : `, ${amount(point.multiply_adds)} multiply-adds`}`;
  return [`<b>${plain(one.label)}</b>`, `density ${densityWords(point.density)}`, meanWords(point), known, cost, 'click: the runs'].join('<br>');
}
