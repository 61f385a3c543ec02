// Data, elements, numbers, and what the reader chose. Text from files only ever becomes text: no markup is parsed here.
const DATA = JSON.parse(document.getElementById('data').textContent);

/** An element: attributes (`on...` are listeners), then children; texts become text nodes. */
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, '');
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}

function svg(name, attributes) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

/** Text for Plotly, which reads a few tags and entities in labels. */
const plain = (text) => String(text).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');

const isNumber = (value) => typeof value === 'number' && isFinite(value);
const density = (value) => (isNumber(value) ? String(Number(value.toPrecision(4))) : '–');
const densityWords = (value) => `${density(value)} (${Number((100 * value).toPrecision(4))} %)`;

/** The measured column as a reader sees it: percent where it is a fraction. */
function measured(value, unit = false) {
  if (!isNumber(value)) return '–';
  return DATA.percent ? (100 * value).toFixed(2) + (unit ? ' %' : '') : String(Number(value.toPrecision(4)));
}

const percent = (value) => (isNumber(value) ? (100 * value).toFixed(2) : '–');

function amount(value) {
  if (!isNumber(value)) return '–';
  if (value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3)) return value.toExponential(2).replace('e+', 'e');
  return String(Number(value.toPrecision(value >= 1000 ? 5 : 4)));
}

function seconds(value) {
  if (!isNumber(value)) return '–';
  if (value < 120) return `${Number(value.toPrecision(3))} s`;
  return value < 7200 ? `${(value / 60).toFixed(1)} min` : `${(value / 3600).toFixed(1)} h`;
}

function interval(point) {
  return point.low == null ? '' : `${measured(point.low)} to ${measured(point.high, true)}`;
}

function meanWords(point) {
  return measured(point.mean, true) + (point.sd == null ? '' : ` ± ${measured(point.sd)}`);
}

// What the reader chose; kept over a reload in this tab, so that a page that follows runs stays as it was set.
const STORE = 'lth-report';
let chosen = {};
try {
  chosen = JSON.parse(sessionStorage.getItem(STORE + location.pathname)) || {};
} catch (error) {
  chosen = {};
}

/** The choices of one part of the page; `remember()` after a change. */
function choicesOf(part, otherwise) {
  chosen[part] = Object.assign({}, otherwise, chosen[part]);
  return chosen[part];
}

function remember() {
  try {
    sessionStorage.setItem(STORE + location.pathname, JSON.stringify(chosen));
  } catch (error) {
    // no storage: the choices last as long as the page
  }
}

/** A select that sets `choices[key]`. options: [value, text]. */
function select(label, choices, key, options, changed) {
  const given = options.map(([value, text]) => el('option', { value, selected: String(choices[key]) === String(value) }, text));
  const onchange = (event) => {
    choices[key] = event.target.value;
    remember();
    changed();
  };
  return el('label', {}, `${label} `, el('select', { onchange, 'data-key': key }, given));
}

function copyable(text) {
  const button = el('button', { type: 'button' }, 'copy');
  const code = el('pre', {}, text);
  button.addEventListener('click', async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch (error) {
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      done = document.execCommand('copy');
    }
    button.textContent = done ? 'copied' : 'selected';
    setTimeout(() => (button.textContent = 'copy'), 1500);
  });
  return el('div', { class: 'copy' }, code, button);
}

/** The text of a `data-tip` beside its element, on hover and on focus. */
function tips() {
  let tip = null;
  const hide = () => {
    if (tip) tip.remove();
    tip = null;
  };
  const show = (event) => {
    const target = event.target.closest && event.target.closest('[data-tip]');
    hide();
    if (!target) return;
    tip = el('div', { id: 'tip', role: 'tooltip' }, target.dataset.tip);
    document.body.append(tip);
    const box = target.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${box.bottom + tip.offsetHeight + 6 > innerHeight ? box.top - tip.offsetHeight - 4 : box.bottom + 4}px`;
  };
  document.addEventListener('mouseover', show);
  document.addEventListener('focusin', show);
  document.addEventListener('keydown', (event) => event.key === 'Escape' && hide());
  addEventListener('scroll', hide, { passive: true });
}
