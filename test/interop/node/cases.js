// SPDX-License-Identifier: Apache-2.0
//
// Node's client ali-ons against a name server and its broker, case by case.
//
//     node cases.js NAMESRV [FILTER]        FILTER: a part of the names of cases
//
// A case prints `ok NAME`, `FAILED NAME reason` or, for those in the comma list UNSERVED of the
// environment, `skipped NAME`; the last line is `node: N passed, N failed, N skipped`. The
// client sends to topics that exist only; topic.py creates them. NODE_PATH leads to the package.
'use strict';

const assert = require('assert');
const { execFileSync } = require('child_process');
const path = require('path');
const { Producer, Consumer, Message } = require('ali-ons');

const WAIT_MS = 150000;
const CASE_MS = 400000;
const quiet = { info() {}, warn() {}, error() {}, debug() {} };
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));
let serial = 0;

class Bench {
  constructor(nameSrv) {
    this.nameSrv = nameSrv;
    this.topic = `NODE_${Date.now()}_${++serial}`;
    this.open = [];
    this.errors = [];
    execFileSync('python3', [ path.join(__dirname, '..', 'topic.py'), nameSrv, this.topic ]);
  }

  // A client id of its own for each, within one process. The client insists on an httpclient, which it
  // would only use to look for name servers.
  async client(Kind, more) {
    const one = new Kind({
      nameSrv: this.nameSrv, httpclient: {}, accessKeyId: 'k', accessKeySecret: 's', logger: quiet,
      unitName: `u${++serial}`, rebalanceInterval: 1000, ...more,
    });
    one.on('error', error => this.errors.push(error));
    this.open.push(one);
    await one.ready();
    return one;
  }

  producer() {
    return this.client(Producer, { producerGroup: `P${this.topic}` });
  }

  // A consumer that keeps its messages; `outcome(count)` is what its handler returns.
  async listen({ expression = '*', outcome = () => undefined, ...more } = {}) {
    const got = [];
    const consumer = await this.client(Consumer, { consumerGroup: `C${this.topic}`, ...more });
    consumer.subscribe(this.topic, expression, async message => {
      got.push({ body: message.body.toString(), at: Date.now(), message,
                 times: message.reconsumeTimes });
      return outcome(got.length);
    });
    got.consumer = consumer;
    return got;
  }

  message(body, tag = 'A') {
    const message = new Message(this.topic, tag, body);
    message.keys = [ 'key' ];
    return message;
  }

  async send(producer, bodies, tag) {
    for (const body of bodies) {
      const result = await producer.send(this.message(body, tag));
      assert.strictEqual(result.sendStatus, 'SEND_OK', `status of the send of ${body}`);
      assert(result.msgId, 'no message id');
    }
  }

  async close() {
    for (const one of this.open.reverse()) {
      await Promise.race([ one.close().catch(() => {}), sleep(3000) ]);
    }
  }
}

async function until(condition, what) {
  for (const end = Date.now() + WAIT_MS; !condition(); await sleep(10)) {
    assert(Date.now() < end, `waited in vain for ${what()}`);
  }
}

async function awaitExactly(got, expected) {
  await until(() => got.length >= expected.length, () => `${expected.length} messages, have ${got.length}`);
  assert.deepStrictEqual(got.map(one => one.body).sort(), [ ...expected ].sort());
}

const numbered = (word, count) => Array.from({ length: count }, (_, i) => `${word}-${i}`);

