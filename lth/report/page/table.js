// A table that sorts, filters and searches, with columns to choose.
const MOST_ROWS = 200; // shown at once; a button shows the rest

/**
 * Whether a number meets a filter: `>0.9`, `<=5`, `0.1..0.5`, or a number that its text begins with.
 */
function numberMeets(value, text, filter) {
  const compare = filter.match(/^(<=|>=|<|>|=)\s*(-?[\d.]+(?:e-?\d+)?)$/i);
  if (compare) {
    const bound = Number(compare[2]);
    if (!isNumber(value)) return false;
    return { '<': value < bound, '<=': value <= bound, '>': value > bound, '>=': value >= bound, '=': value === bound }[compare[1]];
  }
  const range = filter.match(/^(-?[\d.]+(?:e-?\d+)?)\s*\.\.\s*(-?[\d.]+(?:e-?\d+)?)$/i);
  if (range) return isNumber(value) && value >= Number(range[1]) && value <= Number(range[2]);
  return text.startsWith(filter);
}

/**
 * A table in `parent`.
 *
 * columns: {key, title, value(row), text(row), number, hidden}; value sorts and is filtered, text is shown
 * rows: anything
 * choices: what the reader set: {sort, down, search, filters, hidden}
 * open(row): called on a click and on Enter
 * shown(rows): called with the rows that pass
 */
function makeTable(parent, { columns, rows, choices, label, open, shown }) {
  choices.filters ||= {};
  choices.hidden ||= columns.filter((column) => column.hidden).map((column) => column.key);
  const body = el('tbody');
  const head = el('thead');
  const count = el('span', { role: 'status' });
  const more = el('button', { type: 'button', onclick: () => fill(Infinity) });
  const textOf = (column, row) => (column.text ? column.text(row) : String(column.value(row) ?? ''));
  const visible = () => columns.filter((column) => !choices.hidden.includes(column.key));
  let passing = [];

  function passes(row) {
    const words = (choices.search || '').toLowerCase().split(/\s+/).filter(Boolean);
    const all = columns.map((column) => textOf(column, row)).join(' ').toLowerCase();
    if (!words.every((word) => all.includes(word))) return false;
    return columns.every((column) => {
      const filter = (choices.filters[column.key] || '').trim().toLowerCase();
      if (!filter) return true;
      const text = textOf(column, row).toLowerCase();
      return column.number ? numberMeets(column.value(row), text, filter) : text.includes(filter);
    });
  }

  function compare(a, b) {
    const column = columns.find((one) => one.key === choices.sort);
    if (!column) return 0;
    const [x, y] = [column.value(a), column.value(b)];
    if (x == null || y == null) return (x == null) - (y == null); // missing values come last either way
    return (column.number ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true })) * (choices.down ? -1 : 1);
  }

  function fill(most = MOST_ROWS) {
    const drawn = passing.slice(0, most).map((row) => {
      const cells = visible().map((column, index) => {
        const name = index ? 'td' : 'th';
        return el(name, { class: column.number ? null : 'text', scope: index ? null : 'row' }, textOf(column, row));
      });
      const onkeydown = (event) => event.key === 'Enter' && open(row);
      return el('tr', { tabindex: 0, onclick: () => getSelection().isCollapsed && open(row), onkeydown }, cells);
    });
    body.replaceChildren(...drawn);
    count.textContent = `${passing.length} of ${rows.length} rows`;
    more.textContent = `show all ${passing.length}`;
    more.hidden = passing.length <= drawn.length;
  }

  function refresh() {
    remember();
    passing = rows.filter(passes).sort(compare);
    for (const cell of head.querySelectorAll('th[data-key]')) {
      const on = cell.dataset.key === choices.sort;
      cell.setAttribute('aria-sort', !on ? 'none' : choices.down ? 'descending' : 'ascending');
      cell.querySelector('.arrow').textContent = !on ? '' : choices.down ? ' ▼' : ' ▲';
    }
    fill();
    if (shown) shown(passing);
  }

  function headings() {
    const cells = visible().map((column) => {
      const sort = () => {
        choices.down = choices.sort === column.key ? !choices.down : Boolean(column.number);
        choices.sort = column.key;
        refresh();
      };
      const oninput = (event) => {
        choices.filters[column.key] = event.target.value;
        refresh();
      };
      const hint = column.number ? '> 5, 1..2' : 'contains';
      const filter = el('input', { type: 'search', value: choices.filters[column.key] || '', placeholder: hint, oninput, 'aria-label': `filter ${column.title}` });
      const button = el('button', { type: 'button', onclick: sort }, column.title, el('span', { class: 'arrow', 'aria-hidden': 'true' }));
      return el('th', { scope: 'col', 'data-key': column.key, class: column.number ? null : 'text' }, button, filter);
    });
    head.replaceChildren(el('tr', {}, cells));
  }

  const chooser = columns.map((column) => {
    const onchange = (event) => {
      choices.hidden = choices.hidden.filter((key) => key !== column.key);
      if (!event.target.checked) {
        choices.hidden.push(column.key);
        delete choices.filters[column.key]; // a filter that cannot be seen would hide rows without a reason
      }
      headings();
      refresh();
    };
    return el('label', {}, el('input', { type: 'checkbox', checked: !choices.hidden.includes(column.key), onchange }), ` ${column.title}`);
  });
  const onsearch = (event) => {
    choices.search = event.target.value;
    refresh();
  };
  const search = el('input', { type: 'search', value: choices.search || '', placeholder: 'search', oninput: onsearch, 'aria-label': `search ${label}` });
  const bar = el('div', { class: 'bar' }, search, el('details', { class: 'columns' }, el('summary', {}, 'columns'), el('div', {}, chooser)), count);
  headings();
  parent.append(el('div', { class: 'sorted' }, bar, el('div', { class: 'wide' }, el('table', { 'aria-label': label }, head, body)), more));
  refresh();
  return { bar, rows: () => passing };
}
