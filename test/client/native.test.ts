/** The client on this machine's own kernel, which need not know ESP. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Kernel, linuxKernel, XfrmClient } from 'xfrmsync';
import { describeNative, type Namespace, newNamespace } from '../kernel/native.ts';
import { flush } from './machine.ts';
import { requestChecks } from './request-checks.ts';

const EPERM = 1;

describeNative('the client on this kernel', () => {
  let namespace: Namespace;
  let kernel: Kernel;
  let client: XfrmClient;

  beforeAll(async () => {
    namespace = await newNamespace();
    kernel = linuxKernel({ namespace: namespace.path });
    client = await XfrmClient.open(kernel);
  });

  beforeEach(() => flush(client));

  afterAll(async () => {
    client?.close();
    await namespace?.[Symbol.asyncDispose]();
  });

  test.each(Object.entries(requestChecks))('%s', (_, check) => check(kernel, client));

  test('only here, with a process: without CAP_NET_ADMIN every request is answered EPERM', async () => {
    const library = fileURLToPath(new URL('../../dist/index.js', import.meta.url));
    const source = `
      import { linuxKernel, XfrmClient } from ${JSON.stringify(library)};
      const client = await XfrmClient.open(linuxKernel());
      const said = [];
      const attempts = [client.dumpSas(), client.flushPolicies(), client.getSa({ daddr: { w0: 1, w1: 0, w2: 0, w3: 0 }, spi: 1, proto: 50, family: 2 })];
      for (const result of await Promise.allSettled(attempts)) said.push([result.reason?.code, result.reason?.errno, result.reason?.request]);
      console.log(JSON.stringify(said));
      client.close();
    `;
    const setpriv = ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin'];
    const node = [process.execPath, '--input-type=module', '-e', source];
    const child = spawn('nsenter', [`--net=${namespace.path}`, ...setpriv, ...node], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    expect(JSON.parse(await output(child))).toEqual([
      ['ERR_KERNEL', EPERM, 'GETSA'],
      ['ERR_KERNEL', EPERM, 'FLUSHPOLICY'],
      ['ERR_KERNEL', EPERM, 'GETSA'],
    ]);
  });
});

async function output(child: ChildProcess): Promise<string> {
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  await once(child, 'close');
  return text;
}
