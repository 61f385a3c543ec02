// What only some runs have: layer densities of each series, topology, lines between levels, curvature.

/** The layers of the series that are shown, mean over runs, in each one's level nearest to the density chosen. */
function makeLayers(parent, section, choices, shownLabels) {
  const kinds = [...new Set(section.runs.filter((run) => run.state === 'complete' && run.layers).map((run) => run.layers.names))];
  if (!kinds.length) return () => {};
  const chart = el('div', { class: 'chart' });
  if (!kinds.some((kind) => String(kind) === String(choices.kind))) choices.kind = kinds[0];
  const densities = [...new Set(section.series.flatMap((one) => one.points.map((point) => point.density)))].filter((value) => value < 1).sort((a, b) => b - a);
  const options = [['last', 'lowest of each'], ...densities.map((value) => [value, densityWords(value)])];
  const update = () => figure(chart, () => drawHeat(chart, section.layers[choices.kind], layerRows(section, choices, shownLabels())));
  const bar = el('div', { class: 'bar' }, select('at density', choices, 'at', options, update),
    kinds.length > 1 && select('network', choices, 'kind', kinds.map((kind) => [kind, `${section.layers[kind].length} layers`]), update));
  parent.append(el('h3', {}, 'Where the weights are'), bar, chart, el('p', { class: 'note' }, 'Density of each layer, mean over seeds, of the series shown in the figure above.'));
  update();
  return update;
}

function layerRows(section, choices, labels) {
  const rows = [];
  for (const one of section.series.filter((series) => labels.includes(series.label))) {
    const point = choices.at === 'last' ? one.points.at(-1) : one.points.find((found) => String(found.density) === String(choices.at));
    if (!point) continue;
    const tables = point.runs.map((index) => layersAt(section.runs[index], point.density, choices.kind)).filter(Boolean);
    if (!tables.length) continue;
    const mean = tables[0].map((_, layer) => tables.reduce((sum, table) => sum + (table[layer] ?? 0), 0) / tables.length);
    rows.push({ name: `${one.label} (${density(point.density)})`, values: mean });
  }
  return rows;
}

function layersAt(run, at, kind) {
  if (!run.layers || String(run.layers.names) !== String(kind)) return null;
  const near = [...run.levels].sort((a, b) => Math.abs(a[RUN_COLUMN.density] - at) - Math.abs(b[RUN_COLUMN.density] - at))[0];
  return near ? run.layers.levels[near[RUN_COLUMN.level]] : null;
}

/** A figure with one line a run of some table; `lines(run)` gives {name, x, y, text} of each. */
function lineFigure(parent, section, { title, note, xaxis, yaxis, lines }) {
  const chart = el('div', { class: 'chart' });
  parent.append(el('h3', {}, title), chart, el('p', { class: 'note' }, note));
  figure(chart, () => {
    const palette = COLOURS[isDark() ? 'dark' : 'light'];
    const labels = [...new Set(section.runs.map((run) => run.label))];
    const traces = section.runs.flatMap((run) => lines(run).map((line, index) => ({
      ...line, mode: 'lines+markers', hovertemplate: '%{text}<extra></extra>', meta: run.place,
      line: { color: palette[labels.indexOf(run.label) % palette.length], dash: DASHES[index % DASHES.length], width: 1.5 }, marker: { size: 4 },
    })));
    Plotly.react(chart, traces, layout(chart, xaxis, yaxis), CONFIG);
    chart.removeAllListeners('plotly_click');
    chart.on('plotly_click', (event) => {
      const index = section.runs.findIndex((run) => run.place === event.points[0].data.meta);
      openRuns(section, [index], section.runs[index].label);
    });
  });
}

const MOST_LINES = 60;

