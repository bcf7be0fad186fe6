/** The commands that reach a kernel by PF_KEY, on one that has it, where one can be booted; iproute2 makes the SAs. */
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { encodePfkey, pfkeyFromJson } from '../../src/pfkey/index.ts';
import { labTest } from '../lab/lab-suite.ts';

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

const sa = (spi: string, more = ''): string =>
  `ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi ${spi} reqid 7 mode tunnel replay-window 32 ` +
  `enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f auth 'hmac(sha1)' 0x000102030405060708090a0b0c0d0e0f10111213 ${more}`;

/** Each command's output ends with a line of its own. */
const script = `set -e
xfrmsync() { ${process.execPath} ${program} "$@"; }
end() { echo ==; }
${sa('0x100', 'limit packet-soft 5 limit byte-hard 1000')}
${sa('0x101')}
xfrmsync sa list --via pfkey; end
xfrmsync sa list --via pfkey --spi 0x100 --show-keys; end
xfrmsync sa list --via pfkey --dst 192.0.2.0/24 --json --show-keys; end
xfrmsync sa list --via pfkey --dst 192.0.3.0/24; xfrmsync sa list --via pfkey --proto ah; end
xfrmsync sa list --via pfkey --proto tcp 2>&1 || echo exit $?; end
xfrmsync monitor --via pfkey --groups sa,expire --count 2 --json --record /run/record > /run/events &
until [ "$(wc -l < /proc/net/pfkey)" -gt 1 ]; do sleep 0.01; done
ip xfrm policy add src 10.0.0.0/8 dst 10.0.0.0/8 dir out
${sa('0x102')}
ip xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x102
wait
cat /run/events; end
xfrmsync decode --pfkey /run/record; end
`;

await labTest(
  'PF_KEY commands on a kernel that has it',
  { file: program, command: ['sh', '-c', script] },
  ({ status, stdout, stderr }) => {
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const [all = '', one = '', json = '', none, refused = '', events = '', record = ''] = stdout.split('==\n');
    expect(all.match(/192\.0\.2\.1 -> 192\.0\.2\.2 {2}esp 0x0000010[01] {2}tunnel {2}reqid 7/g)).toHaveLength(2);
    expect(all).toContain('0 bytes (hard 1000), 0 packets (soft 5)');
    expect(all).toContain('aescbc, key 128 bits');
    expect(all).not.toContain('0b0c0d');
    expect(one).toContain('sha1hmac, key 0x000102030405060708090a0b0c0d0e0f10111213');
    expect(one).not.toContain('0x00000101');
    const dumped = json
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(dumped).toMatchObject([
      { message: 'DUMP', extensions: { sa: { spi: '0x00000101', encrypt: 'aescbc' } } },
      { message: 'DUMP', extensions: { sa: { spi: '0x00000100' }, sa2: { mode: 'tunnel', reqid: 7 } } },
    ]);
    for (const message of dumped) expect(encodePfkey(pfkeyFromJson(message)).length).toBeGreaterThan(200);
    expect(none).toBe('');
    expect(refused).toMatch(/esp, ah and comp alone.*\nexit 2\n/);
    const kinds = events
      .trim()
      .split('\n')
      .map((line) => [JSON.parse(line).message, JSON.parse(line).extensions.sa.spi]);
    expect(kinds).toEqual([
      ['ADD', '0x00000102'],
      ['DELETE', '0x00000102'],
    ]);
    expect(record).toMatch(/^ADD esp.*\n[\s\S]*^DELETE esp/m);
    expect(record).toContain('(16 bytes hidden)');
  },
);
