// The runs behind a point, or one run of the table: command, settings that differ, levels, layers, error.
const RUN_COLUMN = Object.fromEntries([...DATA.levelColumns, 'epochs', 'multiply_adds', 'seconds'].map((name, index) => [name, index]));

/** Settings in which a run differs from most others of its method: [key, its value, the usual value]. */
function differences(section, index) {
  const { varying } = section.settings;
  const method = (run) => valueOf(varying['choices.method'], run, section.settings.common['choices.method']);
  const alike = section.runs.map((_, other) => other).filter((other) => method(other) === method(index));
  const found = [];
  for (const [key, { values, of }] of Object.entries(varying)) {
    const counts = new Map();
    for (const other of alike) counts.set(of[other], (counts.get(of[other]) || 0) + 1);
    const usual = [...counts].reduce((most, entry) => (entry[1] > most[1] ? entry : most))[0];
    if (of[index] !== usual && !/(^|[._])seed$/.test(key)) found.push([key, values[of[index]] ?? 'absent', values[usual] ?? 'absent']);
  }
  return found;
}

const valueOf = (entry, run, otherwise) => (entry ? entry.values[entry.of[run]] : otherwise);

function small(head, rows, text = [0]) {
  return el('div', { class: 'wide' }, el('table', {},
    el('thead', {}, el('tr', {}, head.map((title, index) => el('th', { scope: 'col', class: text.includes(index) ? 'text' : null }, title)))),
    el('tbody', {}, rows.map((cells) => el('tr', {}, cells.map((cell, index) => el('td', { class: text.includes(index) ? 'text' : null }, String(cell))))))));
}

/** Opens the dialog on runs of a section. */
function openRuns(section, indices, title) {
  const dialog = document.getElementById('runs');
  const out = el('div');
  const tabs = indices.map((index, place) => {
    const run = section.runs[index];
    const twin = indices.filter((other) => section.runs[other].seed === run.seed).length > 1;
    const show = () => {
      tabs.forEach((tab, other) => tab.setAttribute('aria-selected', String(other === place)));
      out.replaceChildren(...runView(section, index));
    };
    return el('button', { type: 'button', role: 'tab', onclick: show }, `seed ${run.seed}${twin ? ` · ${run.place}` : ''}`);
  });
  const close = el('button', { type: 'button', class: 'close-dialog', onclick: () => dialog.close() }, 'close');
  dialog.replaceChildren(close, el('h2', { id: 'runs-title' }, title), el('div', { class: 'tabs', role: 'tablist' }, tabs), out);
  dialog.showModal();
  tabs[0].click();
  tabs[0].focus();
}

function openPointOf(section) {
  return (one, point) => openRuns(section, point.runs, `${one.label} at density ${densityWords(point.density)}`);
}

function runView(section, index) {
  const run = section.runs[index];
  const parts = [el('p', {}, el('strong', {}, run.state), run.reason ? `: ${run.reason}` : '', run.made ? ` · ${run.made}` : '')];
  if (run.command) parts.push(el('h3', {}, 'Command'), copyable(run.command));
  if (run.rebuilt) parts.push(el('p', { class: 'note' }, 'Put together from the configuration and the folder’s name: this run did not record its command.'));
  parts.push(el('h3', {}, 'Folder'), copyable(run.folder));
  if (run.error) parts.push(el('h3', {}, 'Error'), el('pre', {}, run.error));
  const differing = differences(section, index);
  parts.push(el('h3', {}, 'Settings that differ from most runs of this method'));
  parts.push(differing.length ? small(['key', 'here', 'usual'], differing, [0, 1, 2]) : el('p', { class: 'note' }, 'None.'));
  parts.push(allSettings(section, index));
  if (run.levels.length) parts.push(...levelsOf(run));
  if (run.layers) parts.push(...layersOf(section, run));
  return parts;
}

function allSettings(section, index) {
  const { common, varying } = section.settings;
  const every = { ...common };
  for (const [key, { values, of }] of Object.entries(varying)) if (of[index] >= 0) every[key] = values[of[index]];
  const out = el('div');
  const search = el('input', { type: 'search', placeholder: 'search keys and values', 'aria-label': 'search settings' });
  const show = () => {
    const word = search.value.toLowerCase();
    out.replaceChildren(small(['key', 'value'], Object.entries(every).filter((entry) => entry.join(' ').toLowerCase().includes(word)).sort(), [0, 1]));
  };
  search.addEventListener('input', show);
  const details = el('details', { ontoggle: () => details.open && show() }, el('summary', {}, `All ${Object.keys(every).length} settings`), search, out);
  return details;
}