/** One section a table that some run has. */
function makeMeasured(parent, section) {
  const having = (name) => section.runs.filter((run) => run.tables[name]).slice(0, MOST_LINES);
  const of = (name, lines) => (run) => (having(name).includes(run) ? lines(run, run.tables[name]) : []);
  const say = (run, rest) => `<b>${plain(run.label)}</b>, seed ${run.seed}<br>${rest}`;
  if (having('topology').length) {
    lineFigure(parent, section, {
      title: 'Masks over time', note: 'Density (solid) and churn, the fraction of kept weights that were not kept an epoch before (dashed), of all layers together. One line a run; click for the run.',
      xaxis: { title: { text: 'optimizer step of all levels' } }, yaxis: { title: { text: 'fraction' }, range: [0, 1.03] },
      lines: of('topology', (run, table) => {
        const before = stepsBefore(table);
        const x = table.step.map((step, index) => before.get(table.level[index]) + step);
        const line = (name) => ({ x, y: table[name], text: x.map((step, index) => say(run, `step ${step}: ${name} ${density(table[name][index])}`)) });
        return [line('density'), line('churn')];
      }),
    });
  }
  if (having('connectivity').length) {
    lineFigure(parent, section, {
      title: 'Lines between levels', note: 'Loss on the straight line from a level’s weights, under the next level’s mask, to the next level’s own; a bump is a barrier. One line a pair of levels.',
      xaxis: { title: { text: 'alpha: fraction of the later level’s weights' } }, yaxis: { title: { text: 'loss' } },
      lines: of('connectivity', (run, table) => [...new Set(table.level)].map((level) => {
        const at = table.level.map((one, index) => (one === level ? index : -1)).filter((index) => index >= 0);
        return { x: at.map((i) => table.alpha[i]), y: at.map((i) => table.loss[i]), text: at.map((i) => say(run, `level ${table.source[i]} to ${level}, alpha ${density(table.alpha[i])}<br>loss ${amount(table.loss[i])}, accuracy ${percent(table.accuracy[i])} %`)) };
      })),
    });
  }
  if (having('around_pruning').length) {
    lineFigure(parent, section, {
      title: 'Accuracy around each pruning', note: 'Just before (solid) and just after (dashed) the weights were removed, before any training.',
      xaxis: { title: { text: 'density after pruning' }, type: 'log', autorange: 'reversed', ...densityTicks(0) }, yaxis: { title: { text: 'accuracy' }, tickformat: '.0%' },
      lines: of('around_pruning', (run, table) => ['before', 'after'].map((when) => ({ x: table.density_after, y: table[`accuracy_${when}`], text: table.density_after.map((value, index) => say(run, `${when} pruning to ${density(value)}<br>accuracy ${percent(table[`accuracy_${when}`][index])} %`)) }))),
    });
  }
  if (having('hessian').length) {
    lineFigure(parent, section, {
      title: 'Largest eigenvalue of the Hessian', note: 'Where each level began (solid) and ended (dashed).',
      xaxis: { title: { text: 'density' }, type: 'log', autorange: 'reversed', ...densityTicks(0) }, yaxis: { title: { text: 'eigenvalue' }, type: 'log' },
      lines: of('hessian', (run, table) => ['start', 'end'].map((when) => {
        const at = table.at.map((one, index) => (one === when ? index : -1)).filter((index) => index >= 0);
        return { x: at.map((i) => table.density[i]), y: at.map((i) => table.eigenvalue[i]), text: at.map((i) => say(run, `${when} of level ${table.level[i]}: ${amount(table.eigenvalue[i])}`)) };
      })),
    });
  }
}

/** Level -> steps of the levels before it, from the last step that each recorded. */
function stepsBefore(table) {
  const last = new Map();
  table.level.forEach((level, index) => last.set(level, Math.max(last.get(level) ?? 0, table.step[index])));
  const before = new Map();
  let sum = 0;
  for (const level of [...last.keys()].sort((a, b) => a - b)) {
    before.set(level, sum);
    sum += last.get(level);
  }
  return before;
}