const cases = {
  async 'send/sync'(bench) {
    await bench.send(await bench.producer(), numbered('sync', 60));
    await awaitExactly(await bench.listen(), numbered('sync', 60));
  },

  async 'send/concurrent'(bench) {
    const producer = await bench.producer();
    await bench.send(producer, [ 'many-0' ]);
    await Promise.all(numbered('many', 60).slice(1).map(body => bench.send(producer, [ body ])));
    await awaitExactly(await bench.listen(), numbered('many', 60));
  },

  async 'send/properties'(bench) {
    const message = bench.message('with properties', 'TagX');
    message.properties.colour = 'bläulich';
    message.keys = [ 'one', 'two' ];
    await (await bench.producer()).send(message);
    const got = await bench.listen();
    await awaitExactly(got, [ 'with properties' ]);
    const { message: received } = got[0];
    assert.strictEqual(received.properties.colour, 'bläulich');
    assert.strictEqual(received.tags, 'TagX');
    assert.strictEqual(received.keys, 'one two');
    assert.strictEqual(received.topic, bench.topic);
  },

  async 'send/compressed-body'(bench) {
    const body = 'a line that compresses well\n'.repeat(4000);
    await bench.send(await bench.producer(), [ body ]);
    await awaitExactly(await bench.listen(), [ body ]);
  },

  async 'send/delay'(bench) {
    const producer = await bench.producer();
    for (const body of numbered('delay', 5)) {
      const message = bench.message(body);
      message.delayTimeLevel = 7; // 2 s, says support.sh
      await producer.send(message);
    }
    const got = await bench.listen();
    await awaitExactly(got, numbered('delay', 5));
    for (const { body, at, message } of got) {
      assert(at >= Number(message.bornTimestamp) + 2000, `${body} came too early`);
    }
  },

  async 'consume/tag-filter'(bench) {
    const producer = await bench.producer();
    for (let i = 0; i < 60; i++) {
      await bench.send(producer, [ `${i % 3}-${i}` ], `Tag${i % 3}`);
    }
    const wanted = Array.from({ length: 60 }, (_, i) => `${i % 3}-${i}`).filter(b => b[0] !== '1');
    await awaitExactly(await bench.listen({ expression: 'Tag0 || Tag2' }), wanted);
  },

  async 'consume/sql-filter'(bench) {
    const producer = await bench.producer();
    for (let i = 0; i < 40; i++) {
      const message = bench.message(`${i}`);
      message.properties.number = `${i}`;
      await producer.send(message);
    }
    const expression = { expressionType: 'SQL92', subString: 'number between 10 and 19' };
    await awaitExactly(await bench.listen({ expression }), Array.from({ length: 10 }, (_, i) => `${i + 10}`));
  },

  async 'consume/broadcasting'(bench) {
    const producer = await bench.producer();
    await bench.send(producer, [ 'creates the topic' ], 'other');
    const everybody = [];
    for (let i = 0; i < 2; i++) {
      everybody.push(await bench.listen({ expression: 'B', isBroadcast: true }));
    }
    // Such a consumer begins at the end, and nothing tells when it has begun.
    for (const end = Date.now() + WAIT_MS; everybody.some(got => got.length === 0); await sleep(300)) {
      assert(Date.now() < end, 'a broadcast did not reach everybody');
      await bench.send(producer, [ 'probe' ], 'B');
    }
    await bench.send(producer, numbered('all', 30), 'B');
    for (const got of everybody) {
      const rest = () => got.map(one => one.body).filter(body => body !== 'probe');
      await until(() => rest().length >= 30, () => `30 messages, have ${rest().length}`);
      assert.deepStrictEqual(rest().sort(), numbered('all', 30).sort());
    }
  },

  async 'consume/two-members'(bench) {
    const producer = await bench.producer();
    await bench.send(producer, numbered('early', 20));
    const members = [ await bench.listen(), await bench.listen() ];
    // Both have a part of the queues: messages reach both.
    const late = [];
    for (const end = Date.now() + WAIT_MS; members.some(got => !got.some(one => one.body[0] === 'l'));) {
      assert(Date.now() < end, 'one of two members gets nothing');
      late.push(...numbered(`late-${late.length}`, 8));
      await bench.send(producer, late.slice(-8));
      await sleep(300);
    }
    const bodies = () => members.flatMap(got => got.map(one => one.body));
    const wanted = [ ...numbered('early', 20), ...late ];
    await until(() => new Set(bodies()).size >= wanted.length, () => `${wanted.length} messages`);
    assert.deepStrictEqual([ ...new Set(bodies()) ].sort(), wanted.sort());
  },

  async 'consume/offsets-survive-restart'(bench) {
    const producer = await bench.producer();
    await bench.send(producer, numbered('early', 30));
    const first = await bench.listen();
    await awaitExactly(first, numbered('early', 30));
    await sleep(100);
    await first.consumer.close();
    await bench.send(producer, numbered('late', 20));
    await awaitExactly(await bench.listen(), numbered('late', 20));
  },

  async 'retry/consume-retry-later'(bench) {
    await bench.send(await bench.producer(), [ 'again' ]);
    const got = await bench.listen({ outcome: count => (count === 1 ? Consumer.ACTION_RETRY : undefined) });
    await until(() => got.length >= 2, () => 'a second delivery');
    assert.deepStrictEqual(got.map(one => [ one.body, one.times ]), [ [ 'again', 0 ], [ 'again', 1 ] ]);
  },
};

async function runCase(run, bench) {
  const late = sleep(CASE_MS).then(() => { throw new Error('it did not end in time'); });
  late.catch(() => {});
  try {
    await Promise.race([ run(bench), late ]);
    return null;
  } catch (error) {
    const others = bench.errors.slice(0, 2).map(one => one.message).join('; ');
    return `${error.message}${others && `; the client: ${others}`}`.replace(/\s+/g, ' ');
  }
}

async function main(nameSrv, filter = '') {
  const unserved = (process.env.UNSERVED || '').split(',');
  const counts = { ok: 0, FAILED: 0, skipped: 0 };
  for (const [ name, run ] of Object.entries(cases)) {
    const full = `node/${name}`;
    if (!full.includes(filter)) {
      continue;
    }
    if (unserved.includes(full)) {
      console.log(`skipped ${full} the broker does not serve this yet`);
      counts.skipped++;
      continue;
    }
    const bench = new Bench(nameSrv);
    const reason = await runCase(run, bench);
    await bench.close();
    console.log(reason === null ? `ok ${full}` : `FAILED ${full} ${reason}`);
    counts[reason === null ? 'ok' : 'FAILED']++;
  }
  console.log(`node: ${counts.ok} passed, ${counts.FAILED} failed, ${counts.skipped} skipped`);
  process.exit(counts.FAILED > 0 || counts.ok === 0 ? 1 : 0);
}

process.on('unhandledRejection', () => {}); // the client's own, of connections that it closed
if (process.argv.length < 3) {
  console.error('usage: node cases.js NAMESRV_HOST:PORT [FILTER]');
  process.exit(2);
}
main(...process.argv.slice(2));