function levelsOf(run) {
  const at = (row, name) => row[RUN_COLUMN[name]];
  const chart = el('div', { class: 'chart low' });
  const names = ['test_accuracy', 'val_accuracy', 'train_accuracy'].filter((name) => run.levels.some((row) => at(row, name) != null));
  const line = (name, index) => {
    const rows = run.levels.filter((row) => at(row, name) != null);
    const text = rows.map((row) => `level ${at(row, 'level')}, density ${density(at(row, 'density'))}<br>${name.replace('_', ' ')} ${percent(at(row, name))} %`);
    return { x: rows.map((row) => at(row, 'density')), y: rows.map((row) => at(row, name)), text, name: name.replace('_accuracy', ''), mode: 'lines+markers', hovertemplate: '%{text}<extra></extra>', line: { color: COLOURS[isDark() ? 'dark' : 'light'][index], dash: DASHES[index] }, marker: { symbol: MARKS[index], size: 7 } };
  };
  const lowest = Math.min(...run.levels.map((row) => at(row, 'density')).filter((value) => value > 0));
  const held = run.levels.flatMap((row) => names.filter((name, index) => !index || name !== 'train_accuracy').map((name) => at(row, name))).filter(isNumber);
  const [low, high] = [Math.min(...held), Math.max(...held)];
  const range = [Math.max(0, low - 0.06 * (high - low) - 0.004), Math.min(1.003, high + 0.06 * (high - low) + 0.004)]; // a training accuracy of 1 must not squeeze the others
  if (names.length) figure(chart, () => Plotly.react(chart, names.map(line), layout(chart, { type: 'log', autorange: 'reversed', title: { text: 'density' }, ...densityTicks(lowest) }, { tickformat: high - low < 0.04 ? '.1%' : '.0%', range }, { showlegend: true, legend: { orientation: 'h', y: 1.15 } }), CONFIG));
  const rows = run.levels.map((row) => [at(row, 'level'), at(row, 'name') ?? '', density(at(row, 'density')), percent(at(row, 'test_accuracy')), percent(at(row, 'val_accuracy')), percent(at(row, 'train_accuracy')), amount(at(row, 'train_loss')), amount(at(row, 'epochs')), amount(at(row, 'multiply_adds')), seconds(at(row, 'seconds'))]);
  return [el('h3', {}, 'Levels'), names.length && chart, small(['level', 'name', 'density', 'test acc %', 'val acc %', 'train acc %', 'train loss', 'epochs so far', 'multiply-adds so far', 'time so far'], rows, [1])].filter(Boolean);
}

function layersOf(section, run) {
  const names = section.layers[run.layers.names];
  const levels = Object.entries(run.layers.levels);
  const chart = el('div', { class: 'chart low' });
  const rows = levels.map(([level, values]) => ({ name: `level ${level}`, values }));
  figure(chart, () => drawHeat(chart, names, rows));
  return [el('h3', {}, 'Density of each layer'), chart];
}

/** A heat map of layer densities, coloured on a log scale. rows: {name, values}, the first on top. */
function drawHeat(chart, names, rows) {
  const short = names.map((name) => name.replace(/\.weight$/, ''));
  const known = rows.flatMap((row) => row.values).filter((value) => value > 0);
  const floor = Math.min(0.5, ...known);
  const z = rows.map((row) => row.values.map((value) => (value == null ? null : Math.log10(Math.max(value, floor)))));
  const ticks = densityTicks(floor);
  const few = names.length <= 12 && rows.length <= 30 && chart.clientWidth > 560;
  const text = rows.map((row) => row.values.map((value) => (few && value != null ? density(Number(value.toPrecision(2))) : '')));
  const hover = rows.map((row) => row.values.map((value, index) => `${plain(row.name)}<br>${plain(short[index])}<br>density ${value == null ? 'unknown' : densityWords(value)}`));
  const bar = { tickvals: ticks.tickvals.map(Math.log10), ticktext: ticks.ticktext, title: { text: 'density' }, thickness: 12, outlinewidth: 0 };
  chart.style.height = `${Math.max(230, 120 + 26 * rows.length)}px`;
  const axes = [{ tickvals: short.map((_, index) => index), ticktext: short.map(plain), tickangle: names.length > 6 || chart.clientWidth < 560 ? -60 : 0, showgrid: false }, { tickvals: rows.map((_, index) => index), ticktext: rows.map((row) => plain(row.name)), autorange: 'reversed', showgrid: false }];
  const trace = { type: 'heatmap', z, text, hovertext: hover, hovertemplate: '%{hovertext}<extra></extra>', texttemplate: few ? '%{text}' : '', colorscale: 'Viridis', zmin: Math.log10(floor), zmax: 0, colorbar: bar, xgap: 1, ygap: 1 };
  Plotly.react(chart, [trace], layout(chart, ...axes), CONFIG);
}
