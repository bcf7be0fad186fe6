/** Datagrams that other processes send to our sockets: root may, into the XFRM groups and to any port id (trap 10). */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { AF_NETLINK, MSG_DONTWAIT, SockaddrNl } from '../../src/kernel/linux/abi.ts';
import { type Libc, loadLibc } from '../../src/kernel/linux/libc.ts';
import { linuxKernel } from '../../src/kernel/linux/linux.ts';
import type { LinuxKernelSocket } from '../../src/kernel/linux/socket.ts';
import { Group, message, messages, policyChurn, Type } from './messages.ts';
import { collect, describeNative, type Namespace, newNamespace } from './native.ts';

describeNative('senders other than the kernel', () => {
  let libc: Libc;
  let namespace: Namespace;
  let forger: LinuxKernelSocket;

  beforeAll(async () => {
    libc = await loadLibc();
    namespace = await newNamespace();
  });

  beforeEach(async () => {
    forger = await linuxKernel({ namespace: namespace.path }).open();
    return () => forger.close();
  });

  afterAll(async () => namespace[Symbol.asyncDispose]());

  function forge(to: { portId?: number; group?: number }, datagram: Uint8Array): void {
    const address = new Uint32Array(SockaddrNl.words);
    new Uint16Array(address.buffer)[0] = AF_NETLINK;
    // A multicast wants a port id too: one that nobody has.
    address[SockaddrNl.portIdWord] = to.portId ?? 0x7ffffff0;
    address[SockaddrNl.groupsWord] = to.group === undefined ? 0 : 1 << (to.group - 1);
    libc.sendto(forger.fd, datagram, datagram.length, MSG_DONTWAIT, address, SockaddrNl.bytes);
  }

  function aevent(sequence: number, payloadBytes = 48): Uint8Array {
    return new Uint8Array(message(Type.newAe, 0, sequence, payloadBytes).buffer);
  }

  test('are dropped and counted, and what the kernel sent among them is handed over', async () => {
    await using events = await linuxKernel({ namespace: namespace.path }).open({
      groups: [Group.policy, Group.aevents],
    });
    const got = collect(events);
    forge({ group: Group.aevents }, aevent(1));
    forger.send(policyChurn(10, 2));
    forge({ portId: events.portId }, aevent(2));
    forger.send(policyChurn(20, 2));
    events.drain();
    expect(got.map(({ sequence }) => sequence)).toEqual([10, 11, 20, 21]);
    expect(events.foreignDatagrams).toBe(2);
  });

  test('make no call of the handler by themselves', async () => {
    await using events = await linuxKernel({ namespace: namespace.path }).open({ groups: [Group.aevents] });
    let calls = 0;
    events.receive(() => calls++);
    forge({ group: Group.aevents }, aevent(1));
    events.drain();
    expect(calls).toBe(0);
    expect(events.foreignDatagrams).toBe(1);
  });

  test('are let through where the option says so', async () => {
    const kernel = linuxKernel({ namespace: namespace.path, acceptUserSpaceSenders: true });
    await using events = await kernel.open({ groups: [Group.aevents] });
    const got = collect(events);
    forge({ group: Group.aevents }, aevent(1));
    events.drain();
    expect(got.map(({ type, sequence }) => ({ type, sequence }))).toEqual([{ type: Type.newAe, sequence: 1 }]);
    expect(events.foreignDatagrams).toBe(0);
  });

  test('cannot end a socket with a datagram that does not fit', async () => {
    await using events = await linuxKernel({ namespace: namespace.path }).open({ groups: [Group.aevents] });
    let faults = 0;
    events.onError(() => faults++);
    collect(events);
    forge({ group: Group.aevents }, aevent(1, 10_000));
    events.drain();
    expect(events.foreignDatagrams).toBe(1);
    expect(faults).toBe(0);
    expect(events.fd).toBeGreaterThanOrEqual(0);
  });

  test('a datagram that does not fit ends the socket with ERR_TRUNCATED, after those before it (trap 12)', async () => {
    const kernel = linuxKernel({ namespace: namespace.path, acceptUserSpaceSenders: true });
    await using events = await kernel.open({ groups: [Group.aevents] });
    const faults: Error[] = [];
    const got: number[] = [];
    events.onError((error) => faults.push(error));
    events.receive((batch) => {
      for (const { sequence } of messages(batch)) got.push(sequence);
    });
    forge({ group: Group.aevents }, aevent(1));
    forge({ group: Group.aevents }, aevent(2, 10_000));
    forge({ group: Group.aevents }, aevent(3));
    events.drain();
    expect(got).toEqual([1]);
    expect(faults).toEqual([
      expect.objectContaining({ code: 'ERR_TRUNCATED', message: expect.stringContaining('10016') }),
    ]);
    expect(events.fd).toBe(-1);
  });

  test('a datagram that fills a slot to the last byte is whole', async () => {
    const kernel = linuxKernel({ namespace: namespace.path, acceptUserSpaceSenders: true });
    await using events = await kernel.open({ groups: [Group.aevents] });
    const got = collect(events);
    forge({ group: Group.aevents }, aevent(1, 8192 - 16));
    events.drain();
    expect(got.map(({ length }) => length)).toEqual([8192]);
  });
});
