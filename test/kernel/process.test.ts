/** What needs a process of its own: what the process may, what is installed, when it ends, what it throws. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeNative, type Namespace, newNamespace, newProgram, type Program } from './native.ts';

const preamble = `
import { linuxKernel, KernelError } from './kernel/index.js';
import { Group, messages, policyChurn } from './messages.js';
const say = (...words) => console.log(...words);
const kernel = linuxKernel();
`;

test('without koffi everything loads, and open says what to install', async () => {
  await using program = await newProgram({ koffi: false });
  const { code, stdout, stderr } = await program.run(`${preamble}
    await kernel.open().catch((error) => say(error instanceof KernelError, error.code, error.message, error.cause.code));
  `);
  expect(stderr).toBe('');
  expect(stdout).toMatch(/^true ERR_NO_KOFFI .*npm i koffi@3\.3\.4.* ERR_MODULE_NOT_FOUND\n$/);
  expect(code).toBe(0);
});

describeNative('a process on this kernel', () => {
  let namespace: Namespace;
  let program: Program;

  beforeAll(async () => {
    namespace = await newNamespace();
    program = await newProgram({ koffi: true });
  });

  afterAll(async () => {
    await program[Symbol.asyncDispose]();
    await namespace[Symbol.asyncDispose]();
  });

  function inside(source: string, ...prefix: string[]): ReturnType<Program['run']> {
    return program.run(preamble + source, ['nsenter', `--net=${namespace.path}`, ...prefix]);
  }

  test('without CAP_NET_ADMIN: events are refused by name; requests open, and each is answered EPERM', async () => {
    const source = `
      await kernel.open({ groups: [Group.policy] }).catch((error) => say(error.code, error.errno, error.message));
      const socket = await kernel.open();
      socket.receive((batch) => { for (const { error } of messages(batch)) say('answer', error); });
      socket.send(policyChurn(1, 1));
      socket.drain();
      socket.close();
    `;
    const { code, stdout, stderr } = await inside(
      source,
      'setpriv',
      '--bounding-set=-net_admin',
      '--inh-caps=-net_admin',
    );
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^ERR_PERMISSION 1 .*CAP_NET_ADMIN.*\nanswer -1\n$/);
    expect(code).toBe(0);
  });

  test('a namespace that may not be entered, is none, or does not exist', async () => {
    const source = `
      for (const namespace of ['/proc/self/ns/net', '/proc/self/ns/uts', '/nowhere'])
        await linuxKernel({ namespace }).open().then((s) => s.close(), (error) => say(error.code, error.message));
    `;
    const without = await inside(source, 'setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin');
    expect(without.stdout).toMatch(/^ERR_PERMISSION .*CAP_SYS_ADMIN/);
    const { stdout } = await inside(source);
    expect(stdout).toMatch(/^ERR_NAMESPACE .*ns\/uts.*\nERR_NAMESPACE .*\/nowhere.*\n$/);
  });

  test('a socket is opened in the namespace asked for, and the thread is back afterwards', async () => {
    const { stdout } = await program.run(`${preamble}
      import { readlinkSync } from 'node:fs';
      const own = () => readlinkSync('/proc/thread-self/ns/net');
      const before = own();
      const away = await linuxKernel({ namespace: '${namespace.path}' }).open();
      const home = await kernel.open();
      say(before !== readlinkSync('${namespace.path}'), before === own());
      // Within one namespace only one socket can have the process id as its port id.
      say(away.portId === process.pid, home.portId === process.pid);
      away.close();
      home.close();
    `);
    expect(stdout).toBe('true true\ntrue true\n');
  });

  test('an open socket with a handler keeps the process alive; close lets it end', async () => {
    // The timer alone would not keep the process alive: if it fires, the socket did.
    const { code, stdout } = await inside(`
      const requests = await kernel.open();
      const events = await kernel.open({ groups: [Group.policy] });
      events.receive((batch) => { say('event'); events.close(); });
      setTimeout(() => requests.send(policyChurn(1, 2)), 50).unref();
      process.on('exit', () => say('end'));
    `);
    expect(stdout).toBe('event\nend\n');
    expect(code).toBe(0);
  });

  test('an open socket without a handler does not', async () => {
    const { code, stdout } = await inside(`
      await kernel.open({ groups: [Group.policy] });
      process.on('exit', () => say('end'));
    `);
    expect(stdout).toBe('end\n');
    expect(code).toBe(0);
  });

  test('what a handler throws is reported as uncaught, and reception goes on (traps 2 and 3)', async () => {
    const { code, stdout } = await inside(`
      process.on('uncaughtException', (error) => say('uncaught', error.message));
      const requests = await kernel.open();
      const events = await kernel.open({ groups: [Group.policy], receiveBufferBytes: 1 });
      let calls = 0;
      events.onOverrun(() => { throw new Error('overrun handler'); });
      events.receive(() => {
        say('batch', ++calls);
        if (calls === 4) events.close();
        throw new Error('handler ' + calls);
      });
      const turn = () => new Promise((resolve) => setImmediate(resolve));
      for (let before = 0; calls < 4; before = calls) {
        requests.send(policyChurn(1, calls === 2 ? 64 : 2));
        while (calls === before) await turn();
        if (calls < 4) { await turn(); }
      }
    `);
    const uncaught = stdout.split('\n').filter((line) => line.startsWith('uncaught'));
    expect(uncaught).toEqual(
      ['handler 1', 'handler 2', 'overrun handler', 'handler 3', 'handler 4'].map((message) => `uncaught ${message}`),
    );
    expect(code).toBe(0);
  });

  test('a fault that nobody handles ends the process', async () => {
    const { code, stderr } = await inside(`
      import { closeSync } from 'node:fs';
      const events = await kernel.open({ groups: [Group.policy] });
      events.receive(() => {});
      closeSync(events.fd);
      events.drain();
    `);
    expect(stderr).toMatch(/ERR_SYSCALL/);
    expect(code).toBe(1);
  });

  test('process.exit works with sockets open and data waiting', async () => {
    const { code, stderr } = await inside(`
      const requests = await kernel.open();
      const events = await kernel.open({ groups: [Group.policy] });
      events.receive(() => {});
      for (let i = 0; i < 100; i++) requests.send(policyChurn(1, 64));
      process.exit(7);
    `);
    expect(stderr).toBe('');
    expect(code).toBe(7);
  });
});
