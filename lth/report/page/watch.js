// Start; and where the page is served by `lth report --watch`, load it anew when the runs have changed.
const LOOK_EVERY = 3000; // milliseconds

function watch() {
  const live = document.getElementById('live');
  const busy = () => document.querySelector('dialog[open]') || /^(INPUT|SELECT)$/.test(document.activeElement.tagName);
  let first = null;
  const look = async () => {
    try {
      const stamp = await (await fetch('/stamp', { cache: 'no-store' })).text();
      first ??= stamp;
      if (stamp === first) live.textContent = '● live: follows the runs';
      else if (busy()) live.textContent = '● new results: shown when you leave the field or the dialog';
      else location.reload();
    } catch (error) {
      live.textContent = '○ lth report --watch has ended; this is its last page';
    }
  };
  look();
  setInterval(look, LOOK_EVERY);
}

tips();
document.querySelectorAll('section.results').forEach(makeSection);
themes();
document.getElementById('runs').addEventListener('click', (event) => event.target.id === 'runs' && event.target.close());
if ('watched' in document.documentElement.dataset) watch();
