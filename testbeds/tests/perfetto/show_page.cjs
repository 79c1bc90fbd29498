// Perfetto's own page in a headless Chromium: opens a link, selects an arrow, says what is seen, takes a picture.
//
//   node show_page.cjs LINK PICTURE PROFILE SECONDS
//
// LINK is the page's address with a trace to open, PICTURE the PNG to write, PROFILE a folder of the browser's own,
// SECONDS how long it may take to get from one step to the next. Prints one JSON object:
//
//   processes  titles of the groups of rows on the screen
//   listed     arrows that leave the selected event, as its panel has them: event, delay and thread at the other end
//   drawn      arrows over the rows: titles of the groups in which one begins and ends
//
// The last two are empty for a trace without arrows, in which nothing is selected.
//
// The browser is spoken to over a pipe, as its own tools do: JSON, each object with a zero octet behind it. What is
// used of the page beyond what it shows: `app` and `raf`, which it leaves to its console, and `waitForPerfettoIdle`,
// which it leaves to tests.
'use strict';
const { spawn } = require('child_process');
const fs = require('fs');

const [link, picture, profile, seconds] = process.argv.slice(2);
const SIZE = { width: 1400, height: 900, deviceScaleFactor: 1, mobile: false };

// Without a display, in a container too, and with nobody to talk to but this script and the page's server.
const browser = spawn('chromium', [
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--disable-breakpad',
  '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--remote-debugging-pipe', `--user-data-dir=${profile}`, 'about:blank',
], { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'] });

function fail(why) {
  console.error(`error: ${why}`);
  browser.kill('SIGKILL');
  process.exit(1);
}
process.once('unhandledRejection', ({ message }) => fail(message));
browser.once('error', ({ code }) => fail(`cannot start chromium (${code}); Debian's package is called so too`));
// It speaks of much; only of its last words one wants to know.
let words = '';
browser.stderr.on('data', (text) => { words = (words + text).slice(-500); });
const isClosed = new Promise((resolve) => browser.once('close', resolve));
let closing = false;
isClosed.then((code) => closing || fail(`chromium has ended (${code}): ${words}`));

// What is waited for, and what the page complained of meanwhile.
let watchdog;
const complaints = [];
function waitFor(what) {
  clearTimeout(watchdog);
  const late = () => fail([`waited ${seconds} s for ${what}`, ...complaints].join('; '));
  watchdog = setTimeout(late, seconds * 1000);
}

// Who waits for an answer, by number of the question.
const asked = new Map();
let questions = 0;
let session;
function ask(method, params = {}) {
  const id = ++questions;
  browser.stdio[3].write(JSON.stringify({ id, method, params, sessionId: session }) + '\0');
  return new Promise((resolve, reject) => asked.set(id, { resolve, reject }));
}
function receive({ id, result, error, method, params }) {
  if (asked.has(id)) {
    const { resolve, reject } = asked.get(id);
    asked.delete(id);
    if (error) reject(new Error(error.message));
    else resolve(result);
  } else if (method === 'Page.javascriptDialogOpening') {
    fail(`the page says: ${params.message}`);
  } else if (method === 'Runtime.exceptionThrown') {
    const { exception, text } = params.exceptionDetails;
    complaints.push(exception?.description ?? exception?.value ?? text);
  }
}
let rest = '';
browser.stdio[4].setEncoding('utf8').on('data', (text) => {
  const messages = (rest + text).split('\0');
  rest = messages.pop();
  messages.forEach((message) => receive(JSON.parse(message)));
});
// One that is gone is told of above.
browser.stdio[3].on('error', () => {});

// The value of a function that is run in the page.
async function inPage(code, ...args) {
  const expression = `(${code})(...${JSON.stringify(args)})`;
  const { result, exceptionDetails: thrown } =
    await ask('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
  if (thrown) throw new Error(thrown.exception?.description ?? thrown.text);
  return result.value;
}
async function until(what, code) {
  waitFor(what);
  while (!await inPage(code)) await new Promise((resolve) => setTimeout(resolve, 50));
}
// The page gives up after a while of its own.
const settled = () => until('the page to come to rest', () => waitForPerfettoIdle().then(() => true, () => false));

// What follows runs in the page.

// Before its own code does: notes where the curves that it draws begin and end, from the top of the screen.
function noteCurves() {
  window.curves = [];
  const own = CanvasRenderingContext2D.prototype;
  const { moveTo, bezierCurveTo } = own;
  const height = (context, x, y) => {
    const shown = context.canvas.getBoundingClientRect();
    return shown.top + context.getTransform().transformPoint({ x, y }).y * shown.height / context.canvas.height;
  };
  own.moveTo = function (x, y) {
    this.begun = height(this, x, y);
    moveTo.call(this, x, y);
  };
  own.bezierCurveTo = function (...points) {
    curves.push([this.begun, height(this, ...points.slice(4))]);
    bezierCurveTo.apply(this, points);
  };
}

const isLoaded = () => !!window.app?.trace && !app.isLoadingTrace && !!document.querySelector('.pf-track');

// The domains' threads open, the lane of the requests on top; nothing at the side.
function arrange() {
  const tracks = app.trace.workspace.flatTracks;
  tracks.filter(({ name }) => name.startsWith('domain ')).forEach((domain) => domain.expand());
  tracks.filter(({ name }) => name.endsWith('-tx')).forEach((lane) => lane.pin());
  if (app.sidebar.visible) app.sidebar.toggleVisibility();
}

// The frame whose request was answered fastest; of one that nobody answered, the way there alone. What is written
// beside an event has one name in JSON and another in protobuf.
const REQUEST = `
  with arrow as (
    select o.category, o.id, o.ts as sent, i.ts as seen,
      coalesce(extract_arg(o.arg_set_id, 'args.of'), extract_arg(o.arg_set_id, 'debug.of')) as ring
    from flow join slice o on slice_out = o.id join slice i on slice_in = i.id)
  select req.id, req.sent, coalesce(min(rsp.seen), req.seen) as answered from arrow req
  left join arrow rsp on rsp.category = 'ring.rsp' and rsp.ring = req.ring and rsp.sent >= req.seen
  where req.category = 'ring.req' and req.ring like '%-tx' group by req.id order by answered - req.sent limit 1`;

// Selects it and shows the time around it. Whether there is one.
async function select(sql) {
  const { engine, selection, timeline } = app.trace;
  const found = await engine.query(sql);
  if (found.numRows() === 0) return false;
  const { id, sent, answered } = found.firstRow({ id: 0, sent: 0n, answered: 0n });
  const took = answered - sent;
  timeline.setViewportTime(sent - took / 2n, answered + 3n * took / 2n);
  selection.selectSqlEvent('slice', id, { switchToCurrentSelectionTab: true });
  return true;
}

// Rows of the table of arrows that leave the selected event.
function list() {
  const text = (cell) => {
    const copy = cell.cloneNode(true);
    copy.querySelectorAll('.pf-icon').forEach((icon) => icon.remove());
    return copy.textContent.trim();
  };
  const sections = [...document.querySelectorAll('.pf-section')];
  const section = sections.find((one) => one.querySelector('h1')?.textContent === 'Following Flows');
  return [...section?.querySelectorAll('tbody tr') ?? []].map((row) => [...row.cells].map(text));
}

// Has all drawn anew.
function draw() {
  curves.length = 0;
  raf.scheduleFullRedraw();
}

// Groups of rows by their titles, and what is drawn from one to another.
function look() {
  const groups = [...document.querySelectorAll('.pf-track:has(> .pf-track__header--summary)')].map((group) => {
    const title = group.querySelector('.pf-track__title');
    const { left, top, width, height } = title.getBoundingClientRect();
    // Nothing is above it, and it is not scrolled away.
    const shown = title.contains(document.elementFromPoint(left + width / 2, top + height / 2));
    const name = title.querySelector('.pf-track__title-popup').textContent;
    return { name, shown, rows: group.getBoundingClientRect() };
  });
  const around = (y) => groups.find(({ rows }) => rows.top <= y && y <= rows.bottom)?.name ?? 'nothing';
  return {
    processes: groups.filter(({ shown }) => shown).map(({ name }) => name),
    drawn: curves.map((ends) => ends.map(around)),
  };
}

// What follows does not.
async function main() {
  waitFor('the browser');
  const { targetId } = await ask('Target.createTarget', { url: 'about:blank' });
  ({ sessionId: session } = await ask('Target.attachToTarget', { targetId, flatten: true }));
  await ask('Page.enable');
  await ask('Runtime.enable');
  await ask('Emulation.setDeviceMetricsOverride', SIZE);
  await ask('Page.addScriptToEvaluateOnNewDocument', { source: `(${noteCurves})()` });
  const { errorText } = await ask('Page.navigate', { url: link });
  if (errorText) fail(`${link}: ${errorText}`);
  await until('the trace', isLoaded);
  await settled();
  await inPage(arrange);
  let listed = [];
  if (await inPage(select, REQUEST)) {
    await until('the panel of the selected event to list an arrow', `() => (${list})().length`);
    listed = await inPage(list);
    // The panel makes room for the rows.
    await inPage(() => app.trace.tabs.toggleTabPanelVisibility());
  }
  await settled();
  await inPage(draw);
  if (listed.length) await until('an arrow over the rows', () => curves.length);
  await settled();
  const seen = await inPage(look);
  const { data } = await ask('Page.captureScreenshot', { format: 'png' });
  fs.writeFileSync(picture, data, 'base64');
  waitFor('the end of the browser');
  closing = true;
  session = undefined;
  await ask('Browser.close');
  await isClosed;
  clearTimeout(watchdog);
  console.log(JSON.stringify({ ...seen, listed }));
}
main();
