// Every section: the answer, the figure, the tables, the layers, what else was measured.
function rowsOf(section) {
  return section.series.flatMap((one) => one.points.map((point) => ({ one, point })));
}

function resultColumns(section) {
  const traits = traitsOf(section.series);
  const scale = DATA.percent ? 100 : 1;
  const unit = DATA.percent ? ' %' : '';
  const value = (name) => ({ point }) => (point[name] == null ? null : scale * point[name]);
  const spread = (name, title, hidden) => ({ key: name, title: title + unit, number: true, hidden, value: value(name), text: ({ point }) => measured(point[name]) });
  const cost = (name, title, hidden, text = amount) => ({ key: name, title, number: true, hidden, value: ({ point }) => point[name], text: ({ point }) => text(point[name]) });
  return [
    { key: 'label', title: 'series', value: ({ one }) => one.label },
    ...traits.map((key) => ({ key: `trait ${key}`, title: key, hidden: true, value: ({ one }) => one.traits[key] ?? '' })),
    cost('density', 'density', false, density), spread('mean', DATA.column), spread('sd', 'sd'),
    spread('low', '95 % low'), spread('high', '95 % high'),
    { key: 'n', title: 'n', number: true, value: ({ point }) => point.n },
    cost('epochs', 'epochs'), cost('multiply_adds', 'multiply-adds', true), cost('seconds', 'seconds', true),
  ];
}

function runColumns(section) {
  const last = (run, name) => (run.levels.length ? run.levels.at(-1)[RUN_COLUMN[name]] : null);
  const number = (name, title, text, scale = 1, hidden = false) => ({ key: name, title, number: true, hidden, value: (run) => (last(run, name) == null ? null : scale * last(run, name)), text: (run) => text(last(run, name)) });
  return [
    { key: 'label', title: 'series', value: (run) => run.label },
    { key: 'seed', title: 'seed', number: true, value: (run) => run.seed },
    { key: 'state', title: 'state', value: (run) => run.state },
    { key: 'levels', title: 'levels', number: true, value: (run) => run.levels.length },
    number('density', 'last density', density), number('test_accuracy', 'test acc %', percent, 100), number('val_accuracy', 'val acc %', percent, 100, true),
    number('epochs', 'epochs', amount), number('multiply_adds', 'multiply-adds', amount, 1, true), number('seconds', 'seconds', amount),
    { key: 'place', title: 'folder', hidden: true, value: (run) => run.place },
    { key: 'reason', title: 'why not complete', hidden: !section.runs.some((run) => run.reason), value: (run) => run.reason },
  ];
}

function makeSection(node) {
  const section = DATA.sections[Number(node.dataset.section)];
  const out = node.querySelector('.explore');
  const part = (name, otherwise) => choicesOf(`${section.title} / ${name}`, otherwise);
  const openPoint = openPointOf(section);
  if (section.shared.length) out.append(el('p', { class: 'note' }, `All runs: ${section.shared.join(', ')}.`));
  if (section.series.length) {
    makeBest(out, section, part('best', {}), openPoint);
    out.append(el('h3', {}, `${DATA.column} against density and cost`));
    const figureChoices = part('figure', { x: 'density', xscale: 'log', yscale: wide(section) ? 'error' : 'linear', spread: 'interval', colour: traitsOf(section.series)[0] });
    let layers = () => {};
    const chart = makeFigure(out, section, figureChoices, openPoint);
    out.append(el('h3', {}, 'Results'));
    const table = makeTable(out, { columns: resultColumns(section), rows: rowsOf(section), choices: part('results', { sort: '', down: false, search: '' }), label: `results of ${section.title}`, open: ({ one, point }) => openPoint(one, point) });
    const only = () => {
      chart.showOnly([...new Set(table.rows().map(({ one }) => one.label))]);
      layers();
    };
    table.bar.append(el('button', { type: 'button', onclick: only }, 'show these in the figure'));
    layers = makeLayers(out, section, part('layers', { at: 'last' }), () => figureChoices.shown);
    out.addEventListener('click', (event) => event.target.closest('.legend, .bar') && layers());
  } else out.append(el('p', {}, 'No run here is complete yet, so there is no mean.'));
  makeMeasured(out, section);
  out.append(el('h3', {}, 'Runs'));
  makeTable(out, { columns: runColumns(section), rows: section.runs, choices: part('runs', { sort: '', down: false, search: '' }), label: `runs of ${section.title}`, open: (run) => openRuns(section, [section.runs.indexOf(run)], run.label) });
}

/** Whether some networks are good and others fail, so that the error on a log axis tells more. */
function wide(section) {
  const means = section.series.flatMap((one) => one.points.map((point) => point.mean));
  const [low, high] = [Math.min(...means), Math.max(...means)];
  return DATA.percent && high > 0.8 && high - low > 0.3;
}
