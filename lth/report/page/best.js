// The answer at a density: which series is best, which others it cannot be told from, what it cost.
const OUTCOMES = { best: 'best', behind: 'clearly behind', probable: 'probably behind', close: 'not told apart', few: 'fewer than 3 seeds: unknown' };
const LISTED = 12;

function pointAt(one, at) {
  return one.points.find((point) => point.density === at);
}

/** The panel in `parent`; densities are those at which two or more series were measured. */
function makeBest(parent, section, choices, openPoint) {
  if (!section.best.length) return;
  const most = Math.max(...section.best.map((one) => one.order.length));
  const common = section.best.filter((one) => 2 * one.order.length >= most).at(-1);
  if (!section.best.some((one) => String(one.density) === String(choices.density))) choices.density = common.density;
  const out = el('div');
  const show = () => out.replaceChildren(...answer(section, section.best.find((one) => String(one.density) === String(choices.density)), openPoint, choices, show));
  const options = section.best.map((one) => [one.density, `${densityWords(one.density)}: ${one.order.length} series`]);
  parent.append(el('h3', {}, 'Which is best?'), el('div', { class: 'bar' }, select('at density', choices, 'density', options, show)), out);
  show();
}

function answer(section, { density: at, order }, openPoint, choices, again) {
  const [first, ...others] = order;
  const winner = section.series[first[0]];
  const point = pointAt(winner, at);
  const counted = (outcome) => others.filter((entry) => entry[1] === outcome);
  const listed = (entries) => {
    const names = entries.slice(0, 4).map(([index]) => section.series[index].label);
    return names.join(', ') + (entries.length > 4 ? ` and ${entries.length - 4} more` : '');
  };
  const parts = [el('strong', {}, winner.label), ` has the best mean at density ${densityWords(at)}: ${meanWords(point)}`, point.low == null ? ` (n = ${point.n})` : ` (95 %: ${interval(point)}, n = ${point.n})`, '. '];
  if (counted('behind').length) parts.push(`Clearly ahead of ${listed(counted('behind'))}. `);
  if (counted('probable').length) parts.push(`Probably ahead of ${listed(counted('probable'))}. `);
  if (counted('close').length) parts.push(`The lead over ${listed(counted('close'))} may be chance. `);
  if (counted('few').length) parts.push(`Whether it beats ${listed(counted('few'))} is unknown: at least three seeds each are needed. `);
  parts.push(`It cost ${amount(point.epochs)} epochs, ${seconds(point.seconds)}${point.multiply_adds == null ? '' : `, ${amount(point.multiply_adds)} multiply-adds`} a run. `);
  parts.push(el('button', { type: 'button', onclick: () => openPoint(winner, point) }, 'its command and runs'));
  const rows = choices.allRanked ? order : order.slice(0, LISTED);
  const head = ['series', '', 'mean', 'n', 'behind by', 'compared', 'epochs', 'multiply-adds', 'time'];
  const text = [0, 1, 5];
  const table = el('table', { class: 'ranked', 'aria-label': `series at density ${density(at)}, best first` },
    el('thead', {}, el('tr', {}, head.map((title, index) => el('th', { scope: 'col', class: text.includes(index) ? 'text' : null }, title)))),
    el('tbody', {}, rows.map((entry, place) => row(section, at, entry, place, openPoint))));
  const all = order.length > LISTED && el('button', { type: 'button', onclick: () => { choices.allRanked = !choices.allRanked; remember(); again(); } }, choices.allRanked ? 'show the best' : `show all ${order.length}`);
  return [el('p', { class: 'answer' }, parts), el('div', { class: 'wide' }, table), all,
    el('p', { class: 'note' }, `Small numbers: 95 % intervals. Behind by: the best mean minus this one, in percentage points, paired by seed where the seeds are the same (else Welch’s). Probably behind: the interval lies above 0. Clearly behind: it still does when ${others.length} comparison${others.length > 1 ? 's share' : ' has'} the 5 % (Bonferroni). The best of many was chosen on these same numbers, so its mean is a little too good.`)].filter(Boolean);
}

function row(section, at, [index, outcome, lead, low, high], place, openPoint) {
  const one = section.series[index];
  const point = pointAt(one, at);
  const within = (words, range) => [words, range && el('small', {}, range)].filter(Boolean);
  const behind = place === 0 ? '–' : within(percent(lead), low == null ? '' : `${percent(low)} to ${percent(high)}`);
  const button = el('button', { type: 'button', onclick: () => openPoint(one, point), 'aria-label': `command and runs of ${one.label}` }, 'runs');
  const cells = [`${place + 1}. ${one.label}`, button, within(meanWords(point), interval(point)), point.n, behind, OUTCOMES[outcome], amount(point.epochs), amount(point.multiply_adds), seconds(point.seconds)];
  const proven = outcome === 'best' && point.n < 3 ? '' : outcome;
  const kind = (number) => (number === 5 ? `text ${proven}` : number < 2 ? 'text' : null);
  return el('tr', {}, cells.map((cell, number) => el(number ? 'td' : 'th', { class: kind(number), scope: number ? null : 'row' }, typeof cell === 'number' ? String(cell) : cell)));
}
